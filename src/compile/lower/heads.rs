//! Attention of several heads, written as products of four-dimensional tensors.
//!
//! Queries, keys and values are views of tokens `[N,L,C]`: the channels are split into heads, and the
//! axes transposed. Following the views back gives the channels that each head reads, so that none of
//! the tensors in between is computed.

use super::network::Network;
use crate::graph::geometry;
use crate::graph::predicates::axis_from_front;
use crate::graph::{Binary, Dim, Node, Op, Softmax, ValueId, Variadic};
use crate::plan::{HeadsPrimitive, ScoreBias};
use crate::simd::padded;
use crate::tensor::{DType, Tensor};

/// The step that computes attention.
pub(super) struct HeadsStep {
    /// The tokens that queries, keys and values are channels of.
    pub inputs: [ValueId; 3],
    pub primitive: HeadsPrimitive,
}

/// Returns the step of `node`, if it gives the result of attention the shape `[N,L,C]`.
pub(super) fn step(net: &Network, node: &Node) -> Option<HeadsStep> {
    if !matches!(node.op, Op::Reshape { .. } | Op::Flatten { .. }) {
        return None;
    }
    let transposed = producer(net, node.input(0)?)?;
    let Op::Transpose { perm } = &transposed.op else { return None };
    let output = net.maps.dims(node.output()).filter(|dims| dims.len() == 3)?;
    let product = producer(net, transposed.input(0)?).filter(|node| node.op == Op::MatMul)?;
    if perm != &[0, 2, 1, 3] {
        return None;
    }
    let (weights, values) =
        (producer(net, product.input(0)?)?, view(net, product.input(1)?, MOST_FOLLOWED)?);
    let Op::Softmax(Softmax { axis, flatten: false }) = weights.op else { return None };
    let scores = Scores::of(net, weights.input(0)?)?;
    let queries = view(net, scores.product.input(0)?, MOST_FOLLOWED)?;
    let keys = view(net, scores.product.input(1)?, MOST_FOLLOWED)?;
    let (q, k, v) = (queries.heads([2, 3])?, keys.heads([3, 2])?, values.heads([2, 3])?);
    let tokens = |view: &View| net.maps.dims(view.tokens).map(|dims| &dims[..2]);
    let fits = axis_from_front(axis, 4) == Some(3)
        && values.factor == 1.0
        && q.count == k.count
        && k.count == v.count
        && q.channels == k.channels
        && [&queries, &keys, &values].iter().all(|view| tokens(view) == Some(&output[..2]))
        && output[2].as_size() == v.count.checked_mul(v.channels);
    if !fits {
        return None;
    }
    let sizes = Sizes { heads: q.count, tokens: output[1].as_size() };
    let biases = scores.biases.iter().map(|bias| sizes.bias(bias)).collect::<Option<_>>()?;
    let primitive = HeadsPrimitive {
        count: q.count,
        depth: q.channels,
        channels: v.channels,
        scale: (scores.factor * queries.factor * keys.factor) as f32,
        places: [q, k, v].map(|heads| [heads.first, heads.step]),
        biases,
    };
    let inputs = [queries, keys, values].map(|view| view.tokens);
    Some(HeadsStep { inputs, primitive })
}

fn producer<'g>(net: &Network<'g>, value: ValueId) -> Option<&'g Node> {
    net.links.producer(value).map(|id| net.graph.node(id))
}

/// An axis of a view of tokens.
#[derive(Clone, Copy, PartialEq)]
enum Axis {
    Images,
    Tokens,
    /// So many channels, `step` apart.
    Channels {
        count: usize,
        step: usize,
    },
}

/// A tensor whose elements are those of tokens times a number.
struct View {
    tokens: ValueId,
    axes: Vec<Axis>,
    /// The first channel.
    first: usize,
    factor: f64,
}

/// Where the heads of an operand are.
struct Heads {
    count: usize,
    first: usize,
    step: usize,
    channels: usize,
}

impl View {
    /// Returns the heads of a view with four axes, of which the last two are at `[tokens, channels]`.
    fn heads(&self, [tokens, channels]: [usize; 2]) -> Option<Heads> {
        let &[Axis::Images, Axis::Channels { count, step }, ..] = self.axes.as_slice() else {
            return None;
        };
        let Axis::Channels { count: channels, step: 1 } = *self.axes.get(channels)? else {
            return None;
        };
        let fits = self.axes.len() == 4 && self.axes[tokens] == Axis::Tokens && channels > 0;
        (fits && count > 0).then_some(Heads { count, first: self.first, step, channels })
    }

    /// Takes `range` of an axis of channels.
    fn narrow(&mut self, axis: usize, start: usize, length: usize) -> Option<()> {
        let Axis::Channels { count, step } = self.axes.get_mut(axis)? else { return None };
        if start.checked_add(length)? > *count {
            return None;
        }
        self.first += start * *step;
        *count = length;
        Some(())
    }
}

