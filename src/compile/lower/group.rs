//! Groups nodes that become one step: a kernel and the epilogue that it applies.

use std::borrow::Cow;

use super::alone;
use super::choose::{self, Convolution, Hyper};
use super::dynamic::{self, Dynamic};
use super::lines::{self, Gates};
use super::maps::Maps;
use super::network::Network;
use super::resample::Resample;
use super::shift_max::ShiftMaxStep;
use crate::compile::pack::Form;
use crate::graph::geometry::is_row;
use crate::graph::{
    Binary, ChannelActivation, Graph, MaxAffine, Node, NodeId, Op, Unary, ValueId, Variadic,
};
use crate::kernels::activation::Activation;
use crate::kernels::epilogue::Join;
use crate::tensor::DType;

/// Nodes that are computed by one step.
pub(super) struct Group<'g> {
    /// The nodes, in execution order.
    pub members: Vec<NodeId>,
    pub core: Core<'g>,
    pub epilogue: Epilogue,
    /// The output of the last node.
    pub output: ValueId,
}

/// The operation that a step applies its epilogue to.
pub(super) enum Core<'g> {
    Convolution(Convolution<'g>),
    Dynamic(Dynamic<'g>),
    Gates(Gates),
    Hyperfunction(Hyper<'g>),
    Resample(Resample),
    ShiftMax(ShiftMaxStep),
    /// None: the step applies an epilogue to this value.
    Transform(ValueId),
    /// The operator of the only node, without an epilogue.
    Node,
}

/// The operations that are fused into a step, with the values that they read.
#[derive(Clone, Debug, Default)]
pub(super) struct Epilogue {
    pub before: Option<ValueId>,
    pub activation: Option<Activation>,
    pub coefficients: Option<ValueId>,
    pub attention: Option<ValueId>,
    pub clamp: Option<[f32; 2]>,
    pub after: Option<ValueId>,
    pub join: Join,
    /// A constant with a factor per channel, in place of an activation.
    pub scale: Option<ValueId>,
}

/// Groups all nodes. Groups are in the order of their last nodes, in which they can run.
pub(super) fn groups<'g>(net: &Network<'g>) -> Vec<Group<'g>> {
    let mut taken = vec![false; net.graph.nodes().len()];
    let mut groups = Vec::new();
    for id in net.graph.node_ids() {
        if taken[id.0] || dynamic::is_mixture(net, net.graph.node(id)) {
            continue;
        }
        let mut group = Group::beginning_with(net, id);
        if matches!(
            group.core,
            Core::Convolution(_) | Core::Dynamic(_) | Core::Transform(_) | Core::Resample(_)
        ) {
            group.extend(net, &taken);
        }
        for member in &group.members {
            taken[member.0] = true;
        }
        groups.push(group);
    }
    groups.sort_by_key(|group| group.members.last().map(|id| id.0));
    groups
}

impl<'g> Group<'g> {
    fn beginning_with(net: &Network<'g>, id: NodeId) -> Self {
        let node = net.graph.node(id);
        if let Some((gates, members)) = lines::gates(net, node, id) {
            let output = members.last().map_or(node.output(), |&id| net.graph.node(id).output());
            let epilogue = Epilogue::default();
            return Group { members, core: Core::Gates(gates), epilogue, output };
        }
        if let Some(step) = ShiftMaxStep::of(net, id) {
            let (members, output) = (step.members.clone(), step.output);
            let epilogue = Epilogue::default();
            return Group { members, core: Core::ShiftMax(step), epilogue, output };
        }
        let mut epilogue = Epilogue::default();
        let core = if alone::operation(net, node).is_some() {
            Core::Node
        } else if let Some(convolution) = choose::convolution(net, node) {
            Core::Convolution(convolution)
        } else if let Some(dynamic) = dynamic::dynamic(net, node) {
            Core::Dynamic(dynamic)
        } else if let Some(x) = epilogue.of_node(net, node) {
            Core::Transform(x)
        } else if let Some(hyper) = choose::hyperfunction(net, node) {
            Core::Hyperfunction(hyper)
        } else if let Some(resample) = Resample::of(net, node) {
            Core::Resample(resample)
        } else {
            Core::Node
        };
        Group { members: vec![id], core, epilogue, output: node.output() }
    }

