//! Replaces computed shapes of `Reshape` by constants.
//!
//! An exporter that leaves the batch free writes the shape of each reshaping as a calculation from the
//! sizes of its input: four nodes or more, which would run as steps of their own. All sizes but that of
//! the batch are known, and `Reshape` itself can take that size from its input.

use crate::error::Result;
use crate::graph::{Dim, NodeId, Op, Rewriter};
use crate::tensor::Tensor;

/// Replaces every shape that follows from the sizes of the reshaped value.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub fn constant_shapes(graph: &mut Rewriter) -> Result<()> {
    for id in graph.node_ids() {
        replace(graph, id);
    }
    graph.commit().map(|_| ())
}

fn replace(graph: &mut Rewriter, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let Op::Reshape { .. } = node.op else { return None };
    let (x, shape) = (node.input(0)?, node.input(1)?);
    if graph.constant(shape).is_some() {
        return None;
    }
    let name = node.name.clone();
    // What is computed may hold a 0 or -1 as well, so that the sizes of the result count.
    let (from, to) = (&graph.types().get(x)?.dims, &graph.types().get(node.output())?.dims);
    graph.types().contents(shape)?;
    let numbers = numbers(from, to)?;
    let shape = graph.add_constant(format!("{name}.shape"), Tensor::vector(numbers));
    graph.edit(id, |node| {
        node.op = Op::Reshape { allow_zero: false };
        node.inputs[1] = Some(shape);
    });
    Some(())
}

/// Returns the shape that reshapes a value of the sizes `from` to the sizes `to`: 0 for a size that
/// stays, -1 for one that follows from the others.
fn numbers(from: &[Dim], to: &[Dim]) -> Option<Vec<i64>> {
    let mut open = None;
    let mut numbers = Vec::with_capacity(to.len());
    for (i, size) in to.iter().enumerate() {
        numbers.push(match size.as_const() {
            Some(0) => return None,
            Some(size) => size,
            None if from.get(i) == Some(size) => 0,
            None if open.replace(i).is_none() => -1,
            None => return None,
        });
    }
    if let Some(open) = open {
        let others = to.iter().enumerate().filter(|(i, _)| *i != open).map(|(_, size)| size);
        let (elements, others) = (Dim::product(from)?, Dim::product(others)?);
        if elements.div_exact(&others).as_ref() != Some(&to[open]) {
            return None;
        }
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::super::alone;
    use super::*;
    use crate::graph::{Graph, TensorType};
    use crate::reference;
    use crate::tensor::DType;

    /// A reshaping of `x [N,6,4]` to `[N, ...sizes]`, as PyTorch exports `x.view(x.shape[0], ...)`.
    fn reshaping(sizes: &[i64], batch_last: bool) -> Graph {
        let mut g = Graph::new("t");
        let dims = vec![Dim::symbol("N"), 6.into(), 4.into()];
        let x = g.add_input("x", TensorType { dtype: DType::F32, dims });
        let all = g.apply("all", Op::Shape { start: 0, end: None }, &[x]);
        let zero = g.add_constant("zero", Tensor::vector(vec![0i64]));
        let batch = g.apply("batch", Op::Gather { axis: 0 }, &[all, zero]);
        let rest = g.add_constant("rest", Tensor::vector(sizes.to_vec()));
        let parts = if batch_last { [rest, batch] } else { [batch, rest] };
        let shape = g.apply("shape", Op::Concat { axis: 0 }, &parts);
        let y = g.apply("y", Op::Reshape { allow_zero: false }, &[x, shape]);
        g.set_outputs(vec![y]);
        g
    }

    #[test]
    fn shapes_that_follow_from_the_input_are_constants() {
        let x = [Tensor::new(&[5, 6, 4], (0..120).map(|i| i as f32).collect()).unwrap()];
        for (sizes, batch_last, expected) in [
            (&[2, 3, 4][..], false, &[0, 2, 3, 4][..]),
            (&[24], false, &[0, 24]),
            (&[3, -1], false, &[0, 3, 8]),
            (&[24], true, &[24, -1]),
        ] {
            let mut graph = reshaping(sizes, batch_last);
            let before = reference::run(&graph, &x).unwrap();
            alone(&mut graph, constant_shapes);
            assert_eq!(graph.nodes().len(), 1, "{sizes:?}");
            let shape = graph.constant(graph.nodes()[0].input(1).unwrap()).unwrap();
            assert_eq!(shape.to_i64s().unwrap(), expected);
            let after = reference::run(&graph, &x).unwrap();
            assert_eq!(after[0].shape(), before[0].shape());
            assert_eq!(after[0].as_f32().unwrap(), before[0].as_f32().unwrap());
        }
    }
}
