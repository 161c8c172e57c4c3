//! Operators that join tensors, and those that take parts of them.

use super::context::{Answer, Context, Stop};
use super::sizes::{add, ceil_div, merge, mul, sub};
use crate::error::{Error, Result};
use crate::graph::{Dim, TensorType, geometry};
use crate::tensor::DType;

pub(super) fn concat(cx: &Context, axis: i64) -> Answer<TensorType> {
    let count = cx.node.inputs.len();
    cx.same_types(0..count)?;
    let first = cx.ty(0)?;
    let axis = geometry::axis(axis, first.dims.len())?;
    let mut dims = first.dims.clone();
    for i in 1..count {
        let other = cx.dims(i)?;
        let misfit = || {
            Error::shape(format!(
                "inputs 0 and {i}, of shapes {:?} and {other:?}, cannot be joined along axis \
                 {axis}: all other sizes must be equal",
                first.dims
            ))
        };
        if other.len() != dims.len() {
            return Err(misfit().into());
        }
        for (a, size) in dims.iter_mut().enumerate() {
            *size = match a == axis {
                true => add(size, &other[a])?,
                false => merge(size, &other[a]).ok_or_else(misfit)?,
            };
        }
    }
    Ok(TensorType { dtype: first.dtype, dims })
}

pub(super) fn split(cx: &Context, axis: i64) -> Answer<Vec<TensorType>> {
    let x = cx.ty(0)?;
    let axis = geometry::axis(axis, x.dims.len())?;
    let count = cx.node.outputs.len();
    let size = &x.dims[axis];
    let parts = match cx.has(1) {
        true => match cx.integer_dims(1) {
            Ok(parts) => {
                check_parts(size, parts, count)?;
                parts.to_vec()
            }
            Err(Stop::Unknown) => cx.fresh(count),
            Err(stop) => return Err(stop),
        },
        false => match size.as_size() {
            Some(size) => geometry::equal_parts(size, count)?.into_iter().map(Dim::from).collect(),
            None => {
                let part = ceil_div(size, i64::try_from(count).unwrap_or(i64::MAX))?;
                let others = mul(&part, &(count - 1).into())?;
                let mut parts = vec![part; count];
                parts[count - 1] = sub(size, &others)?;
                parts
            }
        },
    };
    let with = |part: Dim| {
        let mut dims = x.dims.clone();
        dims[axis] = part;
        TensorType { dtype: x.dtype, dims }
    };
    Ok(parts.into_iter().map(with).collect())
}

fn check_parts(size: &Dim, parts: &[Dim], count: usize) -> Result<()> {
    if parts.len() != count {
        return Err(Error::shape(format!(
            "the split {parts:?} has {} parts, but there are {count} outputs",
            parts.len()
        )));
    }
    if parts.iter().any(|part| part.as_const().is_some_and(|n| n < 0)) {
        return Err(Error::shape(format!("the split {parts:?} has a negative part")));
    }
    let total = parts.iter().try_fold(Dim::default(), |sum, part| add(&sum, part))?;
    match merge(&total, size) {
        Some(_) => Ok(()),
        None => Err(Error::shape(format!(
            "the parts {parts:?} add up to {total}, the axis has size {size}"
        ))),
    }
}

/// The bounds and steps of a slice, as far as they are known; one of each per axis in `axes`.
pub(super) struct SliceBounds<'a> {
    pub axes: Vec<usize>,
    pub starts: Option<&'a [Dim]>,
    pub ends: Option<&'a [Dim]>,
    pub steps: Option<Vec<i64>>,
}

impl<'a> SliceBounds<'a> {
    /// Reads the inputs of a slice of a tensor with `rank` axes.
    pub fn read(cx: &Context<'a>, rank: usize) -> Answer<Self> {
        let known = |i| match cx.integer_dims(i) {
            Ok(dims) => Ok(Some(dims)),
            Err(Stop::Unknown) => Ok(None),
            Err(stop) => Err(stop),
        };
        let (starts, ends) = (known(1)?, known(2)?);
        let count = match starts.or(ends) {
            Some(dims) => Ok(dims.len()),
            None => cx.length(1),
        };
        let axes = match cx.has(3) {
            true => geometry::axes(&cx.integers(3)?, rank)?,
            false => {
                let count = count?;
                if count > rank {
                    return Err(Error::shape(format!(
                        "a slice of {count} axes needs a tensor with as many, found {rank}"
                    ))
                    .into());
                }
                (0..count).collect()
            }
        };
        let steps = match cx.has(4) {
            true => match cx.integers(4) {
                Ok(steps) => Some(steps),
                Err(Stop::Unknown) => None,
                Err(stop) => return Err(stop),
            },
            false => Some(vec![1; axes.len()]),
        };
        let lengths =
            [starts.map(<[Dim]>::len), ends.map(<[Dim]>::len), steps.as_ref().map(Vec::len)];
        if let Some(length) = lengths.into_iter().flatten().find(|n| *n != axes.len()) {
            return Err(Error::shape(format!(
                "starts, ends, axes and steps must have the same length, found {length} and {}",
                axes.len()
            ))
            .into());
        }
        Ok(SliceBounds { axes, starts, ends, steps })
    }
}

