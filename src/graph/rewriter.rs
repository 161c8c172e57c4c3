//! Edits a graph and keeps what is known about it current.
//!
//! Links follow each edit at once. Types are those of before the edits until [`Rewriter::commit`],
//! which drops what nobody needs any more and infers again only what an edit can have changed: the
//! nodes that were edited, and from there on as far as types differ. A pass thus costs what it
//! looks at and what it changes, whatever the size of the network.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::ops::Deref;

use super::infer::{Inference, Types};
use super::{Graph, Links, Node, NodeId, Op, ValueId};
use crate::error::Result;
use crate::tensor::Tensor;

/// A graph that is edited, with its types and its links.
pub struct Rewriter<'g> {
    graph: &'g mut Graph,
    inference: Inference,
    links: Links,
    /// Nodes whose operator or inputs are not those that types were inferred for.
    stale: BTreeSet<NodeId>,
    /// What stands for values that have been replaced since the last commit.
    replaced: HashMap<ValueId, ValueId>,
    edited: bool,
}

impl<'g> Rewriter<'g> {
    /// Begins to edit a validated graph.
    ///
    /// # Errors
    /// `Shape` where the graph contradicts itself.
    pub fn new(graph: &'g mut Graph) -> Result<Self> {
        let (inference, links) = (Inference::of(graph)?, graph.links());
        let (stale, replaced) = (BTreeSet::new(), HashMap::new());
        Ok(Rewriter { graph, inference, links, stale, replaced, edited: false })
    }

    /// The graph as it stands.
    pub fn graph(&self) -> &Graph {
        self.graph
    }

    /// The types of all values, as they were at the last [`commit`](Self::commit); those of new
    /// constants too.
    pub fn types(&self) -> &Types {
        self.inference.types()
    }

    /// Who produces and who reads each value, as the graph stands.
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// How often inference has looked at a node.
    pub fn visits(&self) -> usize {
        self.inference.visits()
    }

    /// A new constant.
    pub fn add_constant(&mut self, name: impl Into<String>, tensor: Tensor) -> ValueId {
        let id = self.graph.add_constant(name, tensor);
        self.links.grow(id.0 + 1);
        // What a tensor at hand is too large for is refused where a node reads it.
        let _ = self.inference.given(self.graph, id);
        id
    }

    /// A new node with one output, which gets the node's name. A pass may name values that it has
    /// replaced since it looked at them: the node reads what stands for them now.
    pub fn apply(&mut self, name: impl Into<String>, op: Op, inputs: &[ValueId]) -> ValueId {
        let inputs = inputs.iter().map(|&id| Some(id)).collect();
        self.apply_to(name, op, inputs)
    }

    /// As [`apply`](Self::apply), where optional inputs may be absent.
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

    /// What stands for `value`.
    fn current(&self, mut value: ValueId) -> ValueId {
        while let Some(&new) = self.replaced.get(&value) {
            value = new;
        }
        value
    }

    /// Changes the operator or the inputs of a node; its outputs stay.
    pub fn edit(&mut self, id: NodeId, change: impl FnOnce(&mut Node)) {
        let node = self.graph.node_mut(id);
        let before = node.inputs.clone();
        change(node);
        self.links.reconnect(id, &before, &node.inputs);
        self.touch(id);
    }

    /// Makes everyone who reads `old` (the graph's outputs too) read `new`.
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

    /// Makes `new` stand where `old` stood, under the name that `old` had.
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

    /// Has another graph, of which this is what inference knows, take the place of this one.
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

    /// Drops what no output depends on, puts the nodes into an order in which they can run (which
    /// gives them new identities), and brings types up to date. Returns the nodes that were edited
    /// or whose inputs have other types than before, and those that read what these produce, in
    /// order.
    ///
    /// # Errors
    /// `Graph` where nodes wait for each other in a circle, `Shape` where the graph has come to
    /// contradict itself.
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
            // Readers come later than what they read: a node that is done does not come again.
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

    /// Ends editing.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn finish(mut self) -> Result<(Types, Links)> {
        self.commit()?;
        Ok((self.inference.into_types(), self.links))
    }
}

/// What is only read is read from the graph.
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
