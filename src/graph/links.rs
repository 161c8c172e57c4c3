//! The producer and the readers of each value.

use super::{Graph, Node, NodeId, ValueId};

/// The producer and the readers of each value of a graph, and which values are the graph's outputs.
#[derive(Clone, Debug, Default)]
pub struct Links {
    producers: Vec<Option<NodeId>>,
    consumers: Vec<Vec<NodeId>>,
    is_output: Vec<bool>,
}

impl Graph {
    /// Collects the producer and the readers of each value.
    pub fn links(&self) -> Links {
        Links::new(self)
    }
}

impl Links {
    /// Collects the links of `graph`.
    fn new(graph: &Graph) -> Self {
        let mut links = Links::default();
        links.grow(graph.values().len());
        for id in graph.node_ids() {
            links.connect(id, graph.node(id));
        }
        for &output in graph.outputs() {
            links.is_output[output.0] = true;
        }
        links
    }

    /// Returns the node that produces `value`, if there is one.
    pub fn producer(&self, value: ValueId) -> Option<NodeId> {
        self.producers[value.0]
    }

    /// Returns the nodes that read `value`. A node that reads it several times occurs as often.
    pub fn consumers(&self, value: ValueId) -> &[NodeId] {
        &self.consumers[value.0]
    }

    /// Returns whether `value` is an output of the graph.
    pub fn is_output(&self, value: ValueId) -> bool {
        self.is_output[value.0]
    }

    /// Returns the only reader of `value`: the node that reads it, if no other node does, the node
    /// reads it once, and it is no output of the graph.
    pub fn only_reader(&self, value: ValueId) -> Option<NodeId> {
        match *self.consumers(value) {
            [reader] if !self.is_output(value) => Some(reader),
            _ => None,
        }
    }

    /// Extends the tables to `values` values.
    pub(super) fn grow(&mut self, values: usize) {
        self.producers.resize(values, None);
        self.consumers.resize(values, Vec::new());
        self.is_output.resize(values, false);
    }

    pub(super) fn connect(&mut self, id: NodeId, node: &Node) {
        for output in node.outputs.iter().flatten() {
            self.producers[output.0] = Some(id);
        }
        for input in node.inputs.iter().flatten() {
            self.consumers[input.0].push(id);
        }
    }

    /// Updates the links after a change of the inputs of a node. The cost of inputs that stay does
    /// not depend on their number of readers.
    pub(super) fn reconnect(
        &mut self,
        id: NodeId,
        before: &[Option<ValueId>],
        after: &[Option<ValueId>],
    ) {
        for i in 0..before.len().max(after.len()) {
            let input = |list: &[Option<ValueId>]| list.get(i).copied().flatten();
            let (old, new) = (input(before), input(after));
            if old == new {
                continue;
            }
            if let Some(old) = old {
                let readers = &mut self.consumers[old.0];
                if let Some(place) = readers.iter().position(|&reader| reader == id) {
                    readers.remove(place);
                }
            }
            if let Some(new) = new {
                self.consumers[new.0].push(id);
            }
        }
    }

    /// Makes the readers of `old` readers of `new`, and returns them.
    pub(super) fn hand_over(&mut self, old: ValueId, new: ValueId) -> Vec<NodeId> {
        let readers = std::mem::take(&mut self.consumers[old.0]);
        self.consumers[new.0].extend(&readers);
        if std::mem::take(&mut self.is_output[old.0]) {
            self.is_output[new.0] = true;
        }
        readers
    }
}
