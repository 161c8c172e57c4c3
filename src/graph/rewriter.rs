//! Editing a graph while its types and links stay current.
//!
//! Each edit updates the links at once. Types stay as they were before the edits until
//! [`Rewriter::commit`]. It drops nodes that have become unused, and infers again only the types
//! that an edit can have changed: those of edited nodes, and of later nodes as long as the types of
//! their inputs differ. The cost of a pass thus depends on what it reads and edits, and not on the
//! size of the network.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::ops::Deref;

use super::infer::{Inference, Types};
use super::{Graph, Links, Node, NodeId, Op, ValueId};
use crate::error::Result;
use crate::tensor::Tensor;

/// A graph that is being edited, with its types and its links.
pub struct Rewriter<'g> {
    graph: &'g mut Graph,
    inference: Inference,
    links: Links,
    /// Nodes whose operator or inputs have changed since types were inferred.
    stale: BTreeSet<NodeId>,
    /// The replacements of values that were replaced since the last commit.
    replaced: HashMap<ValueId, ValueId>,
    edited: bool,
}

impl<'g> Rewriter<'g> {
    /// Creates a rewriter of a validated graph.
    ///
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape) if inputs of a node do not fit together.
    pub fn new(graph: &'g mut Graph) -> Result<Self> {
        let (inference, links) = (Inference::new(graph)?, graph.links());
        let (stale, replaced) = (BTreeSet::new(), HashMap::new());
        Ok(Rewriter { graph, inference, links, stale, replaced, edited: false })
    }

    /// Returns the graph with all edits so far.
    pub fn graph(&self) -> &Graph {
        self.graph
    }

    /// Returns the types of all values as of the last [`commit`](Self::commit), and those of
    /// constants that were added since.
    pub fn types(&self) -> &Types {
        self.inference.types()
    }

    /// Returns the producer and the readers of each value, with all edits so far.
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// Returns the number of times that the types of a node were inferred.
    pub fn visits(&self) -> usize {
        self.inference.visits()
    }

    /// Adds a constant.
    pub fn add_constant(&mut self, name: impl Into<String>, tensor: Tensor) -> ValueId {
        let id = self.graph.add_constant(name, tensor);
        self.links.grow(id.0 + 1);
        // A tensor that is larger than allowed is refused when a node reads it.
        let _ = self.inference.given(self.graph, id);
        id
    }

    /// Adds a node with one output, which gets the node's name. A pass may name inputs that were
    /// replaced since it read the graph: the node reads their replacements.
    pub fn apply(&mut self, name: impl Into<String>, op: Op, inputs: &[ValueId]) -> ValueId {
        let inputs = inputs.iter().map(|&id| Some(id)).collect();
        self.apply_to(name, op, inputs)
    }

    /// Adds a node as [`apply`](Self::apply) does, with optional inputs that may be absent.
    pub fn apply_to(
        &mut self,
        name: impl Into<String>,
        op: Op,
        inputs: Vec<Option<ValueId>>,
    ) -> ValueId {
        let name = name.into();
        let inputs = inputs.into_iter().map(|id| id.map(|id| self.current(id))).collect();
        let output = self.graph.add_value(name.clone());
        self.links.grow(output.0 + 1);
        let _ = self.inference.given(self.graph, output);
        let id = self.graph.add_node(Node { name, op, inputs, outputs: vec![Some(output)] });
        self.links.connect(id, self.graph.node(id));
        self.touch(id);
        output
    }

    /// Returns the replacement of `value`, or `value` itself if it was not replaced.
    fn current(&self, mut value: ValueId) -> ValueId {
        while let Some(&new) = self.replaced.get(&value) {
            value = new;
        }
        value
    }

    /// Changes the operator or the inputs of a node, and keeps its outputs.
    pub fn edit(&mut self, id: NodeId, change: impl FnOnce(&mut Node)) {
        let node = self.graph.node_mut(id);
        let before = node.inputs.clone();
        change(node);
        self.links.reconnect(id, &before, &node.inputs);
        self.touch(id);
    }

    /// Replaces `old` by `new` in the inputs of all nodes and in the outputs of the graph.
    pub fn replace_uses(&mut self, old: ValueId, new: ValueId) {
        if self.links.is_output(old) {
            self.graph.outputs.iter_mut().filter(|id| **id == old).for_each(|id| *id = new);
        }
        for reader in self.links.hand_over(old, new) {
            let inputs = self.graph.node_mut(reader).inputs.iter_mut().flatten();
            inputs.filter(|id| **id == old).for_each(|id| *id = new);
            self.touch(reader);
        }
        self.replaced.remove(&new);
        self.replaced.insert(old, new);
        self.edited = true;
    }

    /// Replaces `old` by `new`, which gets the name of `old`.
    pub fn take_over(&mut self, old: ValueId, new: ValueId) {
        self.replace_uses(old, new);
        let name = std::mem::take(&mut self.graph.value_mut(old).name);
        self.graph.value_mut(old).name = format!("{name}.replaced");
        self.graph.value_mut(new).name = name;
    }

    /// Renames a value.
    pub fn rename(&mut self, value: ValueId, name: impl Into<String>) {
        self.graph.value_mut(value).name = name.into();
    }

    /// Replaces the whole graph by `graph`, whose types are in `inference`.
    pub(crate) fn adopt(&mut self, graph: Graph, inference: Inference) {
        self.links = graph.links();
        *self.graph = graph;
        self.inference = inference;
        self.stale.clear();
        self.replaced.clear();
        self.edited = false;
    }

    fn touch(&mut self, id: NodeId) {
        self.stale.insert(id);
        self.edited = true;
    }

    /// Drops the nodes that no output depends on, sorts the others into an order in which they can
    /// run, and updates types. Nodes get new identities.
    ///
    /// Returns, in order, the nodes that were edited or whose inputs have other types than before,
    /// and the readers of their outputs.
    ///
    /// # Errors
    /// [`Graph`](crate::ErrorKind::Graph) if the graph has a cycle,
    /// [`Shape`](crate::ErrorKind::Shape) if inputs of a node do not fit together after the edits.
    pub fn commit(&mut self) -> Result<Vec<NodeId>> {
        if !std::mem::take(&mut self.edited) {
            return Ok(Vec::new());
        }
        self.replaced.clear();
        let places = self.graph.prune_with(&self.links)?;
        self.links = self.graph.links();
        let stale = std::mem::take(&mut self.stale);
        let mut open: BinaryHeap<Reverse<NodeId>> =
            stale.iter().filter_map(|id| places[id.0]).map(Reverse).collect();
        let mut touched = BTreeSet::new();
        let mut last = None;
        while let Some(Reverse(id)) = open.pop() {
            // Readers come after what they read, so that a node that was inferred is not queued
            // again.
            if last.replace(id) == Some(id) {
                continue;
            }
            let node = self.graph.node(id);
            let changed = self.inference.node(self.graph, node)?;
            touched.insert(id);
            for &output in node.outputs.iter().flatten() {
                let readers = self.links.consumers(output);
                touched.extend(readers);
                if changed {
                    open.extend(readers.iter().copied().map(Reverse));
                }
            }
        }
        Ok(touched.into_iter().collect())
    }

    /// Commits the last edits and returns the types and links of the graph.
    ///
    /// # Errors
    /// Those of [`commit`](Self::commit).
    pub fn finish(mut self) -> Result<(Types, Links)> {
        self.commit()?;
        Ok((self.inference.into_types(), self.links))
    }
}

