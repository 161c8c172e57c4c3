//! Blocks of several nodes, as in real networks: dynamic activations, attention, residual blocks.

use dyrelu::graph::*;
use dyrelu::{DType, Tensor};

use super::builder::Builder;
use super::elements::activation;
use super::layers::{batch_norm, convolution, pointwise, three_by_three, width};

pub fn block(b: &mut Builder) -> Option<ValueId> {
    let x = b.map(2..=2)?;
    if b.shape(x)[1] == 0 || b.tensor(x).dtype() != DType::F32 {
        return None;
    }
    match b.choices.within(0, 13) {
        0..4 => dynamic_relu(b, x),
        10..13 => {
            let y = three_by_three(b, x, false)?;
            if b.choices.once_in(2) { activation(b, y) } else { dynamic_relu(b, y) }
        }
        4 => own_operators(b, x),
        5 => squeeze_and_excite(b, x),
        6 => two_slopes(b, x),
        7 => maxout(b, x),
        8 | 13 => residual(b, x),
        _ => attention(b, x),
    }
}

fn scalar(b: &mut Builder, value: f32) -> ValueId {
    b.constant(Tensor::scalar(value))
}

fn binary(b: &mut Builder, op: Binary, x: ValueId, y: ValueId) -> Option<ValueId> {
    b.apply(Op::Binary(op), &[x, y])
}

fn reshape(b: &mut Builder, x: ValueId, sizes: &[i64]) -> Option<ValueId> {
    let sizes = b.constant(Tensor::vector(sizes.to_vec()));
    b.apply(Op::Reshape { allow_zero: false }, &[x, sizes])
}

/// The mean of every channel, of shape `[N, C, 1, 1]` or `[N, C]`.
fn context(b: &mut Builder, x: ValueId, keep_dims: bool) -> Option<ValueId> {
    if keep_dims && b.choices.once_in(2) {
        return b.apply(Op::GlobalPool(PoolKind::Average), &[x]);
    }
    let axes = b.constant(Tensor::vector(vec![2i64, 3]));
    let reduce = Reduce { kind: ReduceKind::Mean, keep_dims, noop_with_empty_axes: false };
    b.apply(Op::Reduce(reduce), &[x, axes])
}

/// A fully connected layer on `[N, C]`, or a pointwise convolution on `[N, C, 1, 1]`.
fn connected(b: &mut Builder, x: ValueId, outputs: usize) -> Option<ValueId> {
    let shape = b.shape(x);
    if shape.len() == 4 {
        return pointwise(b, x, outputs);
    }
    let weight = b.weights(DType::F32, &[outputs, shape[1]], shape[1]);
    let bias = b.numbers(DType::F32, &[outputs], -0.5, 0.5);
    let gemm = Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true };
    b.apply(Op::Gemm(gemm), &[x, weight, bias])
}

/// A squashing function with values in (-1, 1).
fn squash(b: &mut Builder, z: ValueId) -> Option<ValueId> {
    let bounded = match b.choices.within(0, 2) {
        0 => b.apply(Op::Unary(Unary::Sigmoid), &[z])?,
        1 => b.apply(Op::Unary(Unary::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 }), &[z])?,
        _ => return b.apply(Op::Unary(Unary::Tanh), &[z]),
    };
    let (two, one) = (scalar(b, 2.0), scalar(b, 1.0));
    let doubled = binary(b, Binary::Mul, bounded, two)?;
    binary(b, Binary::Sub, doubled, one)
}