    /// Adds the nodes that follow, as long as they fit into the epilogue and are the only readers of
    /// the output so far.
    fn extend(&mut self, net: &Network, taken: &[bool]) {
        while let Some(next) = net.links.only_reader(self.output)
            && !taken[next.0]
            && let node = net.graph.node(next)
            && (self.absorb_bias(net, node).is_some()
                || self.epilogue.absorb(net.graph, &net.maps, node, self.output).is_some())
        {
            self.members.push(next);
            self.output = node.output();
        }
    }

    /// Makes what `node` adds to a matrix product the bias of the layer.
    fn absorb_bias(&mut self, net: &Network, node: &Node) -> Option<()> {
        let Core::Convolution(convolution) = &mut self.core else { return None };
        let is_product = net.graph.node(self.members[0]).op == Op::MatMul;
        let Form::Dense { outputs, .. } = convolution.layer.form else { return None };
        if !is_product || convolution.layer.bias.is_some() || !self.epilogue.is_empty() {
            return None;
        }
        let bias = choose::added_bias(net, node, self.output, outputs)?;
        convolution.layer.bias = Some(Cow::Owned(bias));
        Some(())
    }
}

impl Epilogue {
    /// Whether nothing has been absorbed.
    pub fn is_empty(&self) -> bool {
        self.before.is_none()
            && self.activation.is_none()
            && self.scale.is_none()
            && self.attention.is_none()
            && self.clamp.is_none()
            && self.after.is_none()
    }

    /// Absorbs `node` as the first operation. Returns the value that the epilogue is applied to, or
    /// `None` if `node` cannot be part of an epilogue.
    fn of_node(&mut self, net: &Network, node: &Node) -> Option<ValueId> {
        let (graph, maps) = (net.graph, &net.maps);
        let x = node.input(0).filter(|&x| maps.is_feature_map(x) && graph.constant(x).is_none())?;
        self.absorb(graph, maps, node, x)?;
        Some(x)
    }

    /// Adds `node`, which reads `x`, the result so far. Returns `None` if it does not fit.
    fn absorb(&mut self, graph: &Graph, maps: &Maps, node: &Node, x: ValueId) -> Option<()> {
        if !maps.is_feature_map(node.output()) {
            return None;
        }
        if let Some(pi) = attention(maps, node, x) {
            let is_free = self.attention.is_none() && self.clamp.is_none() && self.after.is_none();
            if !is_free || graph.constant(pi).is_some() {
                return None;
            }
            self.attention = Some(pi);
            return Some(());
        }
        if let Some(scale) = factors(graph, maps, node, x) {
            let is_free = self.activation.is_none() && self.attention.is_none();
            if !is_free || self.after.is_some() {
                return None;
            }
            self.activation = Some(Activation::MaxAffine { k: 1 });
            self.scale = Some(scale);
            return Some(());
        }
        if let Some((other, join)) = joined(node, x) {
            let fits = match graph.constant(other) {
                None => maps.same_size(other, x),
                // The images of vectors are rows of one block, for all of which it would have to stand.
                Some(_) => maps.is_image_of(other, x) && !maps.is_vectors(x),
            };
            if !fits || !maps.same_size(node.output(), x) || self.after.is_some() {
                return None;
            }
            let first = self.is_empty();
            if first && join == Join::Sum {
                self.before = Some(other);
            } else {
                self.after = Some(other);
                self.join = join;
            }
            return Some(());
        }
        if self.after.is_some() || node.input(0) != Some(x) {
            return None;
        }
        if self.activation.is_some() || self.attention.is_some() {
            let Activation::Clamp { low, high } = activation(graph, node)? else { return None };
            if self.clamp.is_some() {
                return None;
            }
            self.clamp = Some([low, high]);
            return Some(());
        }
        if let Some(activation) = per_channel(&node.op) {
            let coefficients = node.input(1)?;
            let pi = node.input(2);
            if !maps.has_channels_second(x)
                || coefficients == x
                || pi == Some(x)
                || !maps.is_coefficients(coefficients)
            {
                return None;
            }
            if pi.is_some_and(|pi| !maps.is_attention(pi, x)) {
                return None;
            }
            self.activation = Some(activation);
            self.coefficients = Some(coefficients);
            self.attention = pi;
        } else {
            self.activation = Some(activation(graph, node)?);
        }
        Some(())
    }
}

