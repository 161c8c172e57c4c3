//! The plain executor of a graph: obviously correct, the oracle of every test.

use crate::error::Result;
use crate::graph::{Graph, Op, ValueId};
use crate::tensor::Tensor;

/// Applies one operator. Absent optional inputs are `None`; as many outputs as asked for.
///
/// # Errors
/// `Shape` where the inputs do not fit the operator or each other, `Unsupported` where the
/// operator is not implemented for their element type.
pub fn evaluate(op: &Op, inputs: &[Option<&Tensor>], outputs: usize) -> Result<Vec<Tensor>> {
    let _ = (op, inputs, outputs);
    Ok(vec![])
}

/// Runs a validated graph on one tensor an input.
///
/// # Errors
/// `Input` where the inputs are not those that the graph declares; otherwise what [`evaluate`]
/// says, with the node's name.
pub fn run(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    trace(graph, inputs, &mut |_, _| {})
}

/// As [`run`], and shows `observe` every value that a node produces.
///
/// # Errors
/// As [`run`].
pub fn trace(
    graph: &Graph,
    inputs: &[Tensor],
    observe: &mut dyn FnMut(ValueId, &Tensor),
) -> Result<Vec<Tensor>> {
    let _ = (graph, inputs, observe);
    Ok(vec![])
}
