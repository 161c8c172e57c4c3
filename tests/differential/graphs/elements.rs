//! Elementwise operators, and operators that reduce axes.

use dyrelu::graph::*;
use dyrelu::{DType, Tensor};

use super::builder::Builder;

pub fn elementwise(b: &mut Builder) -> Option<ValueId> {
    match b.choices.within(0, 20) {
        0..5 => {
            let x = b.float()?;
            activation(b, x)
        }
        5..9 => binary(b),
        9 => variadic(b),
        10 => clip(b),
        11 => prelu(b),
        12 | 18 => logic(b),
        13 => cast(b),
        14 => {
            let x = b.float()?;
            let axis = axis(b, x)?;
            let softmax = Softmax { axis, flatten: b.choices.once_in(6) };
            let op = match b.choices.once_in(4) {
                true => Op::LogSoftmax(softmax),
                false => Op::Softmax(softmax),
            };
            b.apply(op, &[x])
        }
        15 | 16 => reduce(b),
        19 => {
            let x = b.float()?;
            let axis = axis(b, x)?;
            let axis = b.operand(Tensor::scalar(axis));
            let (exclusive, reverse) = (b.choices.once_in(3), b.choices.once_in(3));
            b.apply(Op::CumSum(CumSum { exclusive, reverse }), &[x, axis])
        }
        20 => gather_elements(b),
        _ => {
            let x = b.value(|t| t.dtype() != DType::Bool)?;
            let axis = axis(b, x)?;
            let (keep_dims, select_last) = (b.choices.once_in(2), b.choices.once_in(4));
            b.apply(Op::ArgMax(ArgMax { axis, keep_dims, select_last }), &[x])
        }
    }
}

/// Reads or writes along an axis at indices that count from both ends.
fn gather_elements(b: &mut Builder) -> Option<ValueId> {
    let x = b.float()?;
    let axis = axis(b, x)?;
    let mut shape = b.shape(x).to_vec();
    let rank = shape.len() as i64;
    let at = axis.rem_euclid(rank) as usize;
    let size = shape[at] as i64;
    if shape.contains(&0) {
        return None;
    }
    shape[at] = b.choices.size(1, 3);
    let count: usize = shape.iter().product();
    if count > 4096 {
        return None;
    }
    let indices = (0..count as i64).map(|i| (i * 7 + 1) % (2 * size) - size).collect::<Vec<i64>>();
    let indices = b.operand(Tensor::new(&shape, indices).ok()?);
    let read = b.apply(Op::GatherElements { axis }, &[x, indices])?;
    if b.choices.once_in(2) {
        return Some(read);
    }
    let reduction = b.choices.pick(&[ScatterReduction::None, ScatterReduction::Max]);
    b.apply(Op::ScatterElements { axis, reduction }, &[x, indices, read])
}

/// Chooses an axis of a value, sometimes counted from the end.
pub fn axis(b: &mut Builder, x: ValueId) -> Option<i64> {
    let rank = b.shape(x).len() as i64;
    if rank == 0 {
        return None;
    }
    let from_end = if b.choices.once_in(3) { rank } else { 0 };
    // Networks mostly name the channel axis.
    let axis = if rank > 1 && b.choices.once_in(2) { 1 } else { b.choices.within(0, rank - 1) };
    Some(axis - from_end)
}

