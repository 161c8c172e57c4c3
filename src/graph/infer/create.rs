//! Operators that create tensors from sizes and numbers, and those that return sizes.

use super::context::{Answer, Context, Stop};
use super::sizes::{ceil_div, sub};
use crate::error::{Error, Result};
use crate::graph::{Dim, TensorType};
use crate::tensor::{DType, Tensor};

pub(super) fn constant_of_shape(cx: &Context, dtype: DType) -> Answer<TensorType> {
    let dims = match cx.integer_dims(0) {
        Ok(dims) => dims.to_vec(),
        Err(Stop::Unknown) => cx.fresh(cx.length(0)?),
        Err(stop) => return Err(stop),
    };
    Ok(TensorType { dtype, dims })
}

pub(super) fn range(cx: &Context) -> Answer<TensorType> {
    cx.same_types(0..3)?;
    for i in 0..3 {
        if let Ok(dims) = cx.dims(i)
            && dims.iter().any(|dim| dim.as_const().is_some_and(|size| size != 1))
        {
            return Err(Error::shape(format!("input {i} must be a scalar, found {dims:?}")).into());
        }
    }
    let dtype = (0..3).find_map(|i| cx.ty(i).ok()).ok_or(Stop::Unknown)?.dtype;
    let length = match (cx.elements(0), cx.elements(1), cx.elements(2)) {
        (Some([start]), Some([limit]), Some([delta])) => whole_steps(start, limit, delta)?,
        _ => match (0..3).map(|i| number(cx.constant(i)?)).collect::<Option<Vec<f64>>>() {
            Some(numbers) => Some(steps(numbers[0], numbers[1], numbers[2])?),
            None => None,
        },
    };
    Ok(TensorType { dtype, dims: vec![length.unwrap_or_else(|| cx.fresh.dim())] })
}

fn number(tensor: &Tensor) -> Option<f64> {
    tensor.cast(DType::F64).ok()?.as_slice::<f64>().ok()?.first().copied()
}

/// Returns the number of steps of size `delta` from `start` to before `limit`.
fn whole_steps(start: &Dim, limit: &Dim, delta: &Dim) -> Result<Option<Dim>> {
    let (from, to, by) = match delta.as_const() {
        Some(0) => return Err(no_step()),
        Some(by) if by > 0 => (start, limit, by),
        Some(by) => (limit, start, by.saturating_neg()),
        None => return Ok(None),
    };
    Ok(Some(ceil_div(&sub(to, from)?.maximum(&0.into()), by)?))
}

fn steps(start: f64, limit: f64, delta: f64) -> Result<Dim> {
    if delta == 0.0 {
        return Err(no_step());
    }
    let count = ((limit - start) / delta).ceil();
    if count < i64::MAX as f64 {
        return Ok((count.max(0.0) as i64).into());
    }
    Err(Error::shape(format!("a range from {start} to {limit} by {delta} never ends")))
}

fn no_step() -> Error {
    Error::shape("a range needs a delta that is not 0")
}

pub(super) fn shape(cx: &Context, start: i64, end: Option<i64>) -> Answer<TensorType> {
    let length = shape_part(cx.dims(0)?, start, end).len();
    Ok(TensorType { dtype: DType::I64, dims: vec![length.into()] })
}

/// Returns the sizes from `start` to before `end`. Negative bounds count from the end; both are
/// clamped to the number of axes.
pub(super) fn shape_part(dims: &[Dim], start: i64, end: Option<i64>) -> &[Dim] {
    let rank = dims.len() as i64;
    let place = |axis: i64| (if axis < 0 { axis + rank } else { axis }).clamp(0, rank) as usize;
    let (start, end) = (place(start), end.map_or(dims.len(), place));
    &dims[start.min(end)..end]
}
