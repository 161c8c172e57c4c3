//! Searches for the smallest part of a network on which the engine still differs.

use std::collections::HashMap;

use dyrelu::graph::{Graph, Node, TensorType, ValueId};
use dyrelu::{Tensor, reference};

use super::difference;
use crate::graphs::Case;

/// Removes nodes, outputs and inputs as long as the rest still differs from the reference.
pub fn shrink(case: &Case) -> Case {
    let mut smallest = case.clone();
    // Every candidate is smaller than the network, so this terminates.
    while let Some(smaller) = smaller(&smallest).into_iter().find(|part| difference(part).is_some())
    {
        smallest = smaller;
    }
    smallest
}

/// All candidates: parts of the network that are a little smaller.
fn smaller(case: &Case) -> Vec<Case> {
    let graph = &case.graph;
    let mut parts = Vec::new();
    let outputs = graph.outputs();
    if outputs.len() > 1 {
        // A single output, or all outputs but one.
        parts.extend(outputs.iter().map(|&id| part(case, vec![id], &HashMap::new(), &[])));
        for i in 0..outputs.len() {
            let rest = [&outputs[..i], &outputs[i + 1..]].concat();
            parts.push(part(case, rest, &HashMap::new(), &[]));
        }
    }
    let mut tensors = HashMap::new();
    let mut observe = |id: ValueId, tensor: &Tensor| _ = tensors.insert(id, tensor.clone());
    let _ = reference::trace(graph, &case.inputs, &mut observe);
    let inner = graph.nodes().iter().flat_map(|node| node.outputs.iter().flatten().copied());
    for id in inner.filter(|id| !outputs.contains(id)) {
        // The nodes before this value, or the nodes after it.
        parts.push(part(case, vec![id], &HashMap::new(), &[]));
        if let Some(tensor) = tensors.get(&id) {
            parts.push(part(case, outputs.to_vec(), &HashMap::from([(id, tensor.clone())]), &[]));
        }
    }
    if graph.inputs().len() > 1 {
        parts.extend(
            graph.inputs().iter().map(|&id| part(case, outputs.to_vec(), &HashMap::new(), &[id])),
        );
    }
    parts.into_iter().flatten().collect()
}

/// The part of a network that computes `outputs`, with the values in `new_inputs` as additional inputs
/// and the inputs in `fixed` as constants. Returns `None` if the part is not smaller than the network.
fn part(
    case: &Case,
    outputs: Vec<ValueId>,
    new_inputs: &HashMap<ValueId, Tensor>,
    fixed: &[ValueId],
) -> Option<Case> {
    let old = &case.graph;
    let links = old.links();
    let mut is_needed = vec![false; old.nodes().len()];
    let mut pending = outputs.clone();
    let mut read = Vec::new();
    while let Some(id) = pending.pop() {
        read.push(id);
        if new_inputs.contains_key(&id) {
            continue;
        }
        if let Some(producer) = links.producer(id) {
            let number = old.node_ids().position(|node| node == producer)?;
            if !std::mem::replace(&mut is_needed[number], true) {
                pending.extend(old.node(producer).inputs.iter().flatten());
            }
        }
    }
    let inputs: HashMap<ValueId, &Tensor> =
        old.inputs().iter().copied().zip(&case.inputs).collect();
    let mut graph = Graph::new("part");
    let (mut new_ids, mut tensors) = (HashMap::new(), Vec::new());
    for &id in &read {
        if new_ids.contains_key(&id) {
            continue;
        }
        let value = old.value(id);
        let new = if let Some(tensor) = new_inputs.get(&id) {
            tensors.push(tensor.clone());
            graph.add_input(&value.name, TensorType::from_tensor(tensor))
        } else if let (Some(ty), Some(&tensor)) = (&value.input, inputs.get(&id)) {
            if fixed.contains(&id) {
                graph.add_constant(&value.name, tensor.clone())
            } else {
                tensors.push(tensor.clone());
                graph.add_input(&value.name, ty.clone())
            }
        } else if let Some(tensor) = &value.constant {
            graph.add_constant(&value.name, tensor.clone())
        } else {
            graph.add_value(&value.name)
        };
        new_ids.insert(id, new);
    }
    for (node, _) in old.nodes().iter().zip(&is_needed).filter(|(_, is_needed)| **is_needed) {
        let inputs = node.inputs.iter().map(|id| id.and_then(|id| new_ids.get(&id).copied()));
        let inputs = inputs.collect();
        let mut outputs = Vec::new();
        for id in &node.outputs {
            outputs.push(id.map(|id| {
                // A value that is an input now must not be computed by a node.
                let unread = new_inputs.contains_key(&id) || !new_ids.contains_key(&id);
                match unread {
                    true => {
                        let name = old.value(id).name.trim_end_matches(".unread");
                        graph.add_value(format!("{name}.unread"))
                    }
                    false => new_ids[&id],
                }
            }));
        }
        graph.add_node(Node { name: node.name.clone(), op: node.op.clone(), inputs, outputs });
    }
    let count = (graph.nodes().len(), outputs.len(), tensors.len());
    let before = (old.nodes().len(), old.outputs().len(), case.inputs.len());
    graph.set_outputs(outputs.iter().map(|id| new_ids[id]).collect());
    (count < before).then_some(Case { graph, inputs: tensors })
}
