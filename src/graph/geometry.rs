//! The arithmetic of sizes that shape inference and every executor share, on sizes that are known.
//!
//! All of it is checked: attributes and contents come from files that may be hostile.

mod fraction;
mod resize;
mod windows;

pub(crate) use fraction::Fraction;
pub(crate) use resize::{ResizeAxis, resize, resized_axes, scaled};
pub(crate) use windows::{
    WindowAxis, WindowSpec, is_dense_pointwise, transposed_spec, transposed_window,
    transposed_windows, window, windows,
};

use crate::error::{Error, Result};
use crate::tensor::{DType, num_elements};

/// The largest tensor that is made, in bytes: far above any feature map, far below what would
/// bring the process down by its mere allocation.
const MAX_TENSOR_BYTES: usize = 1 << 33;

/// The number of elements of a tensor that is about to be made.
///
/// # Errors
/// `Shape` where it would be too large to make. An axis of size 0 is no excuse for others of any
/// size: whoever goes through them one by one would not come to an end.
pub(crate) fn element_count(shape: &[usize], dtype: DType) -> Result<usize> {
    let filled: Vec<usize> = shape.iter().map(|&size| size.max(1)).collect();
    num_elements(&filled)
        .filter(|n| n.checked_mul(dtype.size()).is_some_and(|bytes| bytes <= MAX_TENSOR_BYTES))
        .map(|n| if shape.contains(&0) { 0 } else { n })
        .ok_or_else(|| {
            Error::shape(format!(
                "a {dtype} tensor of shape {shape:?} is larger than the {} GiB that are allowed",
                MAX_TENSOR_BYTES >> 30
            ))
        })
}

/// Whether all elements of `shape` lie along its last axis: whether a bias that is broadcast to a
/// matrix is the same for every row.
pub(crate) fn is_row(shape: &[usize]) -> bool {
    shape.iter().rev().skip(1).all(|&size| size == 1)
}

/// The axis that `axis` names among `rank` axes; negative ones count from the end.
pub(crate) fn axis(axis: i64, rank: usize) -> Result<usize> {
    let from_start = if axis < 0 { axis.saturating_add_unsigned(rank as u64) } else { axis };
    usize::try_from(from_start).ok().filter(|&a| a < rank).ok_or_else(|| {
        Error::shape(format!("axis {axis} does not exist: the tensor has {rank} axes"))
    })
}

/// The axes that `axes` names among `rank`, in the order given.
///
/// # Errors
/// `Shape` where one does not exist or is named twice.
pub(crate) fn axes(axes: &[i64], rank: usize) -> Result<Vec<usize>> {
    let mut seen = vec![false; rank];
    let mut found = Vec::new();
    for &name in axes {
        let a = axis(name, rank)?;
        if std::mem::replace(&mut seen[a], true) {
            return Err(Error::shape(format!("axis {a} is named twice in {axes:?}")));
        }
        found.push(a);
    }
    Ok(found)
}

/// The shape to which all `shapes` broadcast by ONNX's (numpy's) rules.
pub(crate) fn broadcast(shapes: &[&[usize]]) -> Result<Vec<usize>> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut result = vec![1; rank];
    for shape in shapes {
        let offset = rank - shape.len();
        for (size, &other) in result[offset..].iter_mut().zip(*shape) {
            match (*size, other) {
                (a, b) if a == b || b == 1 => {}
                (1, b) => *size = b,
                (a, b) => {
                    return Err(Error::shape(format!(
                        "shapes {shapes:?} do not broadcast: sizes {a} and {b} meet, and neither \
                         is 1"
                    )));
                }
            }
        }
    }
    Ok(result)
}

fn too_large(what: &str) -> Error {
    Error::shape(format!("{what} is too large to be counted"))
}

fn signed(size: usize) -> Result<i64> {
    i64::try_from(size).map_err(|_| too_large("the size"))
}

/// The part of one axis that a slice takes: elements `start`, `start + step`, ... `len` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SliceAxis {
    /// The first element; meaningless where `len` is 0.
    pub start: usize,
    /// The distance, perhaps negative, never zero.
    pub step: i64,
    /// How many.
    pub len: usize,
}

/// The elements of an axis of size `size` from `start` to before `end`.
///
/// # Errors
/// `Shape` where the step is zero.
pub(crate) fn slice(size: usize, start: i64, end: i64, step: i64) -> Result<SliceAxis> {
    if step == 0 {
        return Err(Error::shape("a slice needs a step that is not 0"));
    }
    let size = signed(size)?;
    if size == 0 {
        return Ok(SliceAxis { start: 0, step, len: 0 });
    }
    // Going backward, one before the first element is a possible end.
    let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
    let from_front = |bound: i64| if bound < 0 { bound + size } else { bound };
    let (start, end) = (from_front(start).clamp(0, high), from_front(end).clamp(low, high));
    let span = if step > 0 { end - start } else { start - end };
    let len = if span <= 0 { 0 } else { (span as u64).div_ceil(step.unsigned_abs()) as usize };
    Ok(SliceAxis { start: start as usize, step, len })
}

