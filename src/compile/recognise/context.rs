//! Finds the feature map whose mean is the context of a hyperfunction.

use super::scope::Scope;
use crate::graph::predicates::{axis_from_front, is_one};
use crate::graph::{Dim, Op, Padding, Pool, PoolKind, Reduce, ReduceKind, ValueId};

/// Returns the feature map `[N,C,..]` whose mean over all positions is `context`; `None` if the context
/// is not a mean. The mean may be computed in several steps, such as one per axis.
pub(super) fn pooled_map(scope: &Scope, context: ValueId) -> Option<ValueId> {
    let wanted = &scope.types.get(context)?.dims[..2];
    let mut value = context;
    let mut averaged = false;
    loop {
        let dims = &scope.types.get(value)?.dims;
        let node = scope.graph.node(scope.links.producer(value)?);
        let input = node.input(0)?;
        let inner = &scope.types.get(input)?.dims;
        match &node.op {
            Op::Identity | Op::Dropout => {}
            Op::Squeeze | Op::Unsqueeze | Op::Reshape { .. } | Op::Flatten { .. } => {
                if !same_but_for_ones(dims, inner) {
                    // The positions may have been merged into one axis before the mean.
                    let spatial = inner.get(2..).filter(|s| !s.is_empty())?;
                    let merged = spatial.iter().fold(Dim::from(1), |a, b| &a * b);
                    let laid_out = dims.len() == 3 && dims[2] == merged;
                    if !(averaged && laid_out && dims[..2] == inner[..2]) {
                        return None;
                    }
                    return (inner[..2] == *wanted).then_some(input);
                }
            }
            Op::Reduce(Reduce { kind: ReduceKind::Mean, .. }) => {
                for axis in scope.integers(node.input(1)?)? {
                    if axis_from_front(axis, inner.len())? < 2 {
                        return None;
                    }
                }
                averaged = true;
            }
            Op::GlobalPool(PoolKind::Average) => return (inner[..2] == *wanted).then_some(input),
            Op::Pool(pool) if is_global_average(pool, inner) => {
                return (inner[..2] == *wanted).then_some(input);
            }
            _ => return None,
        }
        value = input;
        let all_positions = averaged && inner.len() > 2 && inner[..2] == *wanted;
        if all_positions && !is_partial_mean(scope, value) && !is_layout_step(scope, value) {
            return Some(value);
        }
    }
}

/// Whether `value` is the result of a mean over some axes.
fn is_partial_mean(scope: &Scope, value: ValueId) -> bool {
    let Some(id) = scope.links.producer(value) else { return false };
    matches!(scope.graph.node(id).op, Op::Reduce(Reduce { kind: ReduceKind::Mean, .. }))
}

/// Whether `value` is the result of a reshape, which may have merged the positions into one axis.
fn is_layout_step(scope: &Scope, value: ValueId) -> bool {
    let Some(id) = scope.links.producer(value) else { return false };
    matches!(scope.graph.node(id).op, Op::Reshape { .. } | Op::Flatten { .. })
}

fn is_global_average(pool: &Pool, dims: &[Dim]) -> bool {
    let covers_map = dims.len() == pool.kernel.len() + 2
        && dims[2..].iter().zip(&pool.kernel).all(|(d, &k)| d.as_size() == Some(k));
    let unpadded = matches!(&pool.padding, Padding::Explicit(p) if p.iter().all(|&p| p == 0));
    pool.kind == PoolKind::Average && covers_map && unpadded
}

fn same_but_for_ones(a: &[Dim], b: &[Dim]) -> bool {
    let significant =
        |dims: &[Dim]| -> Vec<Dim> { dims.iter().filter(|d| !is_one(d)).cloned().collect() };
    significant(a) == significant(b)
}