/// The methods of the graph that do not edit it.
impl Deref for Rewriter<'_> {
    type Target = Graph;

    fn deref(&self) -> &Graph {
        self.graph
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::infer::infer;
    use crate::graph::{Dim, TensorType, Unary};
    use crate::tensor::DType;

    /// `x -> a -> b -> c`, of which `a` and `b` transpose, and `c` is the output.
    fn chain(g: &mut Graph) -> [ValueId; 4] {
        let dims = vec![Dim::symbol("N"), 3.into()];
        let x = g.add_input("x", TensorType { dtype: DType::F32, dims });
        let transpose = || Op::Transpose { perm: vec![1, 0] };
        let a = g.apply("a", transpose(), &[x]);
        let b = g.apply("b", transpose(), &[a]);
        let c = g.apply("c", Op::Unary(Unary::Relu), &[b]);
        g.set_outputs(vec![c]);
        [x, a, b, c]
    }

    #[test]
    fn links_follow_at_once_and_types_with_the_commit() {
        let mut g = Graph::new("t");
        let [x, a, b, c] = chain(&mut g);
        let mut rewriter = Rewriter::new(&mut g).unwrap();
        rewriter.replace_uses(b, a);
        assert_eq!(rewriter.links().only_reader(a), None, "both b and c read it");
        assert_eq!(rewriter.links().consumers(b), []);
        assert_eq!(rewriter.types().get(c).unwrap().dims, [Dim::symbol("N"), 3.into()]);
        let visits = rewriter.visits();
        let touched = rewriter.commit().unwrap();
        assert_eq!(touched, [NodeId(1)], "c alone was touched");
        assert_eq!(rewriter.visits() - visits, 1);
        assert_eq!(rewriter.types().get(c).unwrap().dims, [3.into(), Dim::symbol("N")]);
        assert_eq!(rewriter.nodes().len(), 2);
        assert_eq!(rewriter.links().only_reader(x), Some(NodeId(0)));
        assert_eq!(rewriter.commit().unwrap(), []);
        let (types, _) = rewriter.finish().unwrap();
        assert_eq!(types.get(c), infer(&g).unwrap().get(c));
    }

    #[test]
    fn new_nodes_read_what_stands_for_a_value_now() {
        let mut g = Graph::new("t");
        let [x, a, ..] = chain(&mut g);
        let mut rewriter = Rewriter::new(&mut g).unwrap();
        let new = rewriter.apply("new", Op::Transpose { perm: vec![1, 0] }, &[x]);
        rewriter.take_over(a, new);
        let late = rewriter.apply("late", Op::Unary(Unary::Relu), &[a]);
        let reader = rewriter.links().producer(late).unwrap();
        assert_eq!(rewriter.node(reader).input(0), Some(new));
        assert_eq!(rewriter.value(new).name, "a");
    }

    #[test]
    fn an_edit_that_contradicts_is_found_by_the_commit() {
        let mut g = Graph::new("t");
        let [_, a, ..] = chain(&mut g);
        let mut rewriter = Rewriter::new(&mut g).unwrap();
        let node = rewriter.links().producer(a).unwrap();
        rewriter.edit(node, |node| node.op = Op::Transpose { perm: vec![0, 1, 2] });
        let e = rewriter.commit().unwrap_err();
        assert_eq!(e.node(), Some("a"));
    }

    /// Sizes that depend on data keep their names where a node is inferred again.
    #[test]
    fn names_of_unknown_sizes_stay() {
        let mut g = Graph::new("t");
        let ty = |dtype, size: Dim| TensorType { dtype, dims: vec![size] };
        let x = g.add_input("x", ty(DType::F32, 6.into()));
        let shape = g.add_input("shape", ty(DType::I64, 2.into()));
        let y = g.apply("y", Op::Reshape { allow_zero: false }, &[x, shape]);
        g.set_outputs(vec![y]);
        let mut rewriter = Rewriter::new(&mut g).unwrap();
        let before = rewriter.types().get(y).cloned();
        assert!(before.is_some());
        rewriter.edit(NodeId(0), |_| {});
        assert_eq!(rewriter.commit().unwrap(), [NodeId(0)]);
        assert_eq!(rewriter.types().get(y).cloned(), before);
    }
}
