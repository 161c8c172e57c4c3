//! Frees a batch that the exporter fixed to 1.
//!
//! Exporters write down the sizes of the example that they were given, and the example is mostly a
//! single image. Where every operator provably treats images one by one, the network means as much
//! for several: the first axis of every input gets a symbol, and shapes that were written with its
//! 1 leave it open. The least doubt leaves the network as it was.

mod follow;
#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::error::Result;
use crate::graph::infer::{Inference, Types};
use crate::graph::{Dim, Graph, Node, NodeId, Op, Rewriter, ValueId};
use crate::tensor::Tensor;
use follow::{Images, Rewrite, Scope};

/// Why a network takes no batches but those of the size that its file states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FixedBatch {
    /// The name of the node, input or output that is in the way.
    pub name: String,
    /// What it does that a batch does not allow.
    pub reason: String,
}

/// Frees the batch where all inputs have one of 1. Gives the reason where it stays fixed.
///
/// # Errors
/// `Graph` or `Shape` where the graph contradicts itself.
pub fn free_batch(graph: &mut Rewriter) -> Result<Option<FixedBatch>> {
    for &input in graph.inputs() {
        let value = graph.value(input);
        let batch = value.input.as_ref().and_then(|ty| ty.dims.first()).map(Dim::as_const);
        match batch {
            Some(Some(1)) => {}
            Some(None) => return Ok(None),
            _ => {
                let reason = "its first axis is not a batch of 1".into();
                return Ok(Some(FixedBatch { name: value.name.clone(), reason }));
            }
        }
    }
    let mut freed = graph.graph().clone();
    match free(&mut freed, graph.types()) {
        Ok(inference) => {
            graph.adopt(freed, inference);
            Ok(None)
        }
        Err(fixed) => Ok(Some(fixed)),
    }
}

fn free(graph: &mut Graph, types: &Types) -> Result<Inference, FixedBatch> {
    let mut images = vec![Images::Absent; graph.values().len()];
    for input in graph.inputs() {
        images[input.index()] = Images::Along(0);
    }
    for id in graph.node_ids() {
        let node = graph.node(id);
        let scope = Scope { graph, types, images: &images, node };
        let (found, rewrite) = scope.follow().map_err(|reason| at_node(node, reason))?;
        for output in node.outputs.iter().flatten() {
            images[output.index()] = found;
        }
        match rewrite {
            None => {}
            Some(Rewrite::Shape(shape)) => leave_open(graph, id, shape),
            Some(Rewrite::SizesOfOne) => sizes_of_one(graph, id),
            Some(Rewrite::Sizes { axes, sizes }) => resize_only(graph, id, axes, sizes),
        }
    }
    let symbol = unused_symbol(graph);
    for input in graph.inputs().to_vec() {
        if let Some(ty) = &mut graph.value_mut(input).input {
            ty.dims[0] = symbol.clone();
        }
    }
    check(graph, types, &images, &symbol)
}

/// Checks the work by inference: every value has the sizes that it had, but for the batch.
fn check(
    graph: &mut Graph,
    before: &Types,
    images: &[Images],
    batch: &Dim,
) -> Result<Inference, FixedBatch> {
    let refused = |e: crate::error::Error| FixedBatch {
        name: e.node().unwrap_or_default().into(),
        reason: e.message().into(),
    };
    graph.prune().map_err(refused)?;
    let after = Inference::of(graph).map_err(refused)?;
    let keeps = |value: ValueId| {
        let Some(images) = images.get(value.index()) else { return true };
        let mut expected = before.get(value).cloned();
        if let (Some(ty), Images::Along(axis)) = (&mut expected, *images) {
            ty.dims[axis] = batch.clone();
        }
        expected.is_some() && after.types().get(value) == expected.as_ref()
    };
    for node in graph.nodes() {
        if !node.outputs.iter().flatten().all(|&value| keeps(value)) {
            return Err(at_node(node, "its sizes cannot be followed".into()));
        }
    }
    match graph.outputs().iter().find(|id| images[id.index()] != Images::Along(0)) {
        None => Ok(after),
        Some(&id) => {
            let reason = "its first axis is not that of the images".into();
            Err(FixedBatch { name: graph.value(id).name.clone(), reason })
        }
    }
}

fn at_node(node: &Node, reason: String) -> FixedBatch {
    FixedBatch { name: node.name.clone(), reason: format!("{}: {reason}", node.op.name()) }
}

/// A name for the batch that no input uses for another size.
fn unused_symbol(graph: &Graph) -> Dim {
    let types = || graph.inputs().iter().filter_map(|&id| graph.value(id).input.as_ref());
    let is_used = |dim: &Dim| types().any(|ty| ty.dims.contains(dim));
    let names = std::iter::once("N".to_string()).chain((2..).map(|i| format!("N{i}")));
    // There are finitely many inputs.
    names.map(|name| Dim::symbol(&name)).find(|dim| !is_used(dim)).unwrap_or_default()
}

/// A constant beside the one that a node has, which other nodes may read too.
fn constant_for(graph: &mut Graph, id: NodeId, what: &str, integers: Vec<i64>) -> ValueId {
    let name = format!("{}.{what}", graph.node(id).name);
    graph.add_constant(name, Tensor::vector(integers))
}

fn leave_open(graph: &mut Graph, id: NodeId, shape: Vec<i64>) {
    let shape = constant_for(graph, id, "shape", shape);
    let node = graph.node_mut(id);
    node.op = Op::Reshape { allow_zero: false };
    node.inputs[1] = Some(shape);
}

/// A calculation with sizes goes on with those of one image.
fn sizes_of_one(graph: &mut Graph, id: NodeId) {
    let Node { name, op: Op::Shape { end, .. }, inputs, .. } = graph.node(id).clone() else {
        return;
    };
    let one = constant_for(graph, id, "batch", vec![1]);
    let rest = graph.add_value(format!("{name}.image"));
    graph.add_node(Node {
        name: format!("{name}.image"),
        op: Op::Shape { start: 1, end },
        inputs,
        outputs: vec![Some(rest)],
    });
    let node = graph.node_mut(id);
    node.op = Op::Concat { axis: 0 };
    node.inputs = vec![Some(one), Some(rest)];
}

fn resize_only(graph: &mut Graph, id: NodeId, axes: Vec<i64>, sizes: Vec<i64>) {
    let sizes = constant_for(graph, id, "sizes", sizes);
    let node = graph.node_mut(id);
    node.inputs[3] = Some(sizes);
    if let Op::Resize(resize) = &mut node.op {
        resize.axes = axes;
    }
}