/// Returns the other operand of `node` if it joins `x` with one other value, element by element.
fn joined(node: &Node, x: ValueId) -> Option<(ValueId, Join)> {
    let (join, reversed) = match node.op {
        Op::Binary(Binary::Add) | Op::Variadic(Variadic::Sum) => (Join::Sum, Some(Join::Sum)),
        Op::Variadic(Variadic::Max) => (Join::Maximum, Some(Join::Maximum)),
        Op::Variadic(Variadic::Min) => (Join::Minimum, Some(Join::Minimum)),
        Op::Binary(Binary::Mul) => (Join::Product, Some(Join::Product)),
        Op::Binary(Binary::Sub) => (Join::Difference, Some(Join::ReverseDifference)),
        Op::Binary(Binary::Div) => (Join::Quotient, None),
        _ => return None,
    };
    let &[Some(a), Some(b)] = node.inputs.as_slice() else { return None };
    match (a == x, b == x) {
        (true, false) => Some((b, join)),
        (false, true) => Some((a, reversed?)),
        _ => None,
    }
}

/// Returns the other operand of `node` if it is the product of the map `x` and a number per position.
fn attention(maps: &Maps, node: &Node, x: ValueId) -> Option<ValueId> {
    if node.op != Op::Binary(Binary::Mul) {
        return None;
    }
    let (pi, Join::Product) = joined(node, x)? else { return None };
    let scales = maps.is_attention(pi, x) && !maps.same_size(pi, x);
    (scales && maps.same_size(node.output(), x)).then_some(pi)
}

/// Returns the activation with coefficients of every channel that an operator is.
fn per_channel(op: &Op) -> Option<Activation> {
    Some(match *op {
        Op::MaxAffine(MaxAffine { k }) => Activation::MaxAffine { k },
        Op::ChannelActivation(ChannelActivation::MinAffine { k }) => Activation::MinAffine { k },
        Op::ChannelActivation(ChannelActivation::Clip) => Activation::ChannelClip,
        Op::ChannelActivation(ChannelActivation::TwoSlopes) => Activation::TwoSlopes,
        Op::ChannelActivation(ChannelActivation::Acon) => Activation::Acon,
        _ => return None,
    })
}

/// Returns the constant that multiplies each channel of `x` by a number of its own, where the
/// channels are the last axis. Elsewhere such a product is a max-affine function.
fn factors(graph: &Graph, maps: &Maps, node: &Node, x: ValueId) -> Option<ValueId> {
    if node.op != Op::Binary(Binary::Mul) || maps.has_channels_second(x) {
        return None;
    }
    let &[Some(a), Some(b)] = node.inputs.as_slice() else { return None };
    let scale = if a == x { b } else { a };
    let constant = graph.constant(scale).filter(|c| c.dtype() == DType::F32)?;
    let fits = is_row(constant.shape()) && Some(constant.len()) == maps.channels(x);
    (fits && maps.same_size(x, node.output())).then_some(scale)
}

/// Returns the activation that `node` is, if an epilogue can apply it.
pub(super) fn activation(graph: &Graph, node: &Node) -> Option<Activation> {
    Some(match &node.op {
        Op::Unary(Unary::Relu) => Activation::Clamp { low: 0.0, high: f32::INFINITY },
        &Op::Unary(Unary::LeakyRelu { alpha }) => Activation::LeakyRelu { alpha },
        Op::Unary(Unary::HardSwish) => Activation::HardSwish,
        &Op::Unary(Unary::HardSigmoid { alpha, beta }) => Activation::HardSigmoid { alpha, beta },
        Op::Unary(Unary::Sigmoid) => Activation::Sigmoid,
        &Op::Unary(Unary::Swish { alpha }) => Activation::Swish { alpha },
        Op::Unary(Unary::Tanh) => Activation::Tanh,
        Op::Unary(Unary::Gelu { tanh: false }) => Activation::Gelu,
        Op::Unary(Unary::Gelu { tanh: true }) => Activation::GeluTanh,
        Op::Unary(Unary::Mish) => Activation::Mish,
        &Op::Unary(Unary::Elu { alpha }) => exponential(alpha, 1.0, 1.0)?,
        &Op::Unary(Unary::Selu { alpha, gamma }) => exponential(alpha * gamma, 1.0, gamma)?,
        &Op::Unary(Unary::Celu { alpha }) => exponential(alpha, alpha, 1.0)?,
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

/// Returns the activation with an exponential negative part, if its numbers are finite and the
/// exponential falls toward minus infinity.
fn exponential(scale: f32, width: f32, slope: f32) -> Option<Activation> {
    let is_usual = scale.is_finite() && slope.is_finite() && width.is_finite() && width > 0.0;
    is_usual.then_some(Activation::Exponential { scale, width, slope })
}
