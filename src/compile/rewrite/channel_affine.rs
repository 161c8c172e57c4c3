//! Affine functions of a feature map with constants for every channel, as the max-affine function of
//! one piece that each is.
//!
//! Batch normalisations that follow no convolution, layer scales and scalar factors become
//! `a[c] * x + b[c]`. Such a function is folded into the convolution that computes `x`, or joined with
//! the affine function before it.

use super::fold_batch_norm::{ChannelAffine, batch_norm, into_layer};
use crate::error::Result;
use crate::graph::{Binary, Dim, MaxAffine, Node, NodeId, Op, Rewriter, ValueId, Variadic};
use crate::tensor::{DType, Tensor};

/// Rewrites every such function of a feature map with four axes.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub fn channel_affine(graph: &mut Rewriter) -> Result<()> {
    for id in graph.node_ids() {
        affine(graph, id);
    }
    graph.commit().map(|_| ())
}

fn affine(graph: &mut Rewriter, id: NodeId) -> Option<()> {
    let (mut x, mut affine) = read(graph, id)?;
    let output = graph.node(id).output();
    let dims = &graph.types().get(output)?.dims;
    if graph.types().get(x)?.dims != *dims || affine.slopes.len() != channels(dims)? {
        return None;
    }
    if graph.links().only_reader(x).is_some()
        && let Some((inner, first)) = constant_piece(graph, x)
        && first.slopes.len() == affine.slopes.len()
        && let Some(both) = after(&affine, &first)
    {
        affine = both;
        x = inner;
    }
    if into_layer(graph, x, output, &affine).is_some() {
        return Some(());
    }
    let coefficients = coefficients(graph, id, &affine)?;
    graph.edit(id, |node| {
        node.op = Op::MaxAffine(MaxAffine { k: 1 });
        node.inputs = vec![Some(x), Some(coefficients)];
    });
    Some(())
}

/// What a node computes of a feature map, where it is affine with constants for every channel.
fn read(graph: &Rewriter, id: NodeId) -> Option<(ValueId, ChannelAffine)> {
    let node = graph.node(id);
    if let Some(affine) = batch_norm(graph, node) {
        return Some((node.input(0)?, affine));
    }
    let op = match node.op {
        Op::Binary(op @ (Binary::Add | Binary::Sub | Binary::Mul | Binary::Div)) => op,
        Op::Variadic(Variadic::Sum) if node.inputs.len() == 2 => Binary::Add,
        _ => return None,
    };
    let (left, right) = (node.input(0)?, node.input(1)?);
    let dims = &graph.types().get(node.output())?.dims;
    let operand = |value: ValueId| per_channel(graph, value, channels(dims)?);
    let is_map = |value: ValueId| graph.constant(value).is_none();
    let filled = |number: f64, like: &[f64]| vec![number; like.len()];
    let (x, slopes, offsets) = match op {
        _ if is_map(left) && !is_map(right) => {
            let c = operand(right)?;
            let map = |f: fn(f64) -> f64| c.iter().copied().map(f).collect::<Vec<_>>();
            match op {
                Binary::Add => (left, filled(1.0, &c), c),
                Binary::Sub => (left, filled(1.0, &c), map(|c| -c)),
                Binary::Mul => (left, c.clone(), filled(0.0, &c)),
                _ => (left, map(|c| 1.0 / c), filled(0.0, &c)),
            }
        }
        _ if !is_map(left) && is_map(right) => {
            let c = operand(left)?;
            match op {
                Binary::Add => (right, filled(1.0, &c), c),
                Binary::Sub => (right, filled(-1.0, &c), c),
                Binary::Mul => (right, c.clone(), filled(0.0, &c)),
                _ => return None,
            }
        }
        _ => return None,
    };
    Some((x, in_range(ChannelAffine { slopes, offsets })?))
}

/// Returns the function if all of its numbers are finite in single precision.
fn in_range(affine: ChannelAffine) -> Option<ChannelAffine> {
    let mut numbers = affine.slopes.iter().chain(&affine.offsets);
    numbers.all(|number| (*number as f32).is_finite()).then_some(affine)
}

/// The numbers of a constant that has one for each of so many channels, or one for all.
fn per_channel(graph: &Rewriter, value: ValueId, channels: usize) -> Option<Vec<f64>> {
    let constant = graph.constant(value).filter(|constant| constant.dtype() == DType::F32)?;
    let numbers = || constant.as_f32().ok();
    if constant.len() == 1 && constant.shape().len() <= 4 {
        return Some(vec![f64::from(numbers()?[0]); channels]);
    }
    let aligned = matches!(*constant.shape(), [c, 1, 1] | [1, c, 1, 1] if c == channels);
    aligned.then(|| Some(numbers()?.iter().map(|&number| number.into()).collect()))?
}

