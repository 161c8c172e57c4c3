//! Networks: nodes over named values.

use std::collections::BTreeMap;

use super::{Op, TensorType};
use crate::tensor::Tensor;

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
    pub(super) values: Vec<Value>,
    pub(super) nodes: Vec<Node>,
    inputs: Vec<ValueId>,
    pub(super) outputs: Vec<ValueId>,
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
}
