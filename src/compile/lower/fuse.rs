//! Which nodes become one step: a kernel and the epilogue that it applies.

use crate::graph::{Binary, Graph, Links, Node, NodeId, Op, Unary, ValueId, Variadic};
use crate::kernels::epilogue::{Activation, Join};

use super::maps::Maps;

/// Nodes that one step computes.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// All of them, in order.
    pub members: Vec<NodeId>,
    /// What the first of them reads, where the step is nothing but an epilogue.
    pub transforms: Option<ValueId>,
    pub epilogue: Epilogue,
    /// What the last of them gives.
    pub output: ValueId,
}

/// What is fused into a step, by the values that it reads.
#[derive(Clone, Debug, Default)]
pub(super) struct Epilogue {
    pub before: Option<ValueId>,
    pub activation: Option<Activation>,
    pub coefficients: Option<ValueId>,
    pub attention: Option<ValueId>,
    pub after: Option<ValueId>,
    pub join: Join,
}

impl Group {
    /// A group that begins with the kernel of `node`.
    pub fn of_kernel(graph: &Graph, id: NodeId) -> Self {
        let output = graph.node(id).output();
        Group { members: vec![id], transforms: None, epilogue: Epilogue::default(), output }
    }

    /// A group that is nothing but an epilogue, beginning with `node`; `None` where that is no
    /// part of an epilogue.
    pub fn of_epilogue(graph: &Graph, maps: &Maps, id: NodeId) -> Option<Self> {
        let node = graph.node(id);
        let x = node.input(0).filter(|&x| maps.is_feature_map(x) && graph.constant(x).is_none())?;
        let mut epilogue = Epilogue::default();
        epilogue.absorb(graph, maps, node, x)?;
        Some(Group { members: vec![id], transforms: Some(x), epilogue, output: node.output() })
    }

    /// Takes in the nodes that follow, as long as they fit and nobody else reads what is between.
    pub fn extend(&mut self, graph: &Graph, links: &Links, maps: &Maps, taken: &[bool]) {
        while let &[next] = links.consumers(self.output)
            && !graph.outputs().contains(&self.output)
            && !taken[next.0]
            && self.epilogue.absorb(graph, maps, graph.node(next), self.output).is_some()
        {
            self.members.push(next);
            self.output = graph.node(next).output();
        }
    }
}

impl Epilogue {
    /// Takes in `node`, which reads `x`, the result so far; `None` where it does not fit.
    fn absorb(&mut self, graph: &Graph, maps: &Maps, node: &Node, x: ValueId) -> Option<()> {
        if !maps.is_feature_map(node.output()) {
            return None;
        }
        if let Some((other, join)) = joined(node, x) {
            let fits = maps.same_size(other, x) && maps.same_size(node.output(), x);
            if !fits || graph.constant(other).is_some() || self.after.is_some() {
                return None;
            }
            let first = self.activation.is_none() && self.before.is_none();
            if first && join == Join::Sum {
                self.before = Some(other);
            } else {
                self.after = Some(other);
                self.join = join;
            }
            return Some(());
        }
        if self.activation.is_some() || self.after.is_some() || node.input(0) != Some(x) {
            return None;
        }
        if let Op::MaxAffine(op) = &node.op {
            let coefficients = node.input(1)?;
            let pi = node.input(2);
            if coefficients == x || pi == Some(x) || !maps.is_coefficients(coefficients) {
                return None;
            }
            if pi.is_some_and(|pi| !maps.is_attention(pi, x)) {
                return None;
            }
            self.activation = Some(Activation::MaxAffine { k: op.k });
            self.coefficients = Some(coefficients);
            self.attention = pi;
        } else {
            self.activation = Some(activation(graph, node)?);
        }
        Some(())
    }
}

/// What `node` joins `x` with, where it is a sum or a maximum of two.
fn joined(node: &Node, x: ValueId) -> Option<(ValueId, Join)> {
    let join = match node.op {
        Op::Binary(Binary::Add) | Op::Variadic(Variadic::Sum) => Join::Sum,
        Op::Variadic(Variadic::Max) => Join::Maximum,
        _ => return None,
    };
    let &[Some(a), Some(b)] = node.inputs.as_slice() else { return None };
    match (a == x, b == x) {
        (true, false) => Some((b, join)),
        (false, true) => Some((a, join)),
        _ => None,
    }
}

/// The activation that `node` is.
fn activation(graph: &Graph, node: &Node) -> Option<Activation> {
    Some(match &node.op {
        Op::Unary(Unary::Relu) => Activation::Clamp { low: 0.0, high: f32::INFINITY },
        &Op::Unary(Unary::LeakyRelu { alpha }) => Activation::LeakyRelu { alpha },
        Op::Unary(Unary::HardSwish) => Activation::HardSwish,
        &Op::Unary(Unary::HardSigmoid { alpha, beta }) => Activation::HardSigmoid { alpha, beta },
        Op::Unary(Unary::Sigmoid) => Activation::Sigmoid,
        &Op::Unary(Unary::Swish { alpha }) => Activation::Swish { alpha },
        Op::Unary(Unary::Tanh) => Activation::Tanh,
        Op::Clip => {
            let bound = |i: usize, open: f32| match node.input(i) {
                None => Some(open),
                Some(id) => graph.constant(id)?.as_f32().ok()?.first().copied(),
            };
            let (low, high) = (bound(1, f32::NEG_INFINITY)?, bound(2, f32::INFINITY)?);
            if low.is_nan() || high.is_nan() {
                return None;
            }
            Activation::Clamp { low, high }
        }
        _ => return None,
    })
}
