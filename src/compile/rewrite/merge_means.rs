//! Rewrites a mean over the rows of a map and then over its columns as one mean over all positions.

use crate::error::Result;
use crate::graph::predicates::axis_from_front;
use crate::graph::{NodeId, Op, Reduce, ReduceKind, Rewriter, ValueId};
use crate::tensor::Tensor;

/// Merges every mean over one axis of a feature map with a mean over the other.
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
    let (second, of_second, keep_dims) = mean(graph, id)?;
    let first = graph.links().producer(second)?;
    let (x, of_first, kept) = mean(graph, first)?;
    graph.links().only_reader(second)?;
    if graph.types().get(x)?.dims.len() != 4 || keep_dims != kept {
        return None;
    }
    // Without kept axes the second mean counts the axes that the first one has left.
    let of_second = if !kept && of_second >= of_first { of_second + 1 } else { of_second };
    if ![[2, 3], [3, 2]].contains(&[of_first, of_second]) {
        return None;
    }
    let name = format!("{}.axes", graph.node(id).name);
    let axes = graph.add_constant(name, Tensor::vector(vec![2i64, 3]));
    graph.edit(id, |node| node.inputs = vec![Some(x), Some(axes)]);
    Some(())
}

/// Returns the input of a mean over one axis, the axis, and whether it is kept.
fn mean(graph: &Rewriter, id: NodeId) -> Option<(ValueId, usize, bool)> {
    let node = graph.node(id);
    let Op::Reduce(Reduce { kind: ReduceKind::Mean, keep_dims, .. }) = node.op else { return None };
    let x = node.input(0)?;
    let axes = graph.constant(node.input(1)?)?.to_i64s().ok()?;
    let &[axis] = axes.as_slice() else { return None };
    Some((x, axis_from_front(axis, graph.types().get(x)?.dims.len())?, keep_dims))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Net;
    use super::*;

    fn after_two_means(axes: [i64; 2], keep_dims: bool) -> usize {
        let mut net = Net::new();
        let mut y = net.x;
        for axis in axes {
            let axes = net.constant(Tensor::vector(vec![axis]));
            let noop_with_empty_axes = false;
            let reduce = Reduce { kind: ReduceKind::Mean, keep_dims, noop_with_empty_axes };
            y = net.apply(Op::Reduce(reduce), &[y, axes]);
        }
        net.rewritten(y, merge_means).len()
    }

    #[test]
    fn means_over_both_spatial_axes_are_one() {
        for axes in [[2, 3], [3, 2], [-1, -2], [-2, -1]] {
            assert_eq!(after_two_means(axes, true), 1, "{axes:?}");
        }
        for axes in [[2, 2], [3, 2], [-1, -1]] {
            assert_eq!(after_two_means(axes, false), 1, "{axes:?}");
        }
    }

    #[test]
    fn other_means_stay() {
        assert_eq!(after_two_means([1, 2], true), 2);
        assert_eq!(after_two_means([2, 1], false), 2);
    }
}
