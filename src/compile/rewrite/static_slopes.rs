//! Rewrites parametric ReLU as the max-affine function `max(x, slope * x)`, which it is equal to if no
//! slope exceeds one.

use crate::error::Result;
use crate::graph::{MaxAffine, NodeId, Op, Rewriter};
use crate::tensor::Tensor;

/// Rewrites every parametric ReLU of a feature map that has one constant slope, or one per channel.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub fn static_slopes(graph: &mut Rewriter) -> Result<()> {
    for id in graph.node_ids() {
        rewrite(graph, id);
    }
    graph.commit().map(|_| ())
}

fn rewrite(graph: &mut Rewriter, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let Op::PRelu = &node.op else { return None };
    let x = node.input(0)?;
    let dims = &graph.types().get(x)?.dims;
    let channels = dims.get(1)?.as_size().filter(|_| dims.len() == 4)?;
    let slope = graph.constant(node.input(1)?)?;
    // By the rules of broadcasting, slopes are aligned with the last axes of the map.
    let aligned = matches!(slope.shape(), [_, 1, 1] | [1, _, 1, 1]) || slope.len() == 1;
    let slopes = slope.as_f32().ok()?;
    if !aligned || !matches!(slopes.len(), n if n == 1 || n == channels) {
        return None;
    }
    // With a larger slope the function is a minimum. A NaN is refused as well.
    if !slopes.iter().all(|&slope| slope <= 1.0) {
        return None;
    }
    let of = |c: usize| slopes[if slopes.len() == 1 { 0 } else { c }];
    let mut rows = vec![1.0; channels];
    rows.extend((0..channels).map(of));
    rows.resize(4 * channels, 0.0);
    let name = format!("{}.coefficients", node.name);
    let coefficients = graph.add_constant(name, Tensor::new(&[1, 4, channels], rows).ok()?);
    graph.edit(id, |node| {
        node.op = Op::MaxAffine(MaxAffine { k: 2 });
        node.inputs = vec![Some(x), Some(coefficients)];
    });
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::alone;
    use super::*;
    use crate::graph::{Dim, Graph, TensorType};
    use crate::reference;
    use crate::tensor::DType;

    fn network(slope: Tensor) -> Graph {
        let mut g = Graph::new("t");
        let dims = vec![Dim::symbol("N"), 3.into(), 2.into(), 5.into()];
        let x = g.add_input("x", TensorType { dtype: DType::F32, dims });
        let slope = g.add_constant("slope", slope);
        let y = g.apply("prelu", Op::PRelu, &[x, slope]);
        g.set_outputs(vec![y]);
        g
    }

    #[test]
    fn slopes_of_at_most_one_become_pieces() {
        for (shape, slopes) in [
            (&[3, 1, 1][..], vec![0.25f32, -0.5, 1.0]),
            (&[1, 3, 1, 1], vec![0.0, 0.1, 0.2]),
            (&[1], vec![0.3]),
        ] {
            let mut graph = network(Tensor::new(shape, slopes).unwrap());
            let data = (0..60).map(|i| (i as f32 * 0.7).sin()).collect::<Vec<f32>>();
            let x = [Tensor::new(&[2, 3, 2, 5], data).unwrap()];
            let want = reference::run(&graph, &x).unwrap();
            alone(&mut graph, static_slopes);
            assert!(matches!(graph.nodes()[0].op, Op::MaxAffine(_)), "{shape:?}");
            let got = reference::run(&graph, &x).unwrap();
            assert_eq!(got[0].as_f32().unwrap(), want[0].as_f32().unwrap());
        }
    }

    #[test]
    fn steeper_slopes_and_those_of_positions_stay() {
        for (shape, slopes) in
            [(&[3, 1, 1][..], vec![0.2f32, 1.5, 0.1]), (&[5], vec![0.1; 5]), (&[1], vec![f32::NAN])]
        {
            let mut graph = network(Tensor::new(shape, slopes).unwrap());
            alone(&mut graph, static_slopes);
            assert!(matches!(graph.nodes()[0].op, Op::PRelu), "{shape:?}");
        }
    }
}