pub fn activation(b: &mut Builder, x: ValueId) -> Option<ValueId> {
    let alpha = b.choices.pick(&[0.1, 0.01, 1.0, 0.5, -0.5, 1.5]);
    let unary = match b.choices.within(0, 43) {
        0..5 => Unary::Relu,
        5 | 6 => Unary::Sigmoid,
        7 | 8 => Unary::HardSigmoid { alpha: b.choices.pick(&[0.2, 1.0 / 6.0, 0.5]), beta: 0.5 },
        9 | 10 => Unary::HardSwish,
        11 | 12 => Unary::Tanh,
        13 | 14 => Unary::LeakyRelu { alpha },
        15 => Unary::Elu { alpha },
        16 => Unary::Celu { alpha: alpha.abs() },
        17 => Unary::Selu { alpha: 1.673, gamma: 1.051 },
        18 => Unary::ThresholdedRelu { alpha },
        19 => Unary::Gelu { tanh: false },
        20 => Unary::Gelu { tanh: true },
        21 | 22 => Unary::Swish { alpha: 1.0 },
        23 => Unary::Swish { alpha },
        24 => Unary::Mish,
        25 => Unary::Softplus,
        26 => Unary::Softsign,
        27 => Unary::Exp,
        28 => Unary::Log,
        29 => Unary::Sqrt,
        30 => Unary::Reciprocal,
        31 => Unary::Neg,
        32 => Unary::Abs,
        33 => Unary::Sign,
        34 => Unary::Floor,
        35 => Unary::Ceil,
        36 => Unary::Round,
        37 => Unary::Erf,
        38 => Unary::Sin,
        39 => Unary::Atan,
        40 => Unary::Asinh,
        41 => Unary::Sinh,
        42 => Unary::Acos,
        _ => Unary::Cos,
    };
    b.apply(Op::Unary(unary), &[x])
}

/// Chooses a shape that broadcasts to `shape`, such as networks use for scales and offsets.
fn broadcastable(b: &mut Builder, shape: &[usize]) -> Vec<usize> {
    let rank = shape.len();
    match b.choices.within(0, 6) {
        0 => Vec::new(),
        1 => vec![1],
        // One element per channel.
        2..5 if rank > 1 => {
            let mut sizes = vec![1; rank - 1];
            sizes[0] = shape[1];
            if b.choices.once_in(4) {
                sizes.insert(0, 1);
            }
            sizes
        }
        5 => shape.to_vec(),
        _ => {
            let from = b.choices.size(0, rank);
            let size = |&size: &usize| if b.choices.once_in(2) { size } else { 1 };
            shape[from..].iter().map(size).collect()
        }
    }
}

/// Chooses a second operand for `x`: `x` itself, a value that broadcasts with it, or a new operand.
fn second_operand(b: &mut Builder, x: ValueId, (low, high): (f32, f32)) -> ValueId {
    let (dtype, shape) = (b.tensor(x).dtype(), b.shape(x));
    if b.choices.once_in(2) {
        let fits = |t: &Tensor| {
            let broadcasts = |(a, b): (&usize, &usize)| a == b || *a == 1 || *b == 1;
            let mut pairs = t.shape().iter().rev().zip(shape.iter().rev());
            t.dtype() == dtype && pairs.all(broadcasts)
        };
        if let Some(value) = b.value(fits) {
            return value;
        }
    }
    let sizes = broadcastable(b, &shape);
    b.numbers(dtype, &sizes, low, high)
}

fn binary(b: &mut Builder) -> Option<ValueId> {
    let x = match b.choices.once_in(5) {
        true => b.value(|t| t.dtype() != DType::Bool)?,
        false => b.float()?,
    };
    let (op, range) = match b.choices.within(0, 15) {
        0..5 => (Binary::Mul, (-2.0, 2.0)),
        5..10 => (Binary::Add, (-2.0, 2.0)),
        10..12 => (Binary::Sub, (-2.0, 2.0)),
        12..14 => (Binary::Div, (0.5, 3.0)),
        14 => (Binary::Pow, (0.0, 3.0)),
        _ => (Binary::Mod { fmod: b.tensor(x).dtype().is_float() }, (1.0, 3.0)),
    };
    let y = second_operand(b, x, range);
    let inputs = if b.choices.once_in(3) { [y, x] } else { [x, y] };
    b.apply(Op::Binary(op), &inputs)
}

fn variadic(b: &mut Builder) -> Option<ValueId> {
    let x = b.value(|t| t.dtype() != DType::Bool)?;
    let mut inputs = vec![x];
    for _ in 0..b.choices.size(0, 3) {
        inputs.push(second_operand(b, x, (-1.0, 1.0)));
    }
    let op = b.choices.pick(&[Variadic::Max, Variadic::Min, Variadic::Sum, Variadic::Mean]);
    b.apply(Op::Variadic(op), &inputs)
}

