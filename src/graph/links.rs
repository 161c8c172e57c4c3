//! Who produces and who reads each value.

use super::{Graph, Node, NodeId, ValueId};

/// Who produces and who reads each value of a graph, and which values the graph gives.
#[derive(Clone, Debug, Default)]
pub struct Links {
    producers: Vec<Option<NodeId>>,
    consumers: Vec<Vec<NodeId>>,
    is_output: Vec<bool>,
}

impl Links {
    /// The links of `graph` as it stands.
    pub(super) fn of(graph: &Graph) -> Self {
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

    /// The node that produces `value`, if a node does.
    pub fn producer(&self, value: ValueId) -> Option<NodeId> {
        self.producers[value.0]
    }

    /// The nodes that read `value`, once for every time they read it.
    pub fn consumers(&self, value: ValueId) -> &[NodeId] {
        &self.consumers[value.0]
    }

    /// Whether the graph gives `value`.
    pub fn is_output(&self, value: ValueId) -> bool {
        self.is_output[value.0]
    }

    /// The node that reads `value`, where one alone reads it, once, and the graph does not give it.
    pub fn only_reader(&self, value: ValueId) -> Option<NodeId> {
        match *self.consumers(value) {
            [reader] if !self.is_output(value) => Some(reader),
            _ => None,
        }
    }

    /// Makes room for `values` values.
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

    /// Follows a change of the inputs of a node. Those that stay cost nothing, however many nodes
    /// read them.
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

    /// Gives the readers of `old` to `new`, and returns them.
    pub(super) fn hand_over(&mut self, old: ValueId, new: ValueId) -> Vec<NodeId> {
        let readers = std::mem::take(&mut self.consumers[old.0]);
        self.consumers[new.0].extend(&readers);
        if std::mem::take(&mut self.is_output[old.0]) {
            self.is_output[new.0] = true;
        }
        readers
    }
}
