//! What a network means: values, nodes and their shapes, independent of file formats and of how it
//! runs.

mod bind;
pub mod cost;
mod dim;
pub(crate) mod geometry;
pub mod infer;
mod links;
mod op;
pub(crate) mod predicates;
mod rewriter;
mod single_precision;
mod validate;

use std::collections::BTreeMap;

pub use bind::bind_inputs;
pub use dim::{Bindings, Dim};
pub use links::Links;
pub use op::*;
pub use rewriter::Rewriter;
#[cfg(feature = "onnx")]
pub(crate) use single_precision::element_types;
pub use single_precision::in_single_precision;

use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor};

/// The identity of a value in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(pub(crate) usize);

/// The identity of a node in its graph. It changes when the graph is pruned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) usize);

impl ValueId {
    /// Returns the index among the graph's values.
    pub fn index(self) -> usize {
        self.0
    }
}

/// The element type and the sizes of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorType {
    /// The element type.
    pub dtype: DType,
    /// The sizes of the axes, outermost first.
    pub dims: Vec<Dim>,
}

impl TensorType {
    /// Returns the type of a tensor.
    pub fn from_tensor(tensor: &Tensor) -> Self {
        let dims = tensor.shape().iter().map(|&d| d.into()).collect();
        TensorType { dtype: tensor.dtype(), dims }
    }

    /// Returns the sizes, if all are known.
    pub fn fixed_shape(&self) -> Option<Vec<usize>> {
        self.dims.iter().map(Dim::as_size).collect()
    }
}

impl std::fmt::Display for TensorType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.dtype, self.dims)
    }
}

/// A value of a graph: an input, a constant, or an output of a node.
#[derive(Clone, Debug)]
pub struct Value {
    /// Its name, unique in the graph.
    pub name: String,
    /// The tensor, if the value is a constant.
    pub constant: Option<Tensor>,
    /// The type, if the value is an input of the graph.
    pub input: Option<TensorType>,
}

/// One application of an operator.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name, for messages.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// The values that it reads; `None` for an optional input that is absent.
    pub inputs: Vec<Option<ValueId>>,
    /// The values that it produces; `None` for an optional output that nothing reads.
    pub outputs: Vec<Option<ValueId>>,
}

impl Node {
    /// Returns input `i`, if it is present.
    pub fn input(&self, i: usize) -> Option<ValueId> {
        self.inputs.get(i).copied().flatten()
    }

    /// Returns the first output.
    ///
    /// # Panics
    /// Panics if the first output is absent, which [`Graph::validate`] rejects.
    pub fn output(&self) -> ValueId {
        self.outputs.first().copied().flatten().expect("a valid node has its first output")
    }
}

/// A network: nodes over named values, each of which is assigned once.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// The network's name.
    pub name: String,
    /// Data that does not change the meaning of the network: preprocessing, class names, origin.
    pub metadata: BTreeMap<String, String>,
    values: Vec<Value>,
    nodes: Vec<Node>,
    inputs: Vec<ValueId>,
    outputs: Vec<ValueId>,
}

impl Graph {
    /// Creates an empty graph.
    pub fn new(name: impl Into<String>) -> Self {
        Graph { name: name.into(), ..Graph::default() }
    }

    /// Adds a value that nothing produces yet.
    pub fn add_value(&mut self, name: impl Into<String>) -> ValueId {
        self.values.push(Value { name: name.into(), constant: None, input: None });
        ValueId(self.values.len() - 1)
    }

    /// Adds an input of the graph.
    pub fn add_input(&mut self, name: impl Into<String>, ty: TensorType) -> ValueId {
        let id = self.add_value(name);
        self.values[id.0].input = Some(ty);
        self.inputs.push(id);
        id
    }

    /// Adds a constant.
    pub fn add_constant(&mut self, name: impl Into<String>, tensor: Tensor) -> ValueId {
        let id = self.add_value(name);
        self.values[id.0].constant = Some(tensor);
        id
    }

    /// Adds a node.
    pub fn add_node(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId(self.nodes.len() - 1)
    }

    /// Adds a node with one output, which gets the node's name. Returns the output.
    pub fn apply(&mut self, name: impl Into<String>, op: Op, inputs: &[ValueId]) -> ValueId {
        let name = name.into();
        let output = self.add_value(name.clone());
        let inputs = inputs.iter().map(|&id| Some(id)).collect();
        self.add_node(Node { name, op, inputs, outputs: vec![Some(output)] });
        output
    }

    /// Sets the outputs of the graph.
    pub fn set_outputs(&mut self, outputs: Vec<ValueId>) {
        self.outputs = outputs;
    }

