//! A network whose outputs are what goes in and out of its dynamic activations.

use std::sync::Arc;

use crate::compile::{DynamicActivation, Options};
use crate::error::{Error, Result};
use crate::graph::{ChannelActivation, NodeId, Op, ValueId};
use crate::model::Model;
use crate::tensor::Tensor;

/// The dynamic activations of a network, and which outputs of the probed network are theirs.
pub struct Probe {
    pub activations: Vec<Activation>,
    outputs: Vec<Places>,
}

/// A dynamic activation.
pub struct Activation {
    pub about: DynamicActivation,
    /// Its node in the graph of the model.
    pub node: NodeId,
    /// The names of its parameters, in order.
    pub parameters: Vec<String>,
    /// The number of slopes, which come first among the parameters, 0 if they are no slopes.
    pub slopes: usize,
    /// The number of intercepts, which follow the slopes.
    pub intercepts: usize,
}

/// Indices of outputs.
struct Places {
    input: usize,
    parameters: usize,
    attention: Option<usize>,
    output: usize,
}

/// What one activation did with a photo.
pub struct Reading<'a> {
    pub input: &'a [f32],
    pub output: &'a [f32],
    /// Of shape `[parameters, channels]`, with one channel if all share them.
    pub parameters: &'a [f32],
    /// The attention, with its height and width.
    pub attention: Option<(&'a [f32], [usize; 2])>,
}

impl Probe {
    /// Returns the probed network, compiled, and the activations in execution order.
    pub fn new(model: &Model) -> Result<(Arc<Model>, Self)> {
        let mut graph = model.graph().clone();
        let mut values: Vec<ValueId> = Vec::new();
        let mut place = |value: ValueId| {
            values.iter().position(|&other| other == value).unwrap_or_else(|| {
                values.push(value);
                values.len() - 1
            })
        };
        let (mut activations, mut outputs) = (Vec::new(), Vec::new());
        for about in &model.report().dynamic_activations {
            let found = model.graph().node_ids().find(|&id| {
                let node = model.graph().node(id);
                node.name == about.name && kind(&node.op, about.k).is_some()
            });
            let Some(id) = found else { continue };
            let node = model.graph().node(id);
            let (Some(input), Some(parameters)) = (node.input(0), node.input(1)) else { continue };
            let Some((names, slopes, intercepts)) = kind(&node.op, about.k) else { continue };
            activations.push(Activation {
                about: about.clone(),
                node: id,
                parameters: names,
                slopes,
                intercepts,
            });
            outputs.push(Places {
                input: place(input),
                parameters: place(parameters),
                attention: node.input(2).map(&mut place),
                output: place(node.output()),
            });
        }
        if activations.is_empty() {
            return Err(Error::input(
                "the network has no dynamic activation to explain; `dyrelu inspect` lists what it has",
            ));
        }
        graph.set_outputs(values);
        graph.prune()?;
        Ok((Model::from_graph(graph, Options::default())?, Probe { activations, outputs }))
    }

    /// Returns what each activation did in a run on one photo, with the outputs of that run.
    pub fn read<'a>(&self, outputs: &'a [Tensor]) -> Result<Vec<Reading<'a>>> {
        let read = |places: &Places| {
            let attention = match places.attention.map(|at| &outputs[at]) {
                Some(map) => match map.shape() {
                    &[_, _, height, width] => Some((map.as_f32()?, [height, width])),
                    _ => None,
                },
                None => None,
            };
            Ok(Reading {
                input: outputs[places.input].as_f32()?,
                output: outputs[places.output].as_f32()?,
                parameters: outputs[places.parameters].as_f32()?,
                attention,
            })
        };
        self.outputs.iter().map(read).collect()
    }
}

/// The names of the parameters of an activation, and how many of them are slopes and intercepts.
fn kind(op: &Op, k: usize) -> Option<(Vec<String>, usize, usize)> {
    let numbered = |letters: &[&str]| {
        letters.iter().flat_map(|letter| (1..=k).map(move |i| format!("{letter}{i}"))).collect()
    };
    let named = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
    match op {
        Op::MaxAffine(max) => {
            let names = ["a", "b"].iter().flat_map(|l| (1..=max.k).map(move |i| format!("{l}{i}")));
            Some((names.collect(), max.k, max.k))
        }
        Op::ChannelActivation(ChannelActivation::MinAffine { .. }) => {
            Some((numbered(&["a", "b"]), k, k))
        }
        Op::ShiftMax(_) => Some((numbered(&["a", "s"]), k, 0)),
        Op::ChannelActivation(ChannelActivation::Clip) => Some((named(&["low", "high"]), 0, 0)),
        Op::ChannelActivation(ChannelActivation::TwoSlopes) => {
            Some((named(&["positive", "negative"]), 2, 0))
        }
        Op::ChannelActivation(ChannelActivation::Acon) => {
            Some((named(&["scale", "slope", "rate"]), 0, 0))
        }
        _ => None,
    }
}
