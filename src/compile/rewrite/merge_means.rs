//! Merges a mean of means into one mean over the axes of both.

use crate::error::Result;
use crate::graph::predicates::axis_from_front;
use crate::graph::{Dim, NodeId, Op, Reduce, ReduceKind, Rewriter, ValueId};
use crate::tensor::Tensor;

/// Merges every mean with the mean that it alone reads, where each is over as many elements for all
/// results.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub fn merge_means(graph: &mut Rewriter) -> Result<()> {
    for id in graph.node_ids() {
        merge(graph, id);
    }
    graph.commit().map(|_| ())
}

fn merge(graph: &mut Rewriter, id: NodeId) -> Option<()> {
    let (means, mut axes) = mean(graph, id)?;
    let inner = graph.links().producer(means)?;
    graph.links().only_reader(means)?;
    let (x, inner_axes) = mean(graph, inner)?;
    if inner_axes.iter().any(|axis| axes.contains(axis)) {
        return None;
    }
    axes.extend(inner_axes);
    axes.sort_unstable();
    let name = graph.node(id).name.clone();
    let axes = graph.add_constant(format!("{name}.axes"), Tensor::vector(axes));
    graph.edit(id, |node| node.inputs = vec![Some(x), Some(axes)]);
    Some(())
}

/// Returns the value of which node `id` computes means, and the axes, if it keeps them with size 1.
fn mean(graph: &Rewriter, id: NodeId) -> Option<(ValueId, Vec<i64>)> {
    let node = graph.node(id);
    let Op::Reduce(Reduce { kind: ReduceKind::Mean, keep_dims: true, .. }) = node.op else {
        return None;
    };
    let x = node.input(0)?;
    let rank = graph.types().get(x)?.dims.len();
    let axes = graph.types().contents(node.input(1)?)?;
    let axis = |axis: &Dim| axis_from_front(axis.as_const()?, rank).map(|axis| axis as i64);
    let axes: Vec<i64> = axes.iter().map(axis).collect::<Option<_>>()?;
    (!axes.is_empty()).then_some((x, axes))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Net;
    use super::*;

    fn mean_of(net: &mut Net, x: ValueId, axes: &[i64], keep_dims: bool) -> ValueId {
        let axes = net.constant(Tensor::vector(axes.to_vec()));
        let kind = ReduceKind::Mean;
        net.apply(Op::Reduce(Reduce { kind, keep_dims, noop_with_empty_axes: false }), &[x, axes])
    }

    #[test]
    fn a_mean_of_means_is_one_mean() {
        for (first, second, keep_dims, left) in [
            (&[2][..], &[3][..], true, 1),
            (&[-1], &[-2], true, 1),
            (&[2, 3], &[1], true, 1),
            (&[2], &[2], true, 2),
            (&[3], &[2], false, 2),
        ] {
            let mut net = Net::new();
            let x = net.x;
            let means = mean_of(&mut net, x, first, keep_dims);
            let y = mean_of(&mut net, means, second, keep_dims);
            assert_eq!(net.rewritten(y, merge_means).len(), left, "{first:?}, {second:?}");
        }
    }
}