pub(super) fn slice(cx: &Context) -> Answer<TensorType> {
    let x = cx.ty(0)?;
    let mut dims = x.dims.clone();
    let bounds = match SliceBounds::read(cx, dims.len()) {
        Ok(bounds) => bounds,
        // It is unknown which axes are cut.
        Err(Stop::Unknown) => {
            return Ok(TensorType { dtype: x.dtype, dims: cx.fresh(dims.len()) });
        }
        Err(stop) => return Err(stop),
    };
    for (i, &axis) in bounds.axes.iter().enumerate() {
        let entry = |list: Option<&'_ [Dim]>| list.map(|list| list[i].clone());
        let step = bounds.steps.as_ref().map(|steps| steps[i]);
        let length = match (entry(bounds.starts), entry(bounds.ends), step) {
            (_, _, Some(0)) => {
                return Err(Error::shape("a slice needs a step that is not 0").into());
            }
            (Some(start), Some(end), Some(step)) => sliced(&dims[axis], &start, &end, step)?,
            _ => None,
        };
        dims[axis] = length.unwrap_or_else(|| cx.fresh.dim());
    }
    Ok(TensorType { dtype: x.dtype, dims })
}

/// Returns the number of entries that a slice selects from an axis, or `None` if it is unknown from
/// which end a bound counts.
fn sliced(size: &Dim, start: &Dim, end: &Dim, step: i64) -> Result<Option<Dim>> {
    if let (Some(size), Some(start), Some(end)) = (size.as_size(), start.as_const(), end.as_const())
    {
        return Ok(Some(geometry::slice(size, start, end, step)?.len.into()));
    }
    let (Some(start), Some(end)) = (counted(start, size)?, counted(end, size)?) else {
        return Ok(None);
    };
    // A slice with a negative step may end one before the first entry.
    let (from, to, first, last) = match step > 0 {
        true => (start, end, 0, size.clone()),
        false => (end, start, -1, sub(size, &1.into())?),
    };
    let to = match to {
        Counted::Front(bound) => bound.minimum(&last),
        Counted::Back(bound) => bound.maximum(&0.into()),
        Counted::Start => 0.into(),
        Counted::End => last.clone(),
    };
    let span = match from {
        // A bound beyond the last entry makes the span negative, which becomes 0 below.
        Counted::Front(bound) => sub(&to, &bound)?,
        Counted::Back(bound) => sub(&to, &bound)?.minimum(&sub(&to, &first.into())?),
        Counted::Start => sub(&to, &first.into())?,
        Counted::End => sub(&to, &last)?,
    };
    let span = span.maximum(&0.into());
    let by = i64::try_from(step.unsigned_abs()).unwrap_or(i64::MAX);
    Ok(Some(ceil_div(&span, by).unwrap_or_else(|_| span.minimum(&1.into()))))
}

/// A bound of a slice, resolved by the end of the axis from which it counts.
enum Counted {
    /// Counted from the first entry; not negative.
    Front(Dim),
    /// Counted from the last entry, with the size of the axis added.
    Back(Dim),
    /// Before the first entry of an axis of any size.
    Start,
    /// After the last entry of an axis of any size.
    End,
}

fn counted(bound: &Dim, size: &Dim) -> Result<Option<Counted>> {
    /// Bounds of at least this number mean the end of the axis.
    const ENDLESS: i64 = i32::MAX as i64;
    Ok(match bound.bounds() {
        (Some(least), _) if least >= ENDLESS => Some(Counted::End),
        (_, Some(most)) if most <= -ENDLESS => Some(Counted::Start),
        (Some(least), _) if least >= 0 => Some(Counted::Front(bound.clone())),
        (_, Some(most)) if most < 0 => Some(Counted::Back(add(bound, size)?)),
        _ => None,
    })
}

pub(super) fn gather(cx: &Context, axis: i64) -> Answer<TensorType> {
    cx.expect_type(1, "an integer", |d| matches!(d, DType::I64 | DType::I32))?;
    let (x, indices) = (cx.ty(0)?, cx.dims(1)?);
    let axis = geometry::axis(axis, x.dims.len())?;
    if let (Some(size), Some(entries)) = (x.dims[axis].as_const(), cx.elements(1)) {
        let outside = |entry: &i64| !(-size..size).contains(entry);
        if let Some(entry) = entries.iter().filter_map(Dim::as_const).find(outside) {
            return Err(Error::shape(format!(
                "index {entry} does not exist: axis {axis} of {:?} has {size} entries",
                x.dims
            ))
            .into());
        }
    }
    let mut dims = x.dims[..axis].to_vec();
    dims.extend_from_slice(indices);
    dims.extend_from_slice(&x.dims[axis + 1..]);
    Ok(TensorType { dtype: x.dtype, dims })
}
