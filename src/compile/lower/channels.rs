//! Nodes that move channels of feature maps: concatenation, splits, slices and permutations.
//!
//! A value that only such nodes read is not computed. The steps of its readers copy the channels from
//! where they are.

use std::collections::HashMap;

use super::network::Network;
use crate::graph::predicates::axis_from_front;
use crate::graph::{Dim, Node, NodeId, Op, ValueId, geometry};
use crate::plan::MOST_INPUTS;

/// The channels of a value: for each a map and a channel of that map.
type Origins = Vec<(ValueId, usize)>;

/// A value whose channels are copied from maps.
pub(super) struct ChannelsStep {
    pub output: ValueId,
    /// The maps.
    pub sources: Vec<ValueId>,
    /// For every channel the position of its map, and the channel of that map.
    pub table: Vec<[usize; 2]>,
}

/// The values of a network whose channels are those of other values.
pub(super) struct MovedChannels {
    origins: HashMap<ValueId, Origins>,
    /// The values that have no step, because every reader knows their origins.
    passed_over: HashMap<ValueId, bool>,
}

impl MovedChannels {
    /// Finds the nodes of `net` that only move channels.
    pub fn of(net: &Network) -> Self {
        let mut moved = MovedChannels { origins: HashMap::new(), passed_over: HashMap::new() };
        let direct: Vec<_> = net.graph.nodes().iter().map(|node| moves(net, node)).collect();
        for moves in direct.iter().flatten() {
            for (output, _) in moves {
                let is_moved = |id: &NodeId| direct[id.0].is_some();
                let readers = net.links.consumers(*output);
                let only_moved = !net.links.is_output(*output) && readers.iter().all(is_moved);
                moved.passed_over.insert(*output, only_moved);
            }
        }
        let mut joined: Vec<&Node> = Vec::new();
        for (node, moves) in net.graph.nodes().iter().zip(direct) {
            for (output, origins) in moves.into_iter().flatten() {
                let origins = moved.after_joined(&joined, node, origins);
                let origins = moved.followed(origins);
                moved.origins.insert(output, origins);
            }
            if matches!(node.op, Op::Concat { .. }) && moved.is_computed(node.output()) {
                joined.push(node);
            }
        }
        moved
    }

    /// Returns the steps that compute the outputs of `node`; `None` if it does more than move channels.
    pub fn steps(&self, node: &Node) -> Option<Vec<ChannelsStep>> {
        self.origins.get(&node.output())?;
        let outputs = node.outputs.iter().flatten().filter(|&&output| self.is_computed(output));
        outputs.map(|&output| self.step(output)).collect()
    }

    fn step(&self, output: ValueId) -> Option<ChannelsStep> {
        let mut sources = Vec::new();
        let mut table = Vec::new();
        for &(value, channel) in self.origins.get(&output)? {
            let place = sources.iter().position(|&source| source == value).unwrap_or_else(|| {
                sources.push(value);
                sources.len() - 1
            });
            table.push([place, channel]);
        }
        Some(ChannelsStep { output, sources, table })
    }

    fn is_computed(&self, value: ValueId) -> bool {
        !self.passed_over.get(&value).is_some_and(|&passed_over| passed_over)
    }

    /// Replaces the values that an earlier concatenation has joined by its result, as in DenseNet, where
    /// each layer reads the maps of all layers before it.
    fn after_joined(&self, joined: &[&Node], node: &Node, origins: Origins) -> Origins {
        let Op::Concat { .. } = node.op else { return origins };
        let begins = |other: &&&Node| {
            other.inputs.len() > 1 && node.inputs.starts_with(&other.inputs) && node.op == other.op
        };
        let Some(first) = joined.iter().filter(begins).max_by_key(|other| other.inputs.len())
        else {
            return origins;
        };
        let count = self.origins.get(&first.output()).map_or(0, Vec::len);
        let of_first = (0..count).map(|channel| (first.output(), channel));
        of_first.chain(origins.into_iter().skip(count)).collect()
    }

    /// Follows channels to the maps that are computed. Where these are too many for a step, the values
    /// on the way are computed as well.
    fn followed(&mut self, origins: Origins) -> Origins {
        let followed: Origins = origins.iter().map(|&origin| self.follow(origin)).collect();
        let mut sources: Vec<ValueId> = followed.iter().map(|origin| origin.0).collect();
        sources.sort_unstable_by_key(|value| value.index());
        sources.dedup();
        if sources.len() <= MOST_INPUTS {
            return followed;
        }
        for (value, _) in &origins {
            self.passed_over.insert(*value, false);
        }
        origins
    }

    fn follow(&self, (value, channel): (ValueId, usize)) -> (ValueId, usize) {
        match self.origins.get(&value) {
            // The origins of a value are computed already, or followed themselves.
            Some(origins) if !self.is_computed(value) => origins[channel],
            _ => (value, channel),
        }
    }
}