/// The most nodes between tokens and an operand of a product, or between scores and softmax.
/// Exporters write up to five.
const MOST_FOLLOWED: usize = 32;

/// Follows a value back to the tokens that it is a view of, through at most `most` nodes.
fn view(net: &Network, value: ValueId, most: usize) -> Option<View> {
    let before = most.checked_sub(1)?;
    producer(net, value).and_then(|node| view_of_node(net, node, value, before)).or_else(|| {
        let channels = net.maps.channels(value)?;
        let is_tokens = net.maps.dims(value)?.len() == 3 && net.maps.has_channels_last(value);
        let axes = vec![Axis::Images, Axis::Tokens, Axis::Channels { count: channels, step: 1 }];
        let is_computed = net.graph.constant(value).is_none();
        (is_tokens && is_computed).then_some(View { tokens: value, axes, first: 0, factor: 1.0 })
    })
}

fn view_of_node(net: &Network, node: &Node, value: ValueId, most: usize) -> Option<View> {
    if let Some((x, factor)) = multiple(net, node) {
        let mut view = view(net, x, most)?;
        view.factor *= factor;
        return Some(view);
    }
    let is_movement = matches!(
        node.op,
        Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Split { .. }
            | Op::Slice
            | Op::Gather { .. }
            | Op::Squeeze
    );
    if !is_movement {
        return None;
    }
    let x = node.input(0)?;
    let (before, after) = (net.maps.dims(x)?, net.maps.dims(value)?);
    let mut view = view(net, x, most)?;
    let rank = view.axes.len();
    match &node.op {
        Op::Transpose { perm } if perm.len() == rank => {
            view.axes = perm.iter().map(|&axis| view.axes[axis]).collect();
        }
        Op::Split { axis } => {
            let axis = axis_from_front(*axis, rank)?;
            let mut start = 0;
            for output in &node.outputs {
                let output = (*output)?;
                let length = net.maps.dims(output)?.get(axis)?.as_size()?;
                if output == value {
                    view.narrow(axis, start, length)?;
                    break;
                }
                start += length;
            }
        }
        Op::Slice => {
            let one = |input: usize, default: i64| match node.input(input) {
                None => Some(default),
                Some(value) => match net.types.contents(value)? {
                    [number] => number.as_const(),
                    _ => None,
                },
            };
            let axis = axis_from_front(one(3, 0)?, rank)?;
            let Axis::Channels { count, .. } = view.axes[axis] else { return None };
            let range = geometry::slice(count, one(1, 0)?, one(2, i64::MAX)?, 1).ok()?;
            if one(4, 1)? != 1 {
                return None;
            }
            view.narrow(axis, range.start, range.len)?;
        }
        Op::Gather { axis } => {
            let axis = axis_from_front(*axis, rank)?;
            let index = net.graph.constant(node.input(1)?).filter(|i| i.shape().is_empty())?;
            let Axis::Channels { count, .. } = view.axes[axis] else { return None };
            let index = axis_from_front(*index.to_i64s().ok()?.first()?, count)?;
            view.narrow(axis, index, 1)?;
            view.axes.remove(axis);
        }
        Op::Squeeze => {
            let is_single = |axis: &Axis| matches!(axis, Axis::Channels { count: 1, .. });
            let axes = net.types.contents(node.input(1)?)?;
            let axis = |dim: &Dim| axis_from_front(dim.as_const()?, rank);
            let gone: Vec<usize> = axes.iter().map(axis).collect::<Option<_>>()?;
            if !gone.iter().all(|&axis| is_single(&view.axes[axis])) {
                return None;
            }
            let mut place = 0..;
            view.axes.retain(|_| !gone.contains(&place.next().unwrap_or_default()));
        }
        Op::Reshape { .. } => split_channels(&mut view, before, after)?,
        _ => return None,
    }
    Some(view)
}

/// Reshapes a view whose last axis is split, or that is not changed.
fn split_channels(view: &mut View, before: &[Dim], after: &[Dim]) -> Option<()> {
    let (last, kept) = view.axes.split_last()?;
    let &Axis::Channels { count, step } = last else { return None };
    if after.len() < before.len() || before[..kept.len()] != after[..kept.len()] {
        return None;
    }
    let sizes = after[kept.len()..].iter().map(Dim::as_size).collect::<Option<Vec<_>>>()?;
    let mut axes = kept.to_vec();
    let mut inner = count;
    for size in sizes {
        inner = inner.checked_div(size)?;
        axes.push(Axis::Channels { count: size, step: step * inner });
    }
    view.axes = axes;
    (inner == 1).then_some(())
}