/// `max_k(a_k(context) x + b_k(context))` in one of the ways in which published code writes it.
fn dynamic_relu(b: &mut Builder, x: ValueId) -> Option<ValueId> {
    let shape = b.shape(x);
    let channels = shape[1];
    let is_map = |t: &Tensor| t.dtype() == DType::F32 && t.shape().len() == 4;
    let source = if b.choices.once_in(6) { b.value(is_map)? } else { x };
    let keep_dims = b.choices.once_in(2);
    let pooled = context(b, source, keep_dims)?;
    let hidden = b.choices.pick(&[4, 1, 2, 8]);
    let hidden = connected(b, pooled, hidden)?;
    let hidden = match b.choices.once_in(4) {
        true => activation(b, hidden)?,
        false => b.apply(Op::Unary(Unary::Relu), &[hidden])?,
    };
    let k = b.choices.pick(&[2, 2, 1, 3]);
    let shared = b.choices.once_in(5);
    let width = if shared { 1 } else { channels };
    let z = connected(b, hidden, 2 * k * width)?;
    let delta = squash(b, z)?;
    match b.choices.within(0, 2) {
        0 => separate_pieces(b, x, delta, k, width),
        1 => stacked_last(b, x, delta, k, width),
        _ => stacked_second(b, x, delta, k, width),
    }
}

/// Computes each affine piece from tensors of its own. Their maximum is one node or a chain.
fn separate_pieces(
    b: &mut Builder,
    x: ValueId,
    delta: ValueId,
    k: usize,
    width: usize,
) -> Option<ValueId> {
    let coefficients = reshape(b, delta, &[-1, (2 * k * width) as i64, 1, 1])?;
    let parts = match b.choices.once_in(2) {
        true => b.apply_to(Op::Split { axis: 1 }, &[Some(coefficients)], 2 * k)?,
        false => {
            let part = |b: &mut Builder, i: usize| {
                let ends = [i * width, (i + 1) * width]
                    .map(|end| b.constant(Tensor::vector(vec![end as i64])));
                let axis = b.constant(Tensor::vector(vec![1i64]));
                b.apply(Op::Slice, &[coefficients, ends[0], ends[1], axis])
            };
            (0..2 * k).map(|i| part(b, i)).collect::<Option<Vec<_>>>()?
        }
    };
    let mut pieces = Vec::new();
    for i in 0..k {
        let (lambda, init) = (b.choices.number(), if i == 0 { 1.0 } else { 0.0 });
        let (lambda, init) = (scalar(b, lambda), scalar(b, init));
        let slope = binary(b, Binary::Mul, parts[i], lambda)?;
        let slope = binary(b, Binary::Add, slope, init)?;
        let half = scalar(b, 0.5);
        let offset = binary(b, Binary::Mul, parts[k + i], half)?;
        let product = binary(b, Binary::Mul, x, slope)?;
        pieces.push(binary(b, Binary::Add, product, offset)?);
    }
    let maximum = Op::Variadic(Variadic::Max);
    if b.choices.once_in(2) {
        return b.apply(maximum, &pieces);
    }
    let mut pieces = pieces.into_iter();
    let first = pieces.next()?;
    pieces.try_fold(first, |largest, piece| b.apply(maximum.clone(), &[largest, piece]))
}

/// Stacks the pieces along a last axis, which a maximum reduces. The feature map is transposed so that
/// its last axes are images and channels.
fn stacked_last(
    b: &mut Builder,
    x: ValueId,
    delta: ValueId,
    k: usize,
    width: usize,
) -> Option<ValueId> {
    let coefficients = reshape(b, delta, &[-1, width as i64, 2 * k as i64])?;
    let lambda = b.numbers(DType::F32, &[2 * k], 0.5, 1.0);
    let init = b.numbers(DType::F32, &[2 * k], 0.0, 1.0);
    let scaled = binary(b, Binary::Mul, coefficients, lambda)?;
    let coefficients = binary(b, Binary::Add, scaled, init)?;
    let halves = b.apply_to(Op::Split { axis: 2 }, &[Some(coefficients)], 2)?;
    let transposed = b.apply(Op::Transpose { perm: vec![2, 3, 0, 1] }, &[x])?;
    let last = b.constant(Tensor::vector(vec![-1i64]));
    let transposed = b.apply(Op::Unsqueeze, &[transposed, last])?;
    let product = binary(b, Binary::Mul, transposed, halves[0])?;
    let sum = binary(b, Binary::Add, product, halves[1])?;
    let reduce = Reduce { kind: ReduceKind::Max, keep_dims: false, noop_with_empty_axes: false };
    let largest = b.apply(Op::Reduce(reduce), &[sum, last])?;
    b.apply(Op::Transpose { perm: vec![2, 3, 0, 1] }, &[largest])
}

