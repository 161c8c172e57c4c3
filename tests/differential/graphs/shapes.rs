//! Operators that move elements, and operators on shapes.

use dyrelu::graph::*;
use dyrelu::{DType, Tensor};

use super::builder::Builder;
use super::elements::axis;

pub fn movement(b: &mut Builder) -> Option<ValueId> {
    match b.choices.within(0, 22) {
        0..3 => reshape(b),
        3..5 => transpose(b),
        5..7 => concat(b),
        7..9 => split(b),
        9..11 => slice(b),
        11 => gather(b),
        12 => {
            let x = b.value(|_| true)?;
            let axis = b.choices.size(0, b.shape(x).len()) as i64;
            b.apply(Op::Flatten { axis }, &[x])
        }
        13 => {
            let x = b.value(|t| t.shape().contains(&1))?;
            let shape = b.shape(x);
            let mut axes: Vec<i64> = (0..shape.len() as i64).collect();
            axes.retain(|&axis| shape[axis as usize] == 1 && !b.choices.once_in(3));
            if axes.is_empty() {
                return b.apply(Op::Squeeze, &[x]);
            }
            let axes = b.integers(&axes);
            b.apply(Op::Squeeze, &[x, axes])
        }
        14 => {
            let x = b.value(|_| true)?;
            let rank = b.shape(x).len() as i64;
            let mut axes = vec![b.choices.within(0, rank)];
            if b.choices.once_in(3) {
                axes.push(-1);
            }
            let axes = b.integers(&axes);
            b.apply(Op::Unsqueeze, &[x, axes])
        }
        15 => expand(b),
        16 => tile(b),
        17 | 18 => pad(b),
        19 => {
            let x = b.value(|_| true)?;
            let op = b.choices.pick(&[Op::Identity, Op::Dropout, Op::Size]);
            b.apply(op, &[x])
        }
        20 => {
            let x = b.value(|_| true)?;
            let start = b.choices.pick(&[0, 1, -2]);
            let end = b.choices.pick(&[None, Some(2), Some(-1)]);
            b.apply(Op::Shape { start, end }, &[x])
        }
        21 => {
            let (first, step) = (b.choices.within(-3, 3), b.choices.pick(&[1, 2, -1]));
            let ends = [first, first + step * b.choices.within(0, 6), step];
            let ends = ends.map(|end| b.operand(Tensor::scalar(end)));
            b.apply(Op::Range, &ends)
        }
        _ => filled(b),
    }
}

/// Fills a tensor whose shape is computed from the shape of another.
fn filled(b: &mut Builder) -> Option<ValueId> {
    let x = b.value(|t| !t.shape().is_empty())?;
    let shape = b.apply(Op::Shape { start: 0, end: None }, &[x])?;
    let value = Scalar { dtype: DType::F32, value: 0.5 };
    let filled = b.apply(Op::ConstantOfShape { value }, &[shape])?;
    match b.tensor(x).dtype() {
        DType::F32 => b.apply(Op::Binary(Binary::Add), &[x, filled]),
        _ => Some(filled),
    }
}

fn reshape(b: &mut Builder) -> Option<ValueId> {
    let x = b.value(|t| !t.shape().is_empty())?;
    let shape = b.shape(x);
    let mut goal: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
    match b.choices.within(0, 4) {
        // Two axes become one.
        0 | 1 if goal.len() > 1 => {
            let at = b.choices.size(0, goal.len() - 2);
            let size = goal.remove(at + 1);
            goal[at] *= size;
        }
        // One axis becomes two.
        2 | 3 => {
            let at = b.choices.size(0, goal.len() - 1);
            let by = b.choices.pick(&[2, 3, 1, 4]);
            if goal[at] % by == 0 {
                goal[at] /= by;
                goal.insert(if b.choices.once_in(2) { at } else { at + 1 }, by);
            }
        }
        _ => goal = vec![goal.iter().product()],
    }
    // In Reshape, -1 stands for the remaining size and 0 for the size of the input.
    if b.choices.once_in(2) {
        let at = b.choices.size(0, goal.len() - 1);
        goal[at] = -1;
    }
    if goal[0] == shape[0] as i64 && b.choices.once_in(3) {
        goal[0] = 0;
    }
    let allow_zero = shape.contains(&0) && b.choices.once_in(2);
    let goal = b.integers(&goal);
    b.apply(Op::Reshape { allow_zero }, &[x, goal])
}

fn transpose(b: &mut Builder) -> Option<ValueId> {
    let x = b.value(|t| t.shape().len() > 1)?;
    let rank = b.shape(x).len();
    let mut perm: Vec<usize> = (0..rank).collect();
    match b.choices.within(0, 3) {
        0 => perm.clear(),
        // To NHWC, and back to NCHW.
        1 => perm[1..].rotate_left(1),
        2 => perm[1..].rotate_right(1),
        _ => {
            for i in 1..rank {
                let j = b.choices.size(0, i);
                perm.swap(i, j);
            }
        }
    }
    b.apply(Op::Transpose { perm }, &[x])
}

