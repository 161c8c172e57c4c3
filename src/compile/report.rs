//! A description of what the compiler recognised in a network, for people and programs.

use serde::Serialize;

use super::static_activations;
use super::{FixedBatch, StaticActivation, Unrecognised};
use crate::graph::infer::Types;
use crate::graph::{
    ChannelActivation, Conv, Graph, Hyperfunction, Links, MaxAffine, Node, Op, Rewriter, ShiftMax,
    Squash, Variadic,
};

/// What the compiler recognised in a network.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// The dynamic activations, in execution order.
    pub dynamic_activations: Vec<DynamicActivation>,
    /// The activations whose coefficients are constants, in execution order.
    pub static_activations: Vec<StaticActivation>,
    /// Parts that resemble a dynamic activation but are run by the general operators.
    pub unrecognised: Vec<Unrecognised>,
    /// Why the network only takes the batch size that its file states; `None` if it takes any.
    pub fixed_batch: Option<FixedBatch>,
}

/// One dynamic activation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DynamicActivation {
    /// The name of its node.
    pub name: String,
    /// `"A"`, `"B"` or `"C"` for DY-ReLU, `"SE"` for squeeze-and-excite, `"APReLU"` for adaptively
    /// parametric ReLU, `"FReLU"` with a computed slope, `"Shift-Max"` for MicroNet's Dynamic Shift-Max, `"Meta-ACON"`, `"min-affine"` for
    /// a minimum of affine pieces, `"clip"` for bounds that are computed for each channel, `"two slopes"`
    /// for a computed slope on either side of zero.
    pub form: &'static str,
    /// The number of affine pieces.
    pub k: usize,
    /// The number of channels of the feature map.
    pub channels: usize,
    /// The width of the hidden layer of the hyperfunction; `None` if there is no hidden layer, or
    /// if the coefficients are not computed by a hyperfunction.
    pub hidden: Option<usize>,
    /// The squashing function; `None` if the coefficients are not computed by a hyperfunction.
    pub squash: Option<Squash>,
}

impl Report {
    /// Describes the activations of a graph in which the dynamic ones have been recognised.
    pub(super) fn of(
        graph: &Rewriter,
        unrecognised: Vec<Unrecognised>,
        fixed_batch: Option<FixedBatch>,
    ) -> Self {
        let (types, links) = (graph.types(), graph.links());
        let nodes = graph.nodes().iter();
        let dynamic_activations =
            nodes.filter_map(|node| describe(graph, types, links, node)).collect();
        let static_activations = static_activations::find(graph, types, links);
        Report { dynamic_activations, static_activations, unrecognised, fixed_batch }
    }
}

fn describe(graph: &Graph, types: &Types, links: &Links, node: &Node) -> Option<DynamicActivation> {
    let k = match &node.op {
        Op::MaxAffine(MaxAffine { k }) | Op::ShiftMax(ShiftMax { k, .. }) => *k,
        Op::ChannelActivation(ChannelActivation::MinAffine { k }) => *k,
        Op::ChannelActivation(ChannelActivation::Clip | ChannelActivation::TwoSlopes) => 2,
        Op::ChannelActivation(ChannelActivation::Acon) => 2,
        _ => return None,
    };
    let coefficients = node.input(1)?;
    if graph.constant(coefficients).is_some() {
        return None;
    }
    let channels = types.get(node.input(0)?)?.dims.get(1)?.as_size()?;
    let producer = links.producer(coefficients).map(|id| graph.node(id));
    let (hyper, hidden) = match producer {
        // A normalisation is no activation.
        Some(Node { op: Op::GroupCoefficients { .. }, .. }) => return None,
        Some(Node { op: Op::Hyperfunction(hyper), inputs, .. }) => {
            let fc1 = inputs.get(1).copied().flatten();
            let rows = |id| types.get(id)?.dims.first()?.as_size();
            (Some(hyper), fc1.and_then(rows))
        }
        _ => (None, None),
    };
    let is_funnel = k == 1 && is_funnel(graph, links, node);
    let form = match node.op {
        _ if is_funnel => "FReLU",
        Op::ShiftMax(_) => "Shift-Max",
        Op::ChannelActivation(ChannelActivation::MinAffine { .. }) => "min-affine",
        Op::ChannelActivation(ChannelActivation::Clip) => "clip",
        Op::ChannelActivation(ChannelActivation::TwoSlopes) => "two slopes",
        Op::ChannelActivation(ChannelActivation::Acon) => "Meta-ACON",
        _ if node.input(2).is_some() => "C",
        _ => {
            let shared = types.get(coefficients)?.dims.get(2)?.as_const() == Some(1);
            let of_dy_relu = if shared { "A" } else { "B" };
            let gate = || (k == 1 && has_no_offset(graph, producer?)).then_some("SE");
            hyper.map_or_else(gate, relative).unwrap_or(of_dy_relu)
        }
    };
    let squash = hyper.map(|h| h.squash);
    let k = if is_funnel { 2 } else { k };
    Some(DynamicActivation { name: node.name.clone(), form, k, channels, hidden, squash })
}

/// Whether the only reader of an activation takes the maximum of it and of a depthwise convolution of the
/// same map, as FReLU does.
fn is_funnel(graph: &Graph, links: &Links, node: &Node) -> bool {
    let reader = links.only_reader(node.output()).map(|id| graph.node(id));
    let Some(Node { op: Op::Variadic(Variadic::Max), inputs, .. }) = reader else { return false };
    let &[Some(a), Some(b)] = inputs.as_slice() else { return false };
    let other = if a == node.output() { b } else { a };
    let Some(conv) = links.producer(other).map(|id| graph.node(id)) else { return false };
    let weight = conv.input(1).and_then(|weight| graph.constant(weight));
    let is_depthwise = |op: &Conv| {
        op.groups > 1 && weight.is_some_and(|weight| weight.shape().first() == Some(&op.groups))
    };
    conv.input(0) == node.input(0) && matches!(&conv.op, Op::Conv(op) if is_depthwise(op))
}

/// Whether the coefficients of one piece that `node` stacks have offsets of zero.
fn has_no_offset(graph: &Graph, node: &Node) -> bool {
    let is_zero = |value| {
        let elements = graph.constant(value).and_then(|constant| constant.as_f32().ok());
        elements.is_some_and(|elements| elements.iter().all(|&element| element == 0.0))
    };
    node.op == Op::Where && node.input(1).is_some_and(is_zero)
}

/// The name of the hyperfunction's activation if its constants make it a relative of DY-ReLU.
fn relative(hyper: &Hyperfunction) -> Option<&'static str> {
    let constant = |j: usize, value: f32| hyper.lambda[j] == 0.0 && hyper.init[j] == value;
    let gate = |j: usize| hyper.init[j] == 0.5 && hyper.lambda[j] == 0.5;
    match hyper.k {
        1 if gate(0) && constant(1, 0.0) => Some("SE"),
        2 if constant(0, 1.0) && gate(1) && constant(2, 0.0) && constant(3, 0.0) => Some("APReLU"),
        _ => None,
    }
}
