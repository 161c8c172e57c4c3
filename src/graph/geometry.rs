//! Arithmetic of known sizes, shared by shape inference and by everything that runs a graph.
//!
//! All of it is checked for overflow, because attributes and contents come from files that may be
//! hostile.

mod fraction;
mod interpolation;
mod places;
mod products;
mod resize;
mod samples;
mod windows;

pub(crate) use fraction::Fraction;
pub(crate) use interpolation::taps;
pub(crate) use places::{broadcast_places, strided_places};
pub(crate) use products::{BatchedProduct, ProductSizes, gemm, matmul};
pub(crate) use resize::{ResizeAxis, resize, resized_axes, scaled};
pub(crate) use samples::{AxisTaps, grid_taps, linear_taps};
pub(crate) use windows::{
    WindowAxis, WindowSpec, is_dense_pointwise, transposed_spec, transposed_window,
    transposed_windows, window, windows,
};

use crate::error::{Error, Result};
use crate::graph::Interleave;
use crate::tensor::{DType, num_elements};

/// The size in bytes of the largest tensor that is allocated: far above that of any feature map,
/// and small enough for the allocation to succeed.
const MAX_TENSOR_BYTES: usize = 1 << 33;

/// Returns the number of elements of a tensor of `shape` that is to be allocated.
///
/// # Errors
/// [`Shape`](crate::ErrorKind::Shape) if it is larger than allowed. Axes of size 0 count as 1,
/// because code that loops over the other axes would not end.
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

/// Returns whether all axes of `shape` but the last have size 1. A bias of such a shape is the same
/// for every row of the matrix that it is broadcast to.
pub(crate) fn is_row(shape: &[usize]) -> bool {
    shape.iter().rev().skip(1).all(|&size| size == 1)
}

/// Returns the index of `axis` among `rank` axes; a negative one counts from the end.
pub(crate) fn axis(axis: i64, rank: usize) -> Result<usize> {
    let from_start = if axis < 0 { axis.saturating_add_unsigned(rank as u64) } else { axis };
    usize::try_from(from_start).ok().filter(|&a| a < rank).ok_or_else(|| {
        Error::shape(format!("axis {axis} does not exist: the tensor has {rank} axes"))
    })
}

/// Returns the indices of `axes` among `rank` axes, in the order given.
///
/// # Errors
/// [`Shape`](crate::ErrorKind::Shape) if an axis does not exist or is named twice.
pub(crate) fn axes(axes: &[i64], rank: usize) -> Result<Vec<usize>> {
    let mut seen = vec![false; rank];
    let mut indices = Vec::new();
    for &name in axes {
        let a = axis(name, rank)?;
        if std::mem::replace(&mut seen[a], true) {
            return Err(Error::shape(format!("axis {a} is named twice in {axes:?}")));
        }
        indices.push(a);
    }
    Ok(indices)
}

/// Returns the shape to which all `shapes` broadcast by the rules of numpy, which are ONNX's.
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

/// The entries of one axis that a slice selects: `len` of them, `start`, `start + step` and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SliceAxis {
    /// The first entry; without meaning if `len` is 0.
    pub start: usize,
    /// The distance between entries, which may be negative and is not 0.
    pub step: i64,
    /// The number of entries.
    pub len: usize,
}

/// Resolves a slice of an axis of size `size`, from `start` to before `end`.
///
/// # Errors
/// [`Shape`](crate::ErrorKind::Shape) if the step is 0.
pub(crate) fn slice(size: usize, start: i64, end: i64, step: i64) -> Result<SliceAxis> {
    if step == 0 {
        return Err(Error::shape("a slice needs a step that is not 0"));
    }
    let size = signed(size)?;
    if size == 0 {
        return Ok(SliceAxis { start: 0, step, len: 0 });
    }
    // A slice with a negative step may end one before the first entry.
    let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
    let from_front = |bound: i64| if bound < 0 { bound + size } else { bound };
    let (start, end) = (from_front(start).clamp(0, high), from_front(end).clamp(low, high));
    let span = if step > 0 { end - start } else { start - end };
    let len = if span <= 0 { 0 } else { (span as u64).div_ceil(step.unsigned_abs()) as usize };
    Ok(SliceAxis { start: start as usize, step, len })
}

/// The padding of every axis, and the padded shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Padded {
    /// The entries added before and after every axis; negative numbers remove some.
    pub pads: Vec<(i64, i64)>,
    /// The sizes of the result.
    pub shape: Vec<usize>,
}

/// Resolves the `pads` of `Pad` for the axes that `names` lists, or for all axes.
///
/// # Errors
/// [`Shape`](crate::ErrorKind::Shape) if there are not two for every axis, or if they remove more
/// than there is.
pub(crate) fn pad(shape: &[usize], pads: &[i64], names: Option<&[i64]>) -> Result<Padded> {
    let pads = pads_of_axes(shape.len(), pads, names)?;
    let sizes =
        shape.iter().zip(&pads).map(|(&size, &(before, after))| padded(size, before, after));
    Ok(Padded { shape: sizes.collect::<Result<_>>()?, pads })
}

/// Returns the size of an axis with `before` and `after` added; negative numbers remove entries.
pub(crate) fn padded(size: usize, before: i64, after: i64) -> Result<usize> {
    let kept = signed(size)?.checked_add(before.min(0)).and_then(|n| n.checked_add(after.min(0)));
    let kept = kept.and_then(|n| usize::try_from(n).ok());
    let added = before.max(0).checked_add(after.max(0)).map(|n| n as usize);
    kept.zip(added).and_then(|(kept, added)| kept.checked_add(added)).ok_or_else(|| {
        Error::shape(format!("an axis of size {size} cannot be padded by {before} and {after}"))
    })
}

/// Returns the padding before and after each of `rank` axes, from a list that has all before and
/// then all after.
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

/// Returns the shape that `Reshape` gives a tensor of `shape`.
///
/// # Errors
/// [`Shape`](crate::ErrorKind::Shape) if the numbers of elements differ or if a -1 cannot be
/// resolved.
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

/// Checks the numbers of phases, channels and cropped lines of an interleaving.
///
/// # Errors
/// [`Shape`](crate::ErrorKind::Shape) if they contradict each other.
pub(crate) fn check_interleave(op: &Interleave) -> Result<()> {
    let [rows, columns] = op.steps;
    let has_phases = rows > 0 && rows.checked_mul(columns) == Some(op.phases.len());
    let crops_less = op.crop[0] < rows && op.crop[1] < columns;
    if has_phases && crops_less && op.channels > 0 {
        return Ok(());
    }
    Err(Error::shape(format!(
        "{} phases of {} channels do not form steps of {rows} by {columns} without {:?}",
        op.phases.len(),
        op.channels,
        op.crop
    )))
}

/// Returns the sizes of the parts into which `Split` cuts an axis if it does not state them:
/// `count` equal parts, of which the last may be smaller.
///
/// # Errors
/// [`Shape`](crate::ErrorKind::Shape) if the axis has too few entries for so many parts.
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