/// The elements before and after every axis that `Pad` adds, or takes where negative, and the
/// padded shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Padded {
    /// (before, after) for every axis.
    pub pads: Vec<(i64, i64)>,
    /// The sizes of the result.
    pub shape: Vec<usize>,
}

/// Resolves the `pads` of `Pad`, which belong to `axes` or to all.
///
/// # Errors
/// `Shape` where there are not two for every axis, or more is taken than is there.
pub(crate) fn pad(shape: &[usize], pads: &[i64], names: Option<&[i64]>) -> Result<Padded> {
    let pads = pads_of_axes(shape.len(), pads, names)?;
    let sizes =
        shape.iter().zip(&pads).map(|(&size, &(before, after))| padded(size, before, after));
    Ok(Padded { shape: sizes.collect::<Result<_>>()?, pads })
}

/// The size of an axis after `before` and `after` are added, or taken where negative.
pub(crate) fn padded(size: usize, before: i64, after: i64) -> Result<usize> {
    let kept = signed(size)?.checked_add(before.min(0)).and_then(|n| n.checked_add(after.min(0)));
    let kept = kept.and_then(|n| usize::try_from(n).ok());
    let added = before.max(0).checked_add(after.max(0)).map(|n| n as usize);
    kept.zip(added).and_then(|(kept, added)| kept.checked_add(added)).ok_or_else(|| {
        Error::shape(format!("an axis of size {size} cannot take padding {before} + {after}"))
    })
}

/// The (before, after) of each of `rank` axes, from a list of all before and then all after.
pub(crate) fn pads_of_axes<T: Clone + From<i64>>(
    rank: usize,
    pads: &[T],
    names: Option<&[i64]>,
) -> Result<Vec<(T, T)>> {
    let chosen = match names {
        Some(names) => axes(names, rank)?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * chosen.len() {
        return Err(Error::shape(format!(
            "expected {} pads, two for each of {} axes, found {}",
            2 * chosen.len(),
            chosen.len(),
            pads.len()
        )));
    }
    let mut result = vec![(T::from(0), T::from(0)); rank];
    for (i, &axis) in chosen.iter().enumerate() {
        result[axis] = (pads[i].clone(), pads[chosen.len() + i].clone());
    }
    Ok(result)
}

/// The sizes that `Reshape` gives a tensor of `shape`.
///
/// # Errors
/// `Shape` where the numbers of elements differ or the -1 cannot be resolved.
pub(crate) fn reshape(shape: &[usize], wanted: &[i64], allow_zero: bool) -> Result<Vec<usize>> {
    let misfit = || Error::shape(format!("shape {shape:?} cannot be viewed as {wanted:?}"));
    let mut sizes = Vec::new();
    let mut free = None;
    for (i, &size) in wanted.iter().enumerate() {
        match size {
            -1 if free.is_some() => {
                return Err(Error::shape(format!("the shape {wanted:?} has more than one -1")));
            }
            -1 => {
                free = Some(i);
                sizes.push(1);
            }
            0 if !allow_zero => sizes.push(*shape.get(i).ok_or_else(misfit)?),
            size => sizes.push(usize::try_from(size).map_err(|_| misfit())?),
        }
    }
    let (total, rest) = (num_elements(shape), num_elements(&sizes));
    let (total, rest) = (total.ok_or_else(misfit)?, rest.ok_or_else(misfit)?);
    match free {
        Some(i) if rest > 0 && total % rest == 0 => sizes[i] = total / rest,
        None if total == rest => {}
        _ => return Err(misfit()),
    }
    Ok(sizes)
}

/// The sizes of the `count` parts into which an axis of size `size` is cut when none are given:
/// equal, the last perhaps smaller.
///
/// # Errors
/// `Shape` where there are not enough elements for that many parts.
pub(crate) fn equal_parts(size: usize, count: usize) -> Result<Vec<usize>> {
    let part = size.div_ceil(count.max(1));
    match part.checked_mul(count.saturating_sub(1)).and_then(|n| size.checked_sub(n)) {
        Some(last) if count > 0 => {
            let mut parts = vec![part; count];
            parts[count - 1] = last;
            Ok(parts)
        }
        _ => Err(Error::shape(format!("an axis of size {size} cannot be cut into {count} parts"))),
    }
}

#[cfg(test)]
mod tests;
