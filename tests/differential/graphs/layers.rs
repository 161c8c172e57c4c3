//! Operators with weights or windows.

use dyrelu::graph::*;

use super::builder::Builder;

pub fn layer(b: &mut Builder) -> Option<ValueId> {
    match b.choices.within(0, 17) {
        0..5 => {
            let x = b.map(1..=3)?;
            convolution(b, x)
        }
        5 => {
            let x = b.map(1..=2)?;
            transposed(b, x)
        }
        6 | 7 => {
            let x = b.map(1..=3)?;
            pool(b, x)
        }
        8 => {
            let x = b.map(1..=3)?;
            let kind = b.choices.pick(&[PoolKind::Average, PoolKind::Max]);
            b.apply(Op::GlobalPool(kind), &[x])
        }
        9 => gemm(b),
        10 => matmul(b),
        11 => {
            let x = b.map(0..=3)?;
            batch_norm(b, x)
        }
        12 | 13 => normalisation(b),
        14 => resize(b),
        15 => depth_to_space(b),
        16 => deformed(b),
        _ => sampled(b),
    }
}

/// Chooses the number of output channels of a layer.
pub fn width(b: &mut Builder) -> usize {
    b.choices.pick(&[8, 1, 2, 3, 5, 7, 9, 16, 17, 24, 33])
}

/// Chooses the padding of windows that extend by `reach` elements beyond their first.
fn padding(b: &mut Builder, reach: &[usize]) -> Padding {
    match b.choices.within(0, 11) {
        0 => Padding::SameUpper,
        1 => Padding::SameLower,
        2..6 => Padding::Explicit(Vec::new()),
        6..9 => {
            let halves: Vec<i64> = reach.iter().map(|&r| (r / 2) as i64).collect();
            Padding::Explicit([halves.as_slice(), &halves].concat())
        }
        _ => {
            let mut pads = Vec::new();
            for &reach in reach.iter().chain(reach) {
                let low = if b.choices.once_in(4) { -2 } else { 0 };
                pads.push(b.choices.within(low, reach as i64));
            }
            Padding::Explicit(pads)
        }
    }
}

/// Chooses a size per axis, usually the same for all.
fn per_axis(b: &mut Builder, axes: usize, sizes: &[usize]) -> Vec<usize> {
    if b.choices.once_in(3) {
        return (0..axes).map(|_| b.choices.pick(sizes)).collect();
    }
    vec![b.choices.pick(sizes); axes]
}

fn strides(b: &mut Builder, axes: usize) -> Vec<usize> {
    match b.choices.within(0, 3) {
        0 | 1 => Vec::new(),
        _ => per_axis(b, axes, &[1, 2, 2, 3]),
    }
}

fn dilations(b: &mut Builder, axes: usize) -> Vec<usize> {
    match b.choices.within(0, 4) {
        4 => per_axis(b, axes, &[1, 2, 3]),
        _ => Vec::new(),
    }
}

/// How far a dilated window extends beyond its first element, per axis.
fn reach(kernel: &[usize], dilations: &[usize]) -> Vec<usize> {
    let dilation = |i: usize| dilations.get(i).copied().unwrap_or(1);
    kernel.iter().enumerate().map(|(i, k)| (k - 1) * dilation(i)).collect()
}

/// Chooses a divisor of the number of channels.
fn groups(b: &mut Builder, channels: usize) -> usize {
    match b.choices.within(0, 7) {
        0..4 => 1,
        4..6 => channels,
        _ => {
            let divisors: Vec<usize> =
                (1..=channels).filter(|g| channels.is_multiple_of(*g)).collect();
            b.choices.pick(&divisors)
        }
    }
}

pub fn convolution(b: &mut Builder, x: ValueId) -> Option<ValueId> {
    let dtype = b.tensor(x).dtype();
    let shape = b.shape(x);
    let (channels, axes) = (shape[1], shape.len() - 2);
    if channels == 0 {
        return None;
    }
    let kernel = per_axis(b, axes, &[1, 3, 1, 3, 2, 5]);
    let (strides, dilations) = (strides(b, axes), dilations(b, axes));
    let groups = groups(b, channels);
    let outputs = match groups {
        1 => width(b),
        g => g * b.choices.pick(&[1, 1, 1, 2, 3]),
    };
    let padding = padding(b, &reach(&kernel, &dilations));
    let sizes = [&[outputs, channels / groups], kernel.as_slice()].concat();
    let weight = b.weights(dtype, &sizes, sizes[1..].iter().product());
    let mut inputs = vec![x, weight];
    if b.choices.once_in(2) {
        inputs.push(b.numbers(dtype, &[outputs], -1.0, 1.0));
    }
    b.apply(Op::Conv(Conv { padding, strides, dilations, groups }), &inputs)
}