/// Returns the value that `node` multiplies by a number, and the number.
fn multiple(net: &Network, node: &Node) -> Option<(ValueId, f64)> {
    let number = |value: ValueId| {
        let constant = net.graph.constant(value).filter(|c| c.len() == 1)?;
        constant.as_f32().ok()?.first().map(|&number| f64::from(number))
    };
    match node.op {
        Op::Binary(Binary::Mul) => {
            let (a, b) = (node.input(0)?, node.input(1)?);
            number(b).map(|factor| (a, factor)).or_else(|| Some((b, number(a)?)))
        }
        Op::Binary(Binary::Div) => Some((node.input(0)?, 1.0 / number(node.input(1)?)?)),
        // Earlier passes write products by constants in this way.
        Op::MaxAffine(op) if op.k == 1 && node.input(2).is_none() => {
            let numbers = net.graph.constant(node.input(1)?)?;
            let (slopes, offsets) = match numbers.shape() {
                &[1, 2, channels] if channels > 0 => numbers.as_f32().ok()?.split_at(channels),
                _ => return None,
            };
            let is_multiple = slopes.iter().all(|slope| *slope == slopes[0])
                && offsets.iter().all(|offset| *offset == 0.0);
            is_multiple.then(|| Some((node.input(0)?, slopes[0].into())))?
        }
        _ => None,
    }
}

/// Scores before softmax: multiples of a product of queries and keys, to which constants are added.
struct Scores<'g> {
    product: &'g Node,
    factor: f64,
    biases: Vec<Addend<'g>>,
}

/// A constant that is added to scores, times a number.
struct Addend<'g> {
    constant: &'g Tensor,
    factor: f64,
}

impl<'g> Scores<'g> {
    fn of(net: &Network<'g>, value: ValueId) -> Option<Self> {
        let mut node = producer(net, value)?;
        let (mut factor, mut biases) = (1.0, Vec::new());
        let scores = net.maps.dims(value).filter(|dims| dims.len() == 4)?;
        for _ in 0..MOST_FOLLOWED {
            if node.op == Op::MatMul {
                break;
            }
            node = if let Some((x, number)) = multiple(net, node) {
                factor *= number;
                producer(net, x)?
            } else if let Some((x, constant)) = sum(net, node) {
                biases.push(Addend { constant, factor });
                producer(net, x)?
            } else if matches!(node.op, Op::Reshape { .. } | Op::Unsqueeze | Op::Squeeze) {
                // The images may be split into those of a period, and joined again.
                let (x, y) = (net.maps.dims(node.input(0)?)?, net.maps.dims(node.output())?);
                let keeps_scores = x.ends_with(&scores[1..]) && y.ends_with(&scores[1..]);
                producer(net, node.input(0).filter(|_| keeps_scores)?)?
            } else {
                return None;
            };
        }
        let keeps_shape = node.op == Op::MatMul && net.maps.dims(node.output()) == Some(scores);
        keeps_shape.then_some(Scores { product: node, factor, biases })
    }
}

/// Returns the value and the constant that `node` adds.
fn sum<'g>(net: &Network<'g>, node: &Node) -> Option<(ValueId, &'g Tensor)> {
    let is_sum = matches!(node.op, Op::Binary(Binary::Add) | Op::Variadic(Variadic::Sum));
    let &[Some(a), Some(b)] = node.inputs.as_slice() else { return None };
    let constant = |value: ValueId| net.graph.constant(value).filter(|c| c.dtype() == DType::F32);
    let sum = constant(b).map(|c| (a, c)).or_else(|| Some((b, constant(a)?)));
    let (x, constant) = sum.filter(|_| is_sum)?;
    (net.maps.dims(x) == net.maps.dims(node.output())).then_some((x, constant))
}

/// The sizes of the scores of an image.
struct Sizes {
    heads: usize,
    tokens: Option<usize>,
}

impl Sizes {
    /// Lays out a constant `[images,heads,tokens,tokens]`, `[..,images,1,tokens,tokens]` for all heads,
    /// or one with fewer axes.
    fn bias(&self, Addend { constant, factor }: &Addend) -> Option<ScoreBias> {
        let tokens = self.tokens?;
        let [outer @ .., rows, columns] = constant.shape() else { return None };
        let (heads, outer) = match outer {
            [] => (1, outer),
            [outer @ .., heads] => (*heads, outer),
        };
        let fits = [*rows, *columns] == [tokens, tokens] && (heads == 1 || heads == self.heads);
        let images: usize = outer.iter().product();
        if !fits || images == 0 || outer.iter().rev().skip(1).any(|&size| size != 1) {
            return None;
        }
        let mut scores = vec![0.0; images * heads * tokens * padded(tokens)];
        let rows = scores.chunks_exact_mut(padded(tokens));
        for (to, from) in rows.zip(constant.as_f32().ok()?.chunks_exact(tokens)) {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = (f64::from(*from) * factor) as f32);
        }
        Some(ScoreBias { scores, images, heads, tokens })
    }
}