fn clip(b: &mut Builder) -> Option<ValueId> {
    let x = b.value(|t| t.dtype() != DType::Bool)?;
    let dtype = b.tensor(x).dtype();
    let bound = |b: &mut Builder, values: &[f64]| {
        let value = Tensor::scalar(b.choices.pick(values)).cast(dtype).ok()?;
        Some(b.operand(value))
    };
    let low = if b.choices.once_in(5) { None } else { bound(b, &[0.0, -1.0, 0.5]) };
    let high = if b.choices.once_in(5) { None } else { bound(b, &[6.0, 1.0, 0.25]) };
    b.apply_to(Op::Clip, &[Some(x), low, high], 1).map(|ids| ids[0])
}

fn prelu(b: &mut Builder) -> Option<ValueId> {
    let x = b.float()?;
    let shape = b.shape(x);
    let (dtype, sizes) = (b.tensor(x).dtype(), broadcastable(b, &shape));
    let slope = b.numbers(dtype, &sizes, -0.5, 1.5);
    b.apply(Op::PRelu, &[x, slope])
}

fn logic(b: &mut Builder) -> Option<ValueId> {
    let condition = b.value(|t| t.dtype() == DType::Bool);
    match condition {
        Some(condition) if b.choices.once_in(2) => {
            let x = b.float()?;
            let y = second_operand(b, x, (-1.0, 1.0));
            b.apply(Op::Where, &[condition, x, y])
        }
        Some(condition) if b.choices.once_in(4) => b.apply(Op::Unary(Unary::Not), &[condition]),
        Some(condition) if b.choices.once_in(2) => {
            let other = second_operand(b, condition, (-1.0, 1.0));
            let op = b.choices.pick(&[Binary::And, Binary::Or, Binary::Xor, Binary::Equal]);
            b.apply(Op::Binary(op), &[condition, other])
        }
        _ => {
            let x = b.value(|t| t.dtype() != DType::Bool)?;
            let y = second_operand(b, x, (-1.0, 1.0));
            let op = b.choices.pick(&[
                Binary::Less,
                Binary::Greater,
                Binary::Equal,
                Binary::LessOrEqual,
                Binary::GreaterOrEqual,
            ]);
            b.apply(Op::Binary(op), &[x, y])
        }
    }
}

fn cast(b: &mut Builder) -> Option<ValueId> {
    let x = b.value(|_| true)?;
    let to = match b.tensor(x).dtype() {
        DType::F32 => b.choices.pick(&[
            DType::I64,
            DType::F32,
            DType::I32,
            DType::Bool,
            DType::F16,
            DType::F64,
        ]),
        _ => DType::F32,
    };
    b.apply(Op::Cast { to }, &[x])
}

fn reduce(b: &mut Builder) -> Option<ValueId> {
    let x = match b.choices.once_in(6) {
        true => b.value(|t| t.dtype() != DType::Bool)?,
        false => b.float()?,
    };
    let rank = b.shape(x).len();
    let kind = b.choices.pick(&[
        ReduceKind::Mean,
        ReduceKind::Mean,
        ReduceKind::Sum,
        ReduceKind::Max,
        ReduceKind::Min,
        ReduceKind::Prod,
        ReduceKind::L1,
        ReduceKind::L2,
        ReduceKind::SumSquare,
        ReduceKind::LogSumExp,
    ]);
    let (keep_dims, noop) = (b.choices.once_in(2), b.choices.once_in(6));
    let op = Op::Reduce(Reduce { kind, keep_dims, noop_with_empty_axes: noop });
    let axes: Vec<i64> = match b.choices.within(0, 5) {
        0 => Vec::new(),
        1..4 if rank > 2 => (2..rank as i64).collect(),
        _ => axis(b, x).into_iter().collect(),
    };
    if axes.is_empty() && b.choices.once_in(2) {
        return b.apply(op, &[x]);
    }
    let axes = b.integers(&axes);
    b.apply(op, &[x, axes])
}