/// A 3x3 convolution, dense or depthwise, usually with padding that keeps the size.
pub fn three_by_three(b: &mut Builder, x: ValueId, depthwise: bool) -> Option<ValueId> {
    let dtype = b.tensor(x).dtype();
    let channels = b.shape(x)[1];
    let outputs = if depthwise { channels } else { b.choices.pick(&[16, 17, 8, 24]) };
    let groups = if depthwise { channels } else { 1 };
    let weight = b.weights(dtype, &[outputs, channels / groups, 3, 3], channels / groups * 9);
    let bias = b.numbers(dtype, &[outputs], -1.0, 1.0);
    let padding = match b.choices.once_in(3) {
        true => padding(b, &[2, 2]),
        false => Padding::Explicit(vec![1; 4]),
    };
    let strides = if depthwise { strides(b, 2) } else { Vec::new() };
    let conv = Conv { padding, strides, dilations: Vec::new(), groups };
    b.apply(Op::Conv(conv), &[x, weight, bias])
}

/// A 1x1 convolution.
pub fn pointwise(b: &mut Builder, x: ValueId, outputs: usize) -> Option<ValueId> {
    let dtype = b.tensor(x).dtype();
    let shape = b.shape(x);
    let mut sizes = vec![outputs, shape[1]];
    sizes.resize(shape.len(), 1);
    let weight = b.weights(dtype, &sizes, shape[1]);
    let mut inputs = vec![x, weight];
    if b.choices.once_in(2) {
        inputs.push(b.numbers(dtype, &[outputs], -1.0, 1.0));
    }
    let padding = Padding::Explicit(Vec::new());
    let conv = Conv { padding, strides: Vec::new(), dilations: Vec::new(), groups: 1 };
    b.apply(Op::Conv(conv), &inputs)
}

fn transposed(b: &mut Builder, x: ValueId) -> Option<ValueId> {
    let dtype = b.tensor(x).dtype();
    let shape = b.shape(x);
    let (channels, axes) = (shape[1], shape.len() - 2);
    if channels == 0 {
        return None;
    }
    let kernel = per_axis(b, axes, &[2, 3, 1, 4]);
    let (strides, dilations) = (strides(b, axes), dilations(b, axes));
    let groups = groups(b, channels);
    let per_group = b.choices.pick(&[1, 2, 3]);
    let padding = padding(b, &reach(&kernel, &dilations));
    let output_padding = match b.choices.once_in(4) {
        true => per_axis(b, axes, &[0, 1]),
        false => Vec::new(),
    };
    let sizes = [&[channels, per_group], kernel.as_slice()].concat();
    let fan_in = channels / groups * kernel.iter().product::<usize>();
    let weight = b.weights(dtype, &sizes, fan_in);
    let mut inputs = vec![x, weight];
    if b.choices.once_in(2) {
        inputs.push(b.numbers(dtype, &[per_group * groups], -1.0, 1.0));
    }
    let op = ConvTranspose {
        padding,
        strides,
        dilations,
        groups,
        output_padding,
        output_shape: Vec::new(),
    };
    b.apply(Op::ConvTranspose(op), &inputs)
}

fn pool(b: &mut Builder, x: ValueId) -> Option<ValueId> {
    let axes = b.shape(x).len() - 2;
    let kernel = per_axis(b, axes, &[2, 3, 1, 5]);
    let (strides, dilations) = (strides(b, axes), dilations(b, axes));
    let kind = b.choices.pick(&[PoolKind::Max, PoolKind::Average]);
    let padding = padding(b, &reach(&kernel, &dilations));
    let op = Pool {
        kind,
        kernel,
        strides,
        dilations,
        padding,
        ceil_mode: b.choices.once_in(4),
        count_include_pad: b.choices.once_in(3),
        column_major: b.choices.once_in(8),
    };
    let outputs = if kind == PoolKind::Max && b.choices.once_in(8) { 2 } else { 1 };
    b.apply_to(Op::Pool(op), &[Some(x)], outputs).map(|ids| ids[0])
}

