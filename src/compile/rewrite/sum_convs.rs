//! Rewrites a sum of convolutions of one map as a single convolution.
//!
//! Networks such as RepVGG (Ding et al., CVPR 2021) and MobileOne (Vasu et al., CVPR 2023) are trained with
//! several convolutions side by side, and a normalisation of the map itself. The sum of all is linear in
//! the map: smaller filters are parts of the largest one, and the normalisation is a filter of one element.

use super::channel_affine::constant_piece;
use super::fold_batch_norm::into_layer;
use crate::error::Result;
use crate::graph::predicates::all_ones;
use crate::graph::{Binary, Conv, NodeId, Op, Padding, Rewriter, ValueId};
use crate::tensor::{DType, Tensor};

/// Rewrites every such sum over two spatial axes whose operands nothing else reads.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub fn sum_convs(graph: &mut Rewriter) -> Result<()> {
    for id in graph.node_ids() {
        let _ = join(graph, id).or_else(|| fold(graph, id));
    }
    graph.commit().map(|_| ())
}

/// A linear function of a map, and a bias.
struct Branch {
    x: ValueId,
    /// `None` if each channel is multiplied by a factor of its own.
    filters: Option<Filters>,
    /// The factor of each channel; none of a branch with filters.
    factors: Vec<f64>,
    /// The bias of each output.
    bias: Vec<f64>,
}

struct Filters {
    conv: Conv,
    /// `[outputs][channels of a group][height][width]`.
    weight: Tensor,
    /// Padding above, to the left, below and to the right.
    pads: [i64; 4],
}

impl Branch {
    fn of(graph: &Rewriter, value: ValueId) -> Option<Branch> {
        graph.links().only_reader(value)?;
        if let Some((x, affine)) = constant_piece(graph, value) {
            let (factors, bias) = (affine.slopes, affine.offsets);
            return Some(Branch { x, filters: None, bias, factors });
        }
        let node = graph.node(graph.links().producer(value)?);
        let Op::Conv(conv) = &node.op else { return None };
        let weight = graph.constant(node.input(1)?)?;
        let is_plain = weight.dtype() == DType::F32 && weight.shape().len() == 4;
        if !is_plain || weight.is_empty() || !all_ones(&conv.dilations) {
            return None;
        }
        let bias = match node.input(2) {
            Some(bias) => graph.constant(bias)?.as_f32().ok()?.iter().map(|&b| b.into()).collect(),
            None => vec![0.0; weight.shape()[0]],
        };
        let pads = match &conv.padding {
            Padding::Explicit(pads) if pads.is_empty() => [0; 4],
            Padding::Explicit(pads) => pads.as_slice().try_into().ok()?,
            Padding::SameUpper | Padding::SameLower => return None,
        };
        let filters = Some(Filters { conv: conv.clone(), weight: weight.clone(), pads });
        Some(Branch { x: node.input(0)?, filters, bias, factors: Vec::new() })
    }

    /// Returns the weights and the bias of the sum of this convolution and another branch.
    fn plus(&self, other: &Branch) -> Option<(Tensor, Vec<f64>)> {
        let Filters { conv, weight, pads } = self.filters.as_ref()?;
        let &[outputs, depth, height, width] = weight.shape() else { return None };
        let strides = |conv: &Conv| [0, 1].map(|axis| conv.strides.get(axis).map_or(1, |&s| s));
        let mut sum: Vec<f64> = weight.as_f32().ok()?.iter().map(|&w| w.into()).collect();
        if [&self.bias, &other.bias].iter().any(|bias| bias.len() != outputs) || self.x != other.x {
            return None;
        }
        let mut add = |output: usize, channel: usize, row: usize, column: usize, number: f64| {
            sum[((output * depth + channel) * height + row) * width + column] += number;
        };
        match &other.filters {
            Some(small) => {
                let &[_, small_depth, rows, columns] = small.weight.shape() else { return None };
                let same = conv.groups == small.conv.groups && small_depth == depth;
                if !same || strides(conv) != strides(&small.conv) {
                    return None;
                }
                let offset =
                    |side: usize| usize::try_from(pads[side].checked_sub(small.pads[side])?).ok();
                let (top, left) = (offset(0)?, offset(1)?);
                let fits = [top, rows, offset(2)?].into_iter().try_fold(0, usize::checked_add)
                    == Some(height)
                    && [left, columns, offset(3)?].into_iter().try_fold(0, usize::checked_add)
                        == Some(width);
                if !fits {
                    return None;
                }
                let weights = small.weight.as_f32().ok()?;
                for (at, &number) in weights.iter().enumerate() {
                    let (rest, column) = (at / columns, at % columns);
                    let (rest, row) = (rest / rows, rest % rows);
                    add(rest / depth, rest % depth, top + row, left + column, number.into());
                }
            }
            None => {
                let [top, left, bottom, right] = pads.map(|pad| usize::try_from(pad).ok());
                let (top, left) = (top?, left?);
                let is_whole = |before: usize, after: Option<usize>, size: usize| {
                    size.checked_sub(1)?.checked_sub(before)?.checked_sub(after?)
                };
                let is_centred = is_whole(top, bottom, height) == Some(0)
                    && is_whole(left, right, width) == Some(0);
                let channels = depth.checked_mul(conv.groups)?;
                if !is_centred || strides(conv) != [1, 1] || channels != outputs || depth == 0 {
                    return None;
                }
                for (output, &factor) in other.factors.iter().enumerate() {
                    add(output, output % depth, top, left, factor);
                }
            }
        }
        let bias: Vec<f64> = self.bias.iter().zip(&other.bias).map(|(a, b)| a + b).collect();
        // A sum may overflow where the two convolutions alone do not.
        let is_finite = |number: &f64| (*number as f32).is_finite();
        if !sum.iter().chain(&bias).all(is_finite) {
            return None;
        }
        let sum = sum.into_iter().map(|w| w as f32).collect::<Vec<f32>>();
        Some((Tensor::new(weight.shape(), sum).ok()?, bias))
    }
}

