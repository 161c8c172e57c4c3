//! Makes the batch size free if the exporter has fixed it to 1.
//!
//! Exporters write the sizes of their example input into the file, and the example is usually a single
//! image. If every operator provably treats images independently, the network is valid for any number
//! of them. The first axis of every input then becomes a symbol, and shapes that contain its 1 are
//! rewritten. If there is any doubt, the network is not changed.

mod follow;
mod merged;
#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::error::Result;
use crate::graph::infer::{Inference, Types};
use crate::graph::{Dim, Graph, Node, NodeId, Op, Rewriter, ValueId};
use crate::tensor::Tensor;
use follow::{Images, Rewrite, Scope};

/// Why a network only takes the batch size that its file states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FixedBatch {
    /// The name of the node, input or output that prevents another batch size.
    pub name: String,
    /// How it depends on the batch size.
    pub reason: String,
}

/// Makes the batch size free if it is 1 in all inputs. Returns the reason if it stays fixed.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
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
        let (of_outputs, rewrite) = scope.follow().map_err(|reason| at_node(node, reason))?;
        for output in node.outputs.iter().flatten() {
            images[output.index()] = of_outputs;
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

/// Checks the result by inference: every value must have its former sizes, except for the batch.
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
    let after = Inference::new(graph).map_err(refused)?;
    let keeps = |value: ValueId| {
        let Some(images) = images.get(value.index()) else { return true };
        let mut expected = before.get(value).cloned();
        match (&mut expected, *images) {
            (Some(ty), Images::Along(axis)) => ty.dims[axis] = batch.clone(),
            (Some(ty), Images::Merged(axis)) => ty.dims[axis] = batch * &ty.dims[axis],
            _ => {}
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

/// Returns a symbol for the batch that no input uses.
fn unused_symbol(graph: &Graph) -> Dim {
    let types = || graph.inputs().iter().filter_map(|&id| graph.value(id).input.as_ref());
    let is_used = |dim: &Dim| types().any(|ty| ty.dims.contains(dim));
    let names = std::iter::once("N".to_string()).chain((2..).map(|i| format!("N{i}")));
    // The search ends, since there are finitely many inputs.
    names.map(|name| Dim::symbol(&name)).find(|dim| !is_used(dim)).unwrap_or_default()
}

/// Adds a constant for a node, whose present constant may have other readers.
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

/// Replaces a `Shape` by the sizes of a batch of one, which further calculations were written for.
fn sizes_of_one(graph: &mut Graph, id: NodeId) {
    let Node { name, op: Op::Shape { end, .. }, inputs, .. } = graph.node(id).clone() else {
        return;
    };
    let batch = constant_for(graph, id, "batch", vec![1]);
    let sizes = graph.add_value(format!("{name}.image"));
    graph.add_node(Node {
        name: format!("{name}.image"),
        op: Op::Shape { start: 1, end },
        inputs,
        outputs: vec![Some(sizes)],
    });
    let node = graph.node_mut(id);
    node.op = Op::Concat { axis: 0 };
    node.inputs = vec![Some(batch), Some(sizes)];
}

fn resize_only(graph: &mut Graph, id: NodeId, axes: Vec<i64>, sizes: Vec<i64>) {
    let sizes = constant_for(graph, id, "sizes", sizes);
    let node = graph.node_mut(id);
    node.inputs[3] = Some(sizes);
    if let Op::Resize(resize) = &mut node.op {
        resize.axes = axes;
    }
}