/// The map and the function, where `value` is a max-affine function of one constant piece.
pub(super) fn constant_piece(graph: &Rewriter, value: ValueId) -> Option<(ValueId, ChannelAffine)> {
    let node: &Node = graph.node(graph.links().producer(value)?);
    if node.op != Op::MaxAffine(MaxAffine { k: 1 }) || node.inputs.len() > 2 {
        return None;
    }
    let constant = graph.constant(node.input(1)?)?;
    let &[1, 2, channels] = constant.shape() else { return None };
    let numbers: Vec<f64> = constant.as_f32().ok()?.iter().map(|&number| number.into()).collect();
    let (slopes, offsets) = numbers.split_at(channels);
    let affine = ChannelAffine { slopes: slopes.to_vec(), offsets: offsets.to_vec() };
    Some((node.input(0)?, affine))
}

/// Returns `second` of `first`, unless a number overflows that the two alone do not need.
fn after(second: &ChannelAffine, first: &ChannelAffine) -> Option<ChannelAffine> {
    let pairs = || second.slopes.iter().zip(&first.slopes);
    let offset = |(c, offset): (usize, &f64)| second.slopes[c] * first.offsets[c] + offset;
    in_range(ChannelAffine {
        slopes: pairs().map(|(second, first)| second * first).collect(),
        offsets: second.offsets.iter().enumerate().map(offset).collect(),
    })
}

/// Adds the coefficients `[1, 2, C]` of the one piece that a function is.
fn coefficients(graph: &mut Rewriter, id: NodeId, affine: &ChannelAffine) -> Option<ValueId> {
    let rows = affine.slopes.iter().chain(&affine.offsets).map(|&number| number as f32);
    let tensor = Tensor::new(&[1, 2, affine.slopes.len()], rows.collect::<Vec<_>>()).ok()?;
    let name = format!("{}.coefficients", graph.node(id).name);
    Some(graph.add_constant(name, tensor))
}

/// The number of channels of a feature map with four axes.
fn channels(dims: &[Dim]) -> Option<usize> {
    let channels = dims.get(1)?.as_size()?;
    (dims.len() == 4 && channels > 0).then_some(channels)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{CHANNELS, Net};
    use super::*;
    use crate::graph::{Conv, Padding};

    impl Net {
        fn wave(&mut self, shape: &[usize], frequency: f32) -> ValueId {
            let count = shape.iter().product();
            let data = (0..count).map(|i: usize| (1.0 + i as f32 * frequency).sin());
            self.constant(Tensor::new(shape, data.collect()).unwrap())
        }
    }

    fn pieces(k: usize) -> Op {
        Op::MaxAffine(MaxAffine { k })
    }

    #[test]
    fn arithmetic_with_constants_is_one_function() {
        let mut net = Net::new();
        let (scale, offset) =
            (net.wave(&[CHANNELS, 1, 1], 0.9), net.wave(&[1, CHANNELS, 1, 1], 0.4));
        let divisor = net.wave(&[1], 0.3);
        let y = net.apply(Op::Binary(Binary::Mul), &[scale, net.x]);
        let y = net.apply(Op::Binary(Binary::Sub), &[offset, y]);
        let y = net.apply(Op::Binary(Binary::Div), &[y, divisor]);
        assert_eq!(net.rewritten(y, channel_affine), [pieces(1)]);
    }

    #[test]
    fn a_normalisation_is_one_function() {
        let mut net = Net::new();
        let [scale, bias, mean] = [0.3, 0.5, 0.7].map(|step| net.wave(&[CHANNELS], step));
        let variance = net.constant(Tensor::vector(vec![0.5f32, 1.0, 2.0]));
        let inputs = [net.x, scale, bias, mean, variance];
        let y = net.apply(Op::BatchNormalization { epsilon: 1e-5 }, &inputs);
        assert_eq!(net.rewritten(y, channel_affine), [pieces(1)]);
    }

    #[test]
    fn a_layer_scale_goes_into_the_convolution_before_it() {
        let mut net = Net::new();
        let weight = net.wave(&[CHANNELS, CHANNELS, 1, 1], 0.8);
        let scale = net.wave(&[CHANNELS, 1, 1], 0.6);
        let conv = Conv {
            padding: Padding::Explicit(vec![]),
            strides: vec![],
            dilations: vec![],
            groups: 1,
        };
        let y = net.apply(Op::Conv(conv.clone()), &[net.x, weight]);
        let y = net.apply(Op::Binary(Binary::Mul), &[y, scale]);
        assert_eq!(net.rewritten(y, channel_affine), [Op::Conv(conv)]);
    }

    #[test]
    fn functions_that_overflow_together_stay_apart() {
        let times = |factor: f64| ChannelAffine { slopes: vec![factor], offsets: vec![factor] };
        assert_eq!(after(&times(1e30), &times(1e-30)).unwrap().slopes, [1.0]);
        assert!(after(&times(1e30), &times(1e30)).is_none());
    }

    #[test]
    fn constants_of_other_shapes_and_sizes_stay() {
        for shape in [&[5][..], &[2, 5], &[1, 1, 1, 1, 1], &[2, 1, 1, 1]] {
            let mut net = Net::new();
            let constant = net.wave(shape, 0.5);
            let y = net.apply(Op::Binary(Binary::Mul), &[net.x, constant]);
            assert_eq!(net.rewritten(y, channel_affine), [Op::Binary(Binary::Mul)], "{shape:?}");
        }
    }
}
