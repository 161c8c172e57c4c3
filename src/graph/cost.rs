//! The cost of a network: multiply-adds and parameters.

use super::infer::Types;
use super::{Graph, Node, Op};

/// Returns the number of elements of a value for a single image: every free size counts as 1.
fn elements(types: &Types, value: super::ValueId) -> Option<u64> {
    let sizes = types.get(value)?.dims.iter().map(|d| d.as_size().unwrap_or(1) as u64);
    Some(sizes.fold(1, u64::saturating_mul))
}

/// Returns the multiply-adds of a node's matrix products for one image. Every free size counts as
/// 1, so that sizes other than the batch should have been fixed before.
pub fn multiply_adds(types: &Types, node: &Node) -> u64 {
    let size = |i: usize| node.input(i).and_then(|id| elements(types, id)).unwrap_or(0);
    let dim = |i: usize, axis: usize| {
        let ty = node.input(i).and_then(|id| types.get(id));
        ty.and_then(|ty| ty.dims.get(axis)?.as_size()).unwrap_or(1) as u64
    };
    let output = elements(types, node.output()).unwrap_or(0);
    match &node.op {
        Op::Conv(_) => output.saturating_mul(size(1) / dim(1, 0).max(1)),
        Op::DynamicConv(op) => output.saturating_mul(size(1) / op.outputs.max(1) as u64),
        Op::ConvTranspose(_) => size(0).saturating_mul(size(1) / dim(1, 0).max(1)),
        Op::Gemm(gemm) => output.saturating_mul(dim(1, if gemm.trans_b { 1 } else { 0 })),
        Op::MatMul => {
            let rank = node.input(1).and_then(|id| types.get(id)).map_or(0, |ty| ty.dims.len());
            output.saturating_mul(dim(1, rank.saturating_sub(2)))
        }
        Op::Hyperfunction(_) => size(1).saturating_add(size(3)),
        _ => 0,
    }
}

/// Returns the number of elements of the constants that a node reads.
pub fn parameters(graph: &Graph, node: &Node) -> u64 {
    let inputs = node.inputs.iter().flatten();
    inputs.filter_map(|&id| graph.constant(id)).map(|t| t.len() as u64).sum()
}

/// Returns the number of floating-point elements of all constants; a constant that several nodes
/// read counts once.
pub fn total_parameters(graph: &Graph) -> u64 {
    let constants = graph.values().iter().filter_map(|v| v.constant.as_ref());
    constants.filter(|t| t.dtype().is_float()).map(|t| t.len() as u64).sum()
}