fn concat(b: &mut Builder) -> Option<ValueId> {
    let x = b.value(|t| !t.shape().is_empty())?;
    let (dtype, shape) = (b.tensor(x).dtype(), b.shape(x));
    let axis = axis(b, x)?;
    let at = axis.rem_euclid(shape.len() as i64) as usize;
    let mut parts = vec![x];
    for _ in 0..b.choices.size(1, 2) {
        let fits = |t: &Tensor| {
            t.dtype() == dtype
                && t.shape().len() == shape.len()
                && (0..shape.len()).all(|i| i == at || t.shape()[i] == shape[i])
        };
        let part = match b.choices.once_in(5) {
            true => b.numbers(dtype, &shape, -1.0, 1.0),
            false => b.value(fits)?,
        };
        parts.push(part);
    }
    b.apply(Op::Concat { axis }, &parts)
}

fn split(b: &mut Builder) -> Option<ValueId> {
    let x = b.value(|t| !t.shape().is_empty())?;
    let axis = axis(b, x)?;
    let shape = b.shape(x);
    let size = shape[axis.rem_euclid(shape.len() as i64) as usize];
    let parts = b.choices.pick(&[2, 1, 3, 4]);
    if b.choices.once_in(2) {
        return b.apply_to(Op::Split { axis }, &[Some(x)], parts).map(|ids| ids[0]);
    }
    let mut lengths = vec![0i64; parts];
    for _ in 0..size {
        lengths[b.choices.size(0, parts - 1)] += 1;
    }
    let lengths = b.integers(&lengths);
    b.apply_to(Op::Split { axis }, &[Some(x), Some(lengths)], parts).map(|ids| ids[0])
}

fn slice(b: &mut Builder) -> Option<ValueId> {
    let x = b.value(|t| !t.shape().is_empty())?;
    let axis = axis(b, x)?;
    let shape = b.shape(x);
    let size = shape[axis.rem_euclid(shape.len() as i64) as usize] as i64;
    let step = b.choices.pick(&[1, 1, 1, 2, -1, 3]);
    let (mut start, mut end) = (b.choices.within(0, size / 2), b.choices.within(size / 2, size));
    if b.choices.once_in(5) {
        end = i64::MAX;
    }
    if b.choices.once_in(5) {
        start -= size;
    }
    if step < 0 {
        (start, end) = (end, if b.choices.once_in(2) { i64::MIN } else { start });
    }
    let inputs = [&[start], &[end], &[axis], &[step]].map(|list| b.integers(list));
    b.apply(Op::Slice, &[x, inputs[0], inputs[1], inputs[2], inputs[3]])
}

fn gather(b: &mut Builder) -> Option<ValueId> {
    let x = b.value(|t| !t.shape().is_empty())?;
    let axis = axis(b, x)?;
    let shape = b.shape(x);
    let size = shape[axis.rem_euclid(shape.len() as i64) as usize] as i64;
    if size == 0 {
        return None;
    }
    let index = b.choices.within(-1, size - 1);
    let indices = match b.choices.within(0, 3) {
        0 => b.operand(Tensor::scalar(index)),
        1 => b.integers(&[index]),
        // All indices in another order.
        2 => b.integers(&(0..size).map(|i| (i * 2 + 1) % size).collect::<Vec<_>>()),
        _ => b.operand(Tensor::new(&[2, 1], vec![index, 0]).ok()?),
    };
    b.apply(Op::Gather { axis }, &[x, indices])
}

fn expand(b: &mut Builder) -> Option<ValueId> {
    let x = b.value(|_| true)?;
    let mut goal: Vec<i64> = Vec::new();
    for size in b.shape(x) {
        let grown = if size == 1 { b.choices.pick(&[3, 1, 2]) } else { size as i64 };
        goal.push(if b.choices.once_in(4) { 1 } else { grown });
    }
    if b.choices.once_in(3) {
        goal.insert(0, b.choices.within(1, 3));
    }
    let goal = b.integers(&goal);
    b.apply(Op::Expand, &[x, goal])
}

fn tile(b: &mut Builder) -> Option<ValueId> {
    let x = b.value(|_| true)?;
    let rank = b.shape(x).len();
    let repeats: Vec<i64> = (0..rank).map(|_| b.choices.pick(&[1, 1, 2, 3, 1])).collect();
    let repeats = b.integers(&repeats);
    b.apply(Op::Tile, &[x, repeats])
}

fn pad(b: &mut Builder) -> Option<ValueId> {
    let x = b.value(|t| t.dtype() != DType::Bool && !t.shape().is_empty())?;
    let (dtype, rank) = (b.tensor(x).dtype(), b.shape(x).len());
    let mode = b.choices.pick(&[
        PadMode::Constant,
        PadMode::Constant,
        PadMode::Reflect,
        PadMode::Edge,
        PadMode::Wrap,
    ]);
    let spatial = rank > 2 && !b.choices.once_in(4);
    let mut pads = vec![0i64; 2 * rank];
    for (i, pad) in pads.iter_mut().enumerate() {
        if !spatial || i % rank >= 2 {
            let low = if b.choices.once_in(5) { -1 } else { 0 };
            *pad = b.choices.within(low, 2);
        }
    }
    let mut inputs = vec![x, b.integers(&pads)];
    if mode == PadMode::Constant && b.choices.once_in(2) {
        let value = Tensor::scalar(b.choices.number()).cast(dtype).ok()?;
        inputs.push(b.operand(value));
    }
    b.apply(Op::Pad { mode }, &inputs)
}