/// Makes the sum that a node computes a convolution.
fn join(graph: &mut Rewriter, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let &[Some(a), Some(b)] = node.inputs.as_slice() else { return None };
    let is_sum = matches!(node.op, Op::Binary(Binary::Add));
    let dims = |value: ValueId| graph.types().get(value).map(|ty| &ty.dims);
    if !is_sum || dims(a)? != dims(b)? {
        return None;
    }
    let (first, second) = (Branch::of(graph, a)?, Branch::of(graph, b)?);
    let (large, (weight, bias)) = match first.plus(&second) {
        Some(sum) => (&first, sum),
        None => (&second, second.plus(&first)?),
    };
    let (x, op) = (large.x, Op::Conv(large.filters.as_ref()?.conv.clone()));
    let name = node.name.clone();
    let bias: Vec<f32> = bias.into_iter().map(|b| b as f32).collect();
    let weight = graph.add_constant(format!("{name}.weight"), weight);
    let bias = graph.add_constant(format!("{name}.bias"), Tensor::vector(bias));
    graph.edit(id, |node| {
        node.op = op;
        node.inputs = vec![Some(x), Some(weight), Some(bias)];
    });
    Some(())
}

/// Folds an affine function with constants for every channel into the convolution that a sum has become.
fn fold(graph: &mut Rewriter, id: NodeId) -> Option<()> {
    let output = graph.node(id).output();
    let (x, affine) = constant_piece(graph, output)?;
    into_layer(graph, x, output, &affine)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{CHANNELS, Net};
    use super::*;
    use crate::graph::{MaxAffine, Unary};

    fn convolved(net: &mut Net, kernel: usize, groups: usize, stride: usize) -> ValueId {
        let pad = (kernel / 2) as i64;
        let conv = Conv {
            padding: Padding::Explicit(vec![pad; 4]),
            strides: vec![stride; 2],
            dilations: vec![],
            groups,
        };
        let shape = [CHANNELS, CHANNELS / groups, kernel, kernel];
        let count = shape.iter().product();
        let wave = |count: usize| (0..count).map(|i| (0.7 * i as f32).sin()).collect::<Vec<_>>();
        let weight = net.constant(Tensor::new(&shape, wave(count)).unwrap());
        let bias = net.constant(Tensor::vector(wave(CHANNELS)));
        net.apply(Op::Conv(conv), &[net.x, weight, bias])
    }

    fn scaled(net: &mut Net, x: ValueId) -> ValueId {
        let numbers = vec![0.5f32, -1.0, 2.0, 0.25, 0.0, 1.0];
        let coefficients = net.constant(Tensor::new(&[1, 2, CHANNELS], numbers).unwrap());
        net.apply(Op::MaxAffine(MaxAffine { k: 1 }), &[x, coefficients])
    }

    fn sum(net: &mut Net, a: ValueId, b: ValueId) -> ValueId {
        net.apply(Op::Binary(Binary::Add), &[a, b])
    }

    #[test]
    fn branches_of_one_map_are_one_convolution() {
        for groups in [1, CHANNELS] {
            let mut net = Net::new();
            let small = convolved(&mut net, 1, groups, 1);
            let large = convolved(&mut net, 3, groups, 1);
            let x = net.x;
            let scaled = scaled(&mut net, x);
            let y = sum(&mut net, small, large);
            let y = sum(&mut net, scaled, y);
            let ops = net.rewritten(y, sum_convs);
            assert!(matches!(ops.as_slice(), [Op::Conv(conv)] if conv.groups == groups), "{ops:?}");
        }
        let mut net = Net::new();
        let (small, large) = (convolved(&mut net, 1, 1, 2), convolved(&mut net, 3, 1, 2));
        let y = sum(&mut net, large, small);
        assert_eq!(net.rewritten(y, sum_convs).len(), 1);
    }

    #[test]
    fn an_affine_function_of_the_sum_is_part_of_it() {
        let mut net = Net::new();
        let (small, large) = (convolved(&mut net, 1, 1, 1), convolved(&mut net, 3, 1, 1));
        let y = sum(&mut net, large, small);
        let y = scaled(&mut net, y);
        let y = net.apply(Op::Unary(Unary::Relu), &[y]);
        let ops = net.rewritten(y, sum_convs);
        assert!(matches!(ops.as_slice(), [Op::Conv(_), Op::Unary(Unary::Relu)]), "{ops:?}");
    }

    #[test]
    fn other_sums_stay() {
        let mut net = Net::new();
        let (one, two) = (convolved(&mut net, 3, 1, 1), convolved(&mut net, 3, CHANNELS, 1));
        let y = sum(&mut net, one, two);
        assert_eq!(net.rewritten(y, sum_convs).len(), 3, "of different groups");

        let mut net = Net::new();
        let x = net.x;
        let (one, two) = (scaled(&mut net, x), scaled(&mut net, x));
        let y = sum(&mut net, one, two);
        assert_eq!(net.rewritten(y, sum_convs).len(), 3, "without a convolution");
    }
}