/// Returns the channels of the outputs of `node`, as channels of its inputs, if it only moves channels
/// of feature maps.
fn moves(net: &Network, node: &Node) -> Option<Vec<(ValueId, Origins)>> {
    match node.op {
        Op::Concat { axis } if is_channel_axis(axis) => concat(net, node),
        Op::Split { axis } if is_channel_axis(axis) => split(net, node),
        Op::Gather { axis } if is_channel_axis(axis) => gather(net, node),
        Op::Slice => slice(net, node),
        _ => None,
    }
}

/// Whether `axis` is that of the channels of a value with four axes.
fn is_channel_axis(axis: i64) -> bool {
    axis_from_front(axis, 4) == Some(1)
}

/// Returns the number of channels of a value with four axes that can lie in the arena.
fn channels(net: &Network, value: ValueId) -> Option<usize> {
    net.maps
        .channels(value)
        .filter(|_| net.maps.is_nchw(value) && net.graph.constant(value).is_none())
}

/// Returns `output`, which has these channels of `x`.
fn part(
    net: &Network,
    x: ValueId,
    output: ValueId,
    chosen: impl Iterator<Item = usize>,
) -> Option<(ValueId, Origins)> {
    let available = channels(net, x)?;
    let origins: Origins = chosen.map(|channel| (x, channel)).collect();
    let fits = origins.iter().all(|&(_, channel)| channel < available);
    (fits && channels(net, output)? == origins.len()).then_some((output, origins))
}

fn concat(net: &Network, node: &Node) -> Option<Vec<(ValueId, Origins)>> {
    let output = node.output();
    let [images, _, height, width] = net.maps.dims(output)? else { return None };
    let mut origins = Origins::new();
    for &input in &node.inputs {
        let input = input?;
        let [n, _, h, w] = net.maps.dims(input)? else { return None };
        if [n, h, w] != [images, height, width] {
            return None;
        }
        origins.extend((0..channels(net, input)?).map(|channel| (input, channel)));
    }
    (channels(net, output)? == origins.len()).then_some(vec![(output, origins)])
}

fn split(net: &Network, node: &Node) -> Option<Vec<(ValueId, Origins)>> {
    let x = node.input(0)?;
    let mut first = 0;
    let mut parts = Vec::with_capacity(node.outputs.len());
    for &output in &node.outputs {
        let end = first + channels(net, output?)?;
        parts.push(part(net, x, output?, first..end)?);
        first = end;
    }
    Some(parts)
}

fn gather(net: &Network, node: &Node) -> Option<Vec<(ValueId, Origins)>> {
    let x = node.input(0)?;
    let count = channels(net, x)?;
    let indices = net.graph.constant(node.input(1)?)?.to_i64s().ok()?;
    let indices: Vec<usize> =
        indices.iter().map(|&index| axis_from_front(index, count)).collect::<Option<_>>()?;
    Some(vec![part(net, x, node.output(), indices.into_iter())?])
}

/// Returns the channels that `node` reads for each channel of its output, if it is a `Gather` of them.
pub(super) fn gathered(net: &Network, node: &Node) -> Option<Vec<usize>> {
    let is_gather = matches!(node.op, Op::Gather { axis } if is_channel_axis(axis));
    let (_, origins) = is_gather.then(|| gather(net, node))??.pop()?;
    Some(origins.into_iter().map(|(_, channel)| channel).collect())
}

/// Whether a node only moves channels of feature maps.
pub(super) fn is_mover(net: &Network, id: NodeId) -> bool {
    moves(net, net.graph.node(id)).is_some()
}

fn slice(net: &Network, node: &Node) -> Option<Vec<(ValueId, Origins)>> {
    let numbers = |input: usize, default: i64| -> Option<Vec<i64>> {
        let Some(value) = node.input(input) else { return Some(vec![default]) };
        net.types.contents(value)?.iter().map(Dim::as_const).collect()
    };
    let x = node.input(0)?;
    let (starts, ends) = (numbers(1, 0)?, numbers(2, i64::MAX)?);
    let (axes, steps) = (numbers(3, 0)?, numbers(4, 1)?);
    let (&[start], &[end], &[axis], &[step]) =
        (starts.as_slice(), ends.as_slice(), axes.as_slice(), steps.as_slice())
    else {
        return None;
    };
    let range = geometry::slice(channels(net, x)?, start, end, step).ok()?;
    if !is_channel_axis(axis) {
        return None;
    }
    let channel = |i: usize| (range.start as i64 + i as i64 * range.step) as usize;
    Some(vec![part(net, x, node.output(), (0..range.len).map(channel))?])
}