/// Stacks the pieces along a second axis, which a maximum reduces.
fn stacked_second(
    b: &mut Builder,
    x: ValueId,
    delta: ValueId,
    k: usize,
    width: usize,
) -> Option<ValueId> {
    let coefficients = reshape(b, delta, &[-1, 2 * k as i64, width as i64, 1, 1])?;
    let init = b.numbers(DType::F32, &[2 * k, 1, 1, 1], -1.0, 1.0);
    let coefficients = binary(b, Binary::Add, coefficients, init)?;
    let halves = b.apply_to(Op::Split { axis: 1 }, &[Some(coefficients)], 2)?;
    let second = b.constant(Tensor::vector(vec![1i64]));
    let unsqueezed = b.apply(Op::Unsqueeze, &[x, second])?;
    let product = binary(b, Binary::Mul, unsqueezed, halves[0])?;
    let sum = binary(b, Binary::Add, product, halves[1])?;
    let reduce = Reduce { kind: ReduceKind::Max, keep_dims: false, noop_with_empty_axes: false };
    b.apply(Op::Reduce(reduce), &[sum, second])
}

/// A dynamic ReLU in dyrelu's own operators, as in native files.
fn own_operators(b: &mut Builder, x: ValueId) -> Option<ValueId> {
    let channels = b.shape(x)[1];
    let (k, hidden) = (b.choices.size(1, 4), b.choices.pick(&[4, 1, 3, 9]));
    let keep_dims = b.choices.once_in(2);
    let pooled = context(b, x, keep_dims)?;
    let width = if b.choices.once_in(4) { 1 } else { channels };
    let has_hidden = !b.choices.once_in(4);
    let inner = if has_hidden { hidden } else { channels };
    let mut inputs = vec![Some(pooled), None, None];
    if has_hidden {
        inputs[1] = Some(b.weights(DType::F32, &[hidden, channels], channels));
        inputs[2] =
            Some(b.numbers(DType::F32, &[hidden], -0.5, 0.5)).filter(|_| b.choices.once_in(2));
    }
    inputs.push(Some(b.weights(DType::F32, &[2 * k * width, inner], inner)));
    inputs.push(Some(b.numbers(DType::F32, &[2 * k * width], -0.5, 0.5)));
    let op = Hyperfunction {
        k,
        hidden: b.choices.pick(&[
            HiddenActivation::Relu,
            HiddenActivation::Relu6,
            HiddenActivation::HardSwish,
            HiddenActivation::Gelu,
            HiddenActivation::Swish,
            HiddenActivation::None,
        ]),
        squash: b.choices.pick(&[Squash::Sigmoid, Squash::HardSigmoid, Squash::None]),
        init: (0..2 * k).map(|_| b.choices.number()).collect(),
        lambda: (0..2 * k).map(|_| b.choices.number()).collect(),
    };
    let coefficients = b.apply_to(Op::Hyperfunction(op), &inputs, 1)?[0];
    let mut inputs = vec![x, coefficients];
    if b.choices.once_in(3) {
        let logits = pointwise(b, x, 1)?;
        let tau = b.choices.pick(&[1.0, 10.0]);
        let attention = SpatialAttention { tau, gamma_per_position: 1.0 / 3.0 };
        inputs.push(b.apply(Op::SpatialAttention(attention), &[logits])?);
    }
    b.apply(Op::MaxAffine(MaxAffine { k }), &inputs)
}

