//! The smallest part of a network that still differs.

use std::collections::HashMap;

use dyrelu::graph::{Graph, Node, TensorType, ValueId};
use dyrelu::{Tensor, reference};

use super::difference;
use crate::graphs::Case;

/// Takes nodes away at either end as long as what is left differs from the reference too.
pub fn shrink(case: &Case) -> Case {
    let mut smallest = case.clone();
    // A node less each time: this ends.
    while let Some(smaller) = smaller(&smallest).into_iter().find(|part| difference(part).is_some())
    {
        smallest = smaller;
    }
    smallest
}

/// The network with a little less, in many ways.
fn smaller(case: &Case) -> Vec<Case> {
    let graph = &case.graph;
    let mut parts = Vec::new();
    let outputs = graph.outputs();
    if outputs.len() > 1 {
        // One output, or one output less.
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
        // What comes before is enough, or what comes after.
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

/// The part of a network that gives `outputs`, with the values of `given` as inputs and the inputs
/// `fixed` as constants. `None` where that is the network itself.
fn part(
    case: &Case,
    outputs: Vec<ValueId>,
    given: &HashMap<ValueId, Tensor>,
    fixed: &[ValueId],
) -> Option<Case> {
    let old = &case.graph;
    let links = old.links();
    let mut wanted = vec![false; old.nodes().len()];
    let mut open = outputs.clone();
    let mut read = Vec::new();
    while let Some(id) = open.pop() {
        read.push(id);
        if given.contains_key(&id) {
            continue;
        }
        if let Some(producer) = links.producer(id) {
            let number = old.node_ids().position(|node| node == producer)?;
            if !std::mem::replace(&mut wanted[number], true) {
                open.extend(old.node(producer).inputs.iter().flatten());
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
        let new = if let Some(tensor) = given.get(&id) {
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
    for (node, _) in old.nodes().iter().zip(&wanted).filter(|(_, wanted)| **wanted) {
        let inputs = node.inputs.iter().map(|id| id.and_then(|id| new_ids.get(&id).copied()));
        let inputs = inputs.collect();
        let mut outputs = Vec::new();
        for id in &node.outputs {
            outputs.push(id.map(|id| {
                // A value that is given may not be produced a second time.
                let unread = given.contains_key(&id) || !new_ids.contains_key(&id);
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
    // Fewer nodes, or as many and fewer outputs or inputs.
    (count < before).then_some(Case { graph, inputs: tensors })
}