fn gemm(b: &mut Builder) -> Option<ValueId> {
    let x = b.value(|t| t.dtype().is_float() && t.shape().len() == 2)?;
    let dtype = b.tensor(x).dtype();
    let shape = b.shape(x);
    let trans_a = b.choices.once_in(5);
    let (rows, depth) = if trans_a { (shape[1], shape[0]) } else { (shape[0], shape[1]) };
    let columns = width(b);
    let trans_b = !b.choices.once_in(3);
    let sizes = if trans_b { [columns, depth] } else { [depth, columns] };
    let weight = b.weights(dtype, &sizes, depth);
    let mut inputs = vec![x, weight];
    if !b.choices.once_in(3) {
        let shapes: [&[usize]; 5] = [&[columns], &[1, columns], &[rows, columns], &[], &[rows, 1]];
        let shape = b.choices.pick(&shapes);
        inputs.push(b.numbers(dtype, shape, -1.0, 1.0));
    }
    let (alpha, beta) = match b.choices.once_in(4) {
        true => (b.choices.number(), b.choices.number()),
        false => (1.0, 1.0),
    };
    b.apply(Op::Gemm(Gemm { alpha, beta, trans_a, trans_b }), &inputs)
}

fn matmul(b: &mut Builder) -> Option<ValueId> {
    let x = b.value(|t| t.dtype().is_float() && !t.shape().is_empty())?;
    let (dtype, shape) = (b.tensor(x).dtype(), b.shape(x));
    let depth = *shape.last()?;
    if b.choices.once_in(4) {
        // Both operands are computed values.
        let y = b.value(|t| {
            let rank = t.shape().len();
            let inner = t.shape().get(rank.saturating_sub(2));
            t.dtype() == dtype && inner == Some(&depth)
        })?;
        return b.apply(Op::MatMul, &[x, y]);
    }
    let mut sizes = vec![depth, width(b)];
    if b.choices.once_in(5) {
        let outer = shape.len().checked_sub(3).map_or(1, |at| shape[at]);
        sizes.insert(0, outer);
    }
    let weight = b.weights(dtype, &sizes, depth);
    b.apply(Op::MatMul, &[x, weight])
}

pub fn batch_norm(b: &mut Builder, x: ValueId) -> Option<ValueId> {
    let dtype = b.tensor(x).dtype();
    let channels = b.shape(x)[1];
    let mut inputs = vec![x];
    for (low, high) in [(-1.5, 1.5), (-1.0, 1.0), (-1.0, 1.0), (0.1, 2.0)] {
        inputs.push(b.numbers(dtype, &[channels], low, high));
    }
    b.apply(Op::BatchNormalization { epsilon: 1e-5 }, &inputs)
}

fn normalisation(b: &mut Builder) -> Option<ValueId> {
    let x = b.float()?;
    let (dtype, shape) = (b.tensor(x).dtype(), b.shape(x));
    let epsilon = 1e-3;
    let (op, shape) = match b.choices.within(0, 2) {
        0 => {
            let axis = b.choices.size(0, shape.len().max(1) - 1);
            let from_end = b.choices.once_in(2) as i64 * shape.len() as i64;
            (
                Op::LayerNormalization { axis: axis as i64 - from_end, epsilon },
                shape[axis..].to_vec(),
            )
        }
        1 => {
            let channels = *shape.get(1)?;
            let num_groups = groups(b, channels.max(1));
            (Op::GroupNormalization { num_groups, epsilon }, vec![channels])
        }
        _ => (Op::InstanceNormalization { epsilon }, vec![*shape.get(1)?]),
    };
    let scale = b.numbers(dtype, &shape, -1.0, 1.0);
    let bias = b.numbers(dtype, &shape, -1.0, 1.0);
    b.apply(op, &[x, scale, bias])
}

