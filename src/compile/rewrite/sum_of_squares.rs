//! Reads a sum of spelled out squares as one reduction.

use crate::error::Result;
use crate::graph::{Binary, NodeId, Op, Reduce, ReduceKind, Rewriter};
use crate::tensor::DType;

/// Replaces every sum of products of a value with itself that nothing else reads.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub fn sum_of_squares(graph: &mut Rewriter) -> Result<()> {
    for id in graph.node_ids() {
        rewrite(graph, id);
    }
    graph.commit().map(|_| ())
}

fn rewrite(graph: &mut Rewriter, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let Op::Reduce(reduce) = node.op else { return None };
    let squares = node.input(0).filter(|_| reduce.kind == ReduceKind::Sum)?;
    graph.links().only_reader(squares)?;
    let product = graph.node(graph.links().producer(squares)?);
    let (x, other) = (product.input(0)?, product.input(1)?);
    let is_square = match product.op {
        Op::Binary(Binary::Mul) => x == other,
        Op::Binary(Binary::Pow) => {
            let exponent = graph.constant(other).filter(|exponent| exponent.len() == 1)?;
            let exponent = exponent.cast(DType::F64).ok()?;
            exponent.as_slice::<f64>().ok()? == [2.0]
        }
        _ => false,
    };
    // An exponent may have more axes than what it is applied to.
    let types = graph.types();
    if !is_square || types.get(x)? != types.get(squares)? {
        return None;
    }
    let op = Op::Reduce(Reduce { kind: ReduceKind::SumSquare, ..reduce });
    graph.edit(id, |node| {
        node.op = op;
        node.inputs[0] = Some(x);
    });
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Net;
    use super::*;
    use crate::tensor::Tensor;

    #[test]
    fn squares_are_summed_by_one_node() {
        for exponent in [None, Some(2.0f32), Some(3.0)] {
            let mut net = Net::new();
            let squares = match exponent {
                None => net.apply(Op::Binary(Binary::Mul), &[net.x, net.x]),
                Some(exponent) => {
                    let exponent = net.constant(Tensor::scalar(exponent));
                    net.apply(Op::Binary(Binary::Pow), &[net.x, exponent])
                }
            };
            let axes = net.constant(Tensor::vector(vec![2i64, 3]));
            let kind = ReduceKind::Sum;
            let reduce = Reduce { kind, keep_dims: true, noop_with_empty_axes: false };
            let y = net.apply(Op::Reduce(reduce), &[squares, axes]);
            let ops = net.rewritten(y, sum_of_squares);
            let is_one = matches!(
                ops[..],
                [Op::Reduce(Reduce { kind: ReduceKind::SumSquare, keep_dims: true, .. })]
            );
            assert_eq!(is_one, exponent != Some(3.0), "{ops:?}");
        }
    }
}
