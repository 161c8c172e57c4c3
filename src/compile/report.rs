//! A description of what the compiler recognised in a network, for people and programs.

use serde::Serialize;

use super::static_activations;
use super::{FixedBatch, StaticActivation, Unrecognised};
use crate::graph::infer::Types;
use crate::graph::{Graph, Hyperfunction, Links, Node, Op, Rewriter, Squash};

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
    /// parametric ReLU.
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
    let Op::MaxAffine(op) = &node.op else { return None };
    let coefficients = node.input(1)?;
    if graph.constant(coefficients).is_some() {
        return None;
    }
    let channels = types.get(node.input(0)?)?.dims.get(1)?.as_size()?;
    let shared = types.get(coefficients)?.dims.get(2)?.as_const() == Some(1);
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
    let form = if node.input(2).is_some() {
        "C"
    } else {
        hyper.and_then(relative).unwrap_or(if shared { "A" } else { "B" })
    };
    Some(DynamicActivation {
        name: node.name.clone(),
        form,
        k: op.k,
        channels,
        hidden,
        squash: hyper.map(|h| h.squash),
    })
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
