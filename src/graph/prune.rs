//! Dead nodes, and the order in which nodes can run.

use super::{Graph, Links, Node, NodeId, ValueId};
use crate::error::{Error, Result};

impl Graph {
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
    pub(super) fn prune_with(&mut self, links: &Links) -> Result<Vec<Option<NodeId>>> {
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
    use crate::graph::{Dim, Op, TensorType, Unary};
    use crate::tensor::DType;

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
