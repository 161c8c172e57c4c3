//! Whole graphs, node by node.

use std::collections::HashMap;

use super::evaluate;
use crate::error::{Error, Result};
use crate::graph::{Bindings, Graph, ValueId, bind_inputs, in_single_precision};
use crate::tensor::Tensor;

/// Runs a validated graph on one tensor per input. Between its inputs and its outputs the graph is
/// computed in single precision, as [`in_single_precision`] describes.
///
/// # Errors
/// [`Input`](crate::ErrorKind::Input) if the inputs are not those that the graph declares;
/// otherwise those of `evaluate`, with the name of the node.
pub fn run(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    trace(graph, inputs, &mut |_, _| {})
}

/// Runs a graph as [`run`] does, and calls `observe` with every value that a node computes.
///
/// # Errors
/// Those of [`run`].
pub fn trace(
    graph: &Graph,
    inputs: &[Tensor],
    observe: &mut dyn FnMut(ValueId, &Tensor),
) -> Result<Vec<Tensor>> {
    if let Some(single) = in_single_precision(graph)? {
        // The conversion adds values that the graph of the caller does not have.
        let is_own = |id: ValueId| id.index() < graph.values().len();
        return trace(&single, inputs, &mut |id, tensor| {
            if is_own(id) {
                observe(id, tensor);
            }
        });
    }
    let given = inputs.iter().map(|tensor| (tensor.dtype(), tensor.shape()));
    bind_inputs(graph, given, &mut Bindings::new())?;
    let mut values: HashMap<ValueId, Tensor> =
        graph.inputs().iter().copied().zip(inputs.iter().cloned()).collect();
    let mut readers: HashMap<ValueId, usize> = HashMap::new();
    let reads = graph.nodes().iter().flat_map(|n| n.inputs.iter().flatten());
    for &id in reads.chain(graph.outputs()) {
        *readers.entry(id).or_default() += 1;
    }
    for node in graph.nodes() {
        let read = |id: &Option<ValueId>| id.and_then(|id| values.get(&id).or(graph.constant(id)));
        let inputs: Vec<Option<&Tensor>> = node.inputs.iter().map(read).collect();
        let outputs = evaluate(&node.op, &inputs, node.outputs.len())
            .map_err(|e| e.at_node(&node.name, node.op.name()))?;
        for (id, tensor) in node.outputs.iter().zip(outputs) {
            if let Some(id) = id {
                observe(*id, &tensor);
                values.insert(*id, tensor);
            }
        }
        for id in node.inputs.iter().flatten() {
            if let Some(count) = readers.get_mut(id) {
                *count -= 1;
                if *count == 0 {
                    values.remove(id);
                }
            }
        }
    }
    let output = |id: &ValueId| {
        values.get(id).or(graph.constant(*id)).cloned().ok_or_else(|| {
            Error::graph(format!("nothing produces the output {:?}", graph.value(*id).name))
        })
    };
    graph.outputs().iter().map(output).collect()
}