fn squeeze_and_excite(b: &mut Builder, x: ValueId) -> Option<ValueId> {
    let channels = b.shape(x)[1];
    let keep_dims = b.choices.once_in(2);
    let pooled = context(b, x, keep_dims)?;
    let hidden = connected(b, pooled, 3)?;
    let hidden = activation(b, hidden)?;
    let gate = connected(b, hidden, channels)?;
    let gate = match b.choices.once_in(2) {
        true => b.apply(Op::Unary(Unary::Sigmoid), &[gate])?,
        false => activation(b, gate)?,
    };
    let gate = reshape(b, gate, &[-1, channels as i64, 1, 1])?;
    binary(b, Binary::Mul, x, gate)
}

/// Adaptively parametric ReLU: `max(x, 0) + slope(x) * min(x, 0)`.
fn two_slopes(b: &mut Builder, x: ValueId) -> Option<ValueId> {
    let channels = b.shape(x)[1];
    let zero = scalar(b, 0.0);
    let positive = b.apply(Op::Unary(Unary::Relu), &[x])?;
    let negative = b.apply(Op::Variadic(Variadic::Min), &[x, zero])?;
    let contexts = [positive, negative].map(|half| context(b, half, false));
    let joined = b.apply(Op::Concat { axis: 1 }, &[contexts[0]?, contexts[1]?])?;
    let hidden = connected(b, joined, channels)?;
    let hidden = b.apply(Op::Unary(Unary::Relu), &[hidden])?;
    let slope = connected(b, hidden, channels)?;
    let slope = b.apply(Op::Unary(Unary::Sigmoid), &[slope])?;
    let slope = reshape(b, slope, &[-1, channels as i64, 1, 1])?;
    let scaled = binary(b, Binary::Mul, negative, slope)?;
    binary(b, Binary::Add, positive, scaled)
}

fn maxout(b: &mut Builder, x: ValueId) -> Option<ValueId> {
    let outputs = width(b);
    let pieces: Option<Vec<_>> = (0..2).map(|_| pointwise(b, x, outputs)).collect();
    b.apply(Op::Variadic(Variadic::Max), &pieces?)
}

/// An inverted residual block. The sum is omitted if the shapes differ.
fn residual(b: &mut Builder, x: ValueId) -> Option<ValueId> {
    let channels = b.shape(x)[1];
    let expanded = width(b);
    let y = pointwise(b, x, expanded)?;
    let y = batch_norm(b, y)?;
    let y = activation(b, y)?;
    let y = match b.choices.once_in(3) {
        true => convolution(b, y)?,
        false => three_by_three(b, y, true)?,
    };
    let y = activation(b, y)?;
    let y = pointwise(b, y, channels)?;
    let y = batch_norm(b, y)?;
    match b.shape(y) == b.shape(x) {
        true => binary(b, Binary::Add, x, y),
        false => Some(y),
    }
}

/// The spatial attention of DY-ReLU-C: a softmax over positions, multiplied by the feature map.
fn attention(b: &mut Builder, x: ValueId) -> Option<ValueId> {
    let shape = b.shape(x);
    let (height, columns) = (shape[2] as i64, shape[3] as i64);
    let logits = pointwise(b, x, 1)?;
    let flat = reshape(b, logits, &[-1, 1, height * columns])?;
    let softmax = b.apply(Op::Softmax(Softmax { axis: -1, flatten: false }), &[flat])?;
    let gamma = scalar(b, (height * columns) as f32 / 3.0);
    let scaled = binary(b, Binary::Mul, softmax, gamma)?;
    let limit = Some(scalar(b, 1.0));
    let capped = b.apply_to(Op::Clip, &[Some(scaled), None, limit], 1)?[0];
    let map = reshape(b, capped, &[-1, 1, height, columns])?;
    binary(b, Binary::Mul, x, map)
}
