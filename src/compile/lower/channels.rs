//! Nodes that put channels of feature maps side by side, or take some of them.

use super::network::Network;
use crate::graph::predicates::axis_from_front;
use crate::graph::{Dim, Node, Op, ValueId, geometry};
use crate::plan::{ChannelsPrimitive, MOST_INPUTS};

/// A step for one output of a node.
pub(super) struct ChannelsStep {
    pub output: ValueId,
    /// The maps that the primitive reads.
    pub inputs: Vec<ValueId>,
    pub primitive: ChannelsPrimitive,
}

/// Returns a step per output of `node`, if `node` concatenates feature maps along the channels, or
/// splits or slices one.
pub(super) fn steps(net: &Network, node: &Node) -> Option<Vec<ChannelsStep>> {
    match node.op {
        Op::Concat { axis } if is_channel_axis(axis) => concat(net, node),
        Op::Split { axis } if is_channel_axis(axis) => split(net, node),
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

/// Returns the step that copies channels of `x`.
fn part(net: &Network, x: ValueId, output: ValueId, first: usize) -> Option<ChannelsStep> {
    let count = channels(net, output)?;
    let is_inside = first.checked_add(count)? <= channels(net, x)?;
    let primitive = ChannelsPrimitive { parts: vec![[first, count]] };
    is_inside.then(|| ChannelsStep { output, inputs: vec![x], primitive })
}

fn concat(net: &Network, node: &Node) -> Option<Vec<ChannelsStep>> {
    let inputs: Vec<ValueId> = node.inputs.iter().copied().collect::<Option<_>>()?;
    let output = node.output();
    let [images, _, height, width] = net.maps.dims(output)? else { return None };
    let part = |&input: &ValueId| {
        let [n, _, h, w] = net.maps.dims(input)? else { return None };
        let fits = [n, h, w] == [images, height, width];
        channels(net, input).filter(|_| fits).map(|count| [0, count])
    };
    let parts: Vec<_> = inputs.iter().map(part).collect::<Option<_>>()?;
    let fits = inputs.len() <= MOST_INPUTS;
    fits.then(|| vec![ChannelsStep { output, inputs, primitive: ChannelsPrimitive { parts } }])
}

fn split(net: &Network, node: &Node) -> Option<Vec<ChannelsStep>> {
    let x = node.input(0)?;
    let mut first = 0;
    let mut steps = Vec::with_capacity(node.outputs.len());
    for &output in &node.outputs {
        let step = part(net, x, output?, first)?;
        first += channels(net, step.output)?;
        steps.push(step);
    }
    Some(steps)
}

fn slice(net: &Network, node: &Node) -> Option<Vec<ChannelsStep>> {
    let numbers = |input: usize, default: i64| -> Option<Vec<i64>> {
        let Some(value) = node.input(input) else { return Some(vec![default]) };
        net.types.contents(value)?.iter().map(Dim::as_const).collect()
    };
    let x = node.input(0)?;
    let (starts, ends) = (numbers(1, 0)?, numbers(2, i64::MAX)?);
    let (axes, steps) = (numbers(3, 0)?, numbers(4, 1)?);
    let (&[start], &[end], &[axis], &[1]) =
        (starts.as_slice(), ends.as_slice(), axes.as_slice(), steps.as_slice())
    else {
        return None;
    };
    let range = geometry::slice(channels(net, x)?, start, end, 1).ok()?;
    let step = part(net, x, node.output(), range.start).filter(|_| is_channel_axis(axis))?;
    Some(vec![step])
}