    /// Returns the inputs of the graph.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// Returns the outputs of the graph.
    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }

    /// Returns all nodes; in a validated graph, in an order in which they can run.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Returns the identities of all nodes, in order.
    pub fn node_ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(NodeId)
    }

    /// Returns a node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// Returns a node for editing.
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0]
    }

    /// Returns all values.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// Returns a value.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0]
    }

    /// Returns a value for editing.
    pub fn value_mut(&mut self, id: ValueId) -> &mut Value {
        &mut self.values[id.0]
    }

    /// Returns the tensor, if the value is a constant.
    pub fn constant(&self, id: ValueId) -> Option<&Tensor> {
        self.values[id.0].constant.as_ref()
    }

    /// Collects the producer and the readers of each value.
    pub fn links(&self) -> Links {
        Links::new(self)
    }

    /// Drops the nodes that no output depends on, and sorts the others into an order in which they
    /// can run. The sort keeps the given order as far as possible. Drops the tensors of constants
    /// that no node reads.
    ///
    /// # Errors
    /// [`Graph`](crate::ErrorKind::Graph) if the graph has a cycle.
    pub fn prune(&mut self) -> Result<()> {
        self.prune_with(&self.links()).map(|_| ())
    }

    /// Prunes the graph as [`prune`](Self::prune) does. Returns the new identity of every node that
    /// is left.
    fn prune_with(&mut self, links: &Links) -> Result<Vec<Option<NodeId>>> {
        let order = self.running_order(links)?;
        let mut places = vec![None; self.nodes.len()];
        let mut nodes: Vec<Option<Node>> =
            std::mem::take(&mut self.nodes).into_iter().map(Some).collect();
        for (place, id) in order.into_iter().enumerate() {
            places[id.0] = Some(NodeId(place));
            self.nodes.extend(nodes[id.0].take());
        }
        let mut is_read = vec![false; self.values.len()];
        let inputs = self.nodes.iter().flat_map(|node| node.inputs.iter().flatten());
        inputs.chain(&self.outputs).for_each(|id| is_read[id.0] = true);
        for (value, is_read) in self.values.iter_mut().zip(is_read) {
            if !is_read {
                value.constant = None;
            }
        }
        Ok(places)
    }

    /// Returns the nodes that an output depends on, in an order in which they can run.
    fn running_order(&self, links: &Links) -> Result<Vec<NodeId>> {
        let mut wanted = vec![false; self.nodes.len()];
        let mut open: Vec<ValueId> = self.outputs.clone();
        while let Some(value) = open.pop() {
            if let Some(node) = links.producer(value)
                && !std::mem::replace(&mut wanted[node.0], true)
            {
                open.extend(self.node(node).inputs.iter().flatten());
            }
        }

        // Kahn's algorithm, with a heap of nodes by position to keep the given order.
        let mut missing = vec![0usize; self.nodes.len()];
        let mut ready = std::collections::BinaryHeap::new();
        for id in self.node_ids().filter(|id| wanted[id.0]) {
            let inputs = self.node(id).inputs.iter().flatten();
            missing[id.0] = inputs.filter(|v| links.producer(**v).is_some()).count();
            if missing[id.0] == 0 {
                ready.push(std::cmp::Reverse(id));
            }
        }
        let mut order = Vec::with_capacity(self.nodes.len());
        while let Some(std::cmp::Reverse(id)) = ready.pop() {
            order.push(id);
            for output in self.node(id).outputs.iter().flatten() {
                for &consumer in links.consumers(*output).iter().filter(|id| wanted[id.0]) {
                    missing[consumer.0] -= 1;
                    if missing[consumer.0] == 0 {
                        ready.push(std::cmp::Reverse(consumer));
                    }
                }
            }
        }
        match self.node_ids().find(|id| wanted[id.0] && missing[id.0] > 0) {
            None => Ok(order),
            Some(stuck) => {
                let node = self.node(stuck);
                let message = "it waits for its own output: the network has a cycle";
                Err(Error::graph(message).at_node(&node.name, node.op.name()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relu() -> Op {
        Op::Unary(Unary::Relu)
    }

    fn image() -> TensorType {
        TensorType { dtype: DType::F32, dims: vec![Dim::symbol("N"), 3.into()] }
    }

    #[test]
    fn prune_drops_the_dead_and_orders_the_rest() {
        let mut g = Graph::new("t");
        let x = g.add_input("x", image());
        let late = g.add_value("late");
        let y = g.apply("y", relu(), &[late]);
        g.apply("dead", relu(), &[x]);
        g.add_node(Node {
            name: "late".into(),
            op: relu(),
            inputs: vec![Some(x)],
            outputs: vec![Some(late)],
        });
        g.set_outputs(vec![y]);
        g.prune().unwrap();
        let names: Vec<_> = g.nodes().iter().map(|n| n.name.as_str()).collect();
        assert_eq!(names, ["late", "y"]);
    }

    #[test]
    fn a_cycle_is_named() {
        let mut g = Graph::new("t");
        let a = g.add_value("a");
        let b = g.apply("b", relu(), &[a]);
        g.add_node(Node {
            name: "back".into(),
            op: relu(),
            inputs: vec![Some(b)],
            outputs: vec![Some(a)],
        });
        g.set_outputs(vec![b]);
        let e = g.prune().unwrap_err();
        assert_eq!(e.node(), Some("b"));
        assert!(e.to_string().contains("cycle"), "{e}");
    }
}
