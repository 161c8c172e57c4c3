//! Replaces the computed sizes of a resize by constants, where those of height and width are known.
//!
//! Exporters compute all four sizes of the result with nodes of their own, because the number of images
//! is free.

use crate::error::Result;
use crate::graph::{AspectRatioPolicy, Dim, NodeId, Op, Rewriter};
use crate::tensor::Tensor;

/// Replaces the sizes of every such resize.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub fn constant_sizes(graph: &mut Rewriter) -> Result<()> {
    for id in graph.node_ids() {
        fix(graph, id);
    }
    graph.commit().map(|_| ())
}

fn fix(graph: &mut Rewriter, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let Op::Resize(op) = &node.op else { return None };
    let (x, sizes) = (node.input(0)?, node.input(3)?);
    let is_stretched = op.keep_aspect_ratio == AspectRatioPolicy::Stretch && op.axes.is_empty();
    if !is_stretched || graph.constant(sizes).is_some() {
        return None;
    }
    let from = &graph.types().get(x)?.dims;
    let [images, channels, height, width] = graph.types().contents(sizes)? else { return None };
    if from.get(..2)? != [images.clone(), channels.clone()] || from.len() != 4 {
        return None;
    }
    let sizes: Vec<i64> = [height, width].into_iter().map(Dim::as_const).collect::<Option<_>>()?;
    let mut op = op.clone();
    op.axes = vec![2, 3];
    let name = format!("{}.sizes", node.name);
    let sizes = graph.add_constant(name, Tensor::vector(sizes));
    graph.edit(id, |node| {
        node.op = Op::Resize(op);
        node.inputs[3] = Some(sizes);
    });
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::alone;
    use super::*;
    use crate::graph::{CoordinateTransform, Graph, Resize, ResizeMode, TensorType, ValueId};
    use crate::reference;
    use crate::tensor::DType;

    /// A network that resizes to the first two sizes of its input, and to 6x4 pixels.
    fn network(channels: Dim) -> Graph {
        let mut g = Graph::new("t");
        let dims = vec![Dim::symbol("N"), channels, 3.into(), 2.into()];
        let x = g.add_input("x", TensorType { dtype: DType::F32, dims });
        let first = g.apply("first", Op::Shape { start: 0, end: Some(2) }, &[x]);
        let wanted = g.add_constant("wanted", Tensor::vector(vec![6i64, 4]));
        let sizes = g.apply("sizes", Op::Concat { axis: 0 }, &[first, wanted]);
        let resize = Resize {
            mode: ResizeMode::Linear,
            coordinates: CoordinateTransform::HalfPixel,
            axes: vec![],
            antialias: false,
            exclude_outside: false,
            extrapolation_value: 0.0,
            keep_aspect_ratio: AspectRatioPolicy::Stretch,
        };
        let y: ValueId = g.add_value("y");
        g.add_node(crate::graph::Node {
            name: "y".into(),
            op: Op::Resize(resize),
            inputs: vec![Some(x), None, None, Some(sizes)],
            outputs: vec![Some(y)],
        });
        g.set_outputs(vec![y]);
        g
    }

    #[test]
    fn sizes_of_the_image_are_constants() {
        for channels in [Dim::from(2), Dim::symbol("C")] {
            let mut graph = network(channels);
            let x =
                [Tensor::new(&[2, 2, 3, 2], (0..24).map(|i| i as f32).collect::<Vec<_>>())
                    .unwrap()];
            let want = reference::run(&graph, &x).unwrap();
            alone(&mut graph, constant_sizes);
            assert_eq!(graph.nodes().len(), 1);
            let got = reference::run(&graph, &x).unwrap();
            assert_eq!(got[0].shape(), want[0].shape());
            assert_eq!(got[0].as_f32().unwrap(), want[0].as_f32().unwrap());
        }
    }
}