fn resize(b: &mut Builder) -> Option<ValueId> {
    let x = b.map(1..=3)?;
    let shape = b.shape(x);
    let mode = match b.choices.within(0, 3) {
        0 | 1 => ResizeMode::Linear,
        2 => ResizeMode::Cubic { coefficient: -0.75 },
        _ => ResizeMode::Nearest(b.choices.pick(&[
            NearestRounding::RoundPreferFloor,
            NearestRounding::Floor,
            NearestRounding::Ceil,
            NearestRounding::RoundPreferCeil,
        ])),
    };
    let coordinates = b.choices.pick(&[
        CoordinateTransform::HalfPixel,
        CoordinateTransform::PytorchHalfPixel,
        CoordinateTransform::AlignCorners,
        CoordinateTransform::Asymmetric,
        CoordinateTransform::HalfPixelSymmetric,
    ]);
    let op = Resize {
        mode,
        coordinates,
        axes: Vec::new(),
        antialias: b.choices.once_in(8) && !matches!(mode, ResizeMode::Nearest(_)),
        exclude_outside: b.choices.once_in(8),
        extrapolation_value: 0.0,
        keep_aspect_ratio: AspectRatioPolicy::Stretch,
    };
    let mut goal: Vec<i64> = shape[..2].iter().map(|&size| size as i64).collect();
    for _ in 2..shape.len() {
        goal.push(b.choices.within(1, 9));
    }
    let inputs = if b.choices.once_in(2) {
        let sizes = b.integers(&goal);
        vec![Some(x), None, None, Some(sizes)]
    } else {
        let mut scales = vec![1.0f32; 2];
        for _ in 2..shape.len() {
            scales.push(b.choices.pick(&[2.0, 0.5, 1.0, 1.5, 3.0, 0.75]));
        }
        let scales = b.constant(dyrelu::Tensor::vector(scales));
        vec![Some(x), None, Some(scales)]
    };
    b.apply_to(Op::Resize(op), &inputs, 1).map(|ids| ids[0])
}

fn depth_to_space(b: &mut Builder) -> Option<ValueId> {
    let x = b.value(|t| t.shape().len() == 4 && t.shape()[1] % 4 == 0)?;
    let order = b.choices.pick(&[DepthOrder::Dcr, DepthOrder::Crd]);
    b.apply(Op::DepthToSpace { block: 2, order }, &[x])
}

/// A deformable convolution whose offsets a convolution of its input computes.
fn deformed(b: &mut Builder) -> Option<ValueId> {
    let x = b.map(2..=2)?;
    let (dtype, channels) = (b.tensor(x).dtype(), b.shape(x)[1]);
    if channels == 0 {
        return None;
    }
    let [groups, offset_groups] = [groups(b, channels), groups(b, channels)];
    let reach = b.choices.pick(&[1, 0, 2]);
    let (side, taps) = if reach == 0 { (1, 1) } else { (3, 9) };
    let offset = pointwise(b, x, offset_groups * taps * 2)?;
    let mask = match b.choices.once_in(2) {
        true => Some(pointwise(b, x, offset_groups * taps)?),
        false => None,
    };
    let (outputs, depth) = (width(b).next_multiple_of(groups), channels / groups);
    let weight = b.weights(dtype, &[outputs, depth, side, side], depth * taps);
    let bias = b.choices.once_in(2).then(|| b.numbers(dtype, &[outputs], -1.0, 1.0));
    // The result has the size of the map, as the offsets do.
    let conv = Conv {
        padding: Padding::Explicit(vec![reach; 4]),
        strides: Vec::new(),
        dilations: vec![reach.max(1) as usize; 2],
        groups,
    };
    let op = Op::DeformConv(DeformConv { conv, offset_groups });
    let inputs = [Some(x), Some(weight), Some(offset), bias, mask];
    b.apply_to(op, &inputs, 1).map(|ids| ids[0])
}

/// Samples of a map on a grid that a convolution of the map computes.
fn sampled(b: &mut Builder) -> Option<ValueId> {
    let x = b.map(2..=2)?;
    let grid = pointwise(b, x, 2)?;
    let grid = b.apply(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[grid])?;
    let op = GridSample {
        mode: b.choices.pick(&[SampleMode::Linear, SampleMode::Cubic]),
        padding: b.choices.pick(&[
            SamplePadding::Zeros,
            SamplePadding::Border,
            SamplePadding::Reflection,
        ]),
        align_corners: b.choices.once_in(2),
    };
    b.apply(Op::GridSample(op), &[x, grid])
}
