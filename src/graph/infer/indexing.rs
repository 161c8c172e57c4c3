//! Operators that read or write elements at positions that the data gives.

use super::context::{Answer, Context, Stop};
use super::sizes::may_equal;
use crate::error::{Error, Result};
use crate::graph::{Dim, TensorType, TopK, geometry};
use crate::tensor::DType;

fn expect_indices(cx: &Context, i: usize) -> Result<()> {
    cx.expect_type(i, "an integer", |d| matches!(d, DType::I64 | DType::I32))
}

pub(super) fn top_k(cx: &Context, op: &TopK) -> Answer<Vec<TensorType>> {
    let mut ty = cx.ty(0)?.clone();
    let axis = geometry::axis(op.axis, ty.dims.len())?;
    ty.dims[axis] = match cx.integer_dims(1) {
        Ok([k]) => {
            let missing = cx.dims(0)?[axis].checked_sub(k).and_then(|rest| rest.bounds().1);
            if missing.is_some_and(|rest| rest < 0) {
                return Err(Error::shape(format!(
                    "{k} elements cannot be selected along axis {axis} of {:?}",
                    cx.dims(0)?
                ))
                .into());
            }
            k.clone()
        }
        Ok(several) => {
            return Err(Error::shape(format!("k must be one number, found {several:?}")).into());
        }
        Err(Stop::Unknown) => cx.fresh.dim(),
        Err(stop) => return Err(stop),
    };
    let indices = TensorType { dtype: DType::I64, dims: ty.dims.clone() };
    Ok(vec![ty, indices])
}

pub(super) fn cum_sum(cx: &Context) -> Answer<TensorType> {
    cx.expect_type(0, "a number", |d| d != DType::Bool)?;
    let x = cx.ty(0)?;
    if let Ok(axes) = cx.integers(1) {
        let [axis] = axes[..] else {
            return Err(Error::shape(format!("axis must be one number, found {axes:?}")).into());
        };
        geometry::axis(axis, x.dims.len())?;
    }
    Ok(x.clone())
}

/// Checks that indices have as many axes as `x`, and that there is one update per index.
fn check_elements(cx: &Context, axis: i64) -> Answer<()> {
    expect_indices(cx, 1)?;
    let (x, indices) = (cx.dims(0)?, cx.dims(1)?);
    geometry::axis(axis, x.len())?;
    if x.len() != indices.len() {
        return Err(Error::shape(format!(
            "indices of shape {indices:?} must have as many axes as the data {x:?}"
        ))
        .into());
    }
    Ok(())
}

pub(super) fn gather_elements(cx: &Context, axis: i64) -> Answer<TensorType> {
    check_elements(cx, axis)?;
    Ok(TensorType { dtype: cx.ty(0)?.dtype, dims: cx.dims(1)?.to_vec() })
}

/// Checks that the updates have the shape `wanted`, if theirs is known.
fn check_updates(cx: &Context, wanted: &[Dim]) -> Result<()> {
    let Ok(updates) = cx.dims(2) else { return Ok(()) };
    let fits = updates.len() == wanted.len()
        && updates.iter().zip(wanted).all(|(found, wanted)| may_equal(found, wanted));
    if fits {
        return Ok(());
    }
    Err(Error::shape(format!("updates must have shape {wanted:?}, found {updates:?}")))
}

pub(super) fn scatter_elements(cx: &Context, axis: i64) -> Answer<TensorType> {
    cx.same_types([0, 2])?;
    check_elements(cx, axis)?;
    check_updates(cx, cx.dims(1)?)?;
    cx.ty(0).cloned()
}

/// Returns the shape of what indices select from `x`, whose first `batch_dims` axes they share.
fn selected(cx: &Context, batch_dims: usize) -> Answer<Vec<Dim>> {
    expect_indices(cx, 1)?;
    let (x, indices) = (cx.dims(0)?, cx.dims(1)?);
    let misfit =
        || Error::shape(format!("indices of shape {indices:?} select no positions of {x:?}"));
    let (depth, positions) = indices.split_last().ok_or_else(misfit)?;
    let depth = depth.as_size().ok_or(Stop::Unknown)?;
    let first = batch_dims.checked_add(depth).filter(|&n| n <= x.len() && depth > 0);
    let rest = &x[first.ok_or_else(misfit)?..];
    let shared = positions.get(..batch_dims).ok_or_else(misfit)?;
    if shared.iter().zip(x).any(|(a, b)| !may_equal(a, b)) {
        return Err(misfit().into());
    }
    Ok(positions.iter().chain(rest).cloned().collect())
}

pub(super) fn gather_nd(cx: &Context, batch_dims: usize) -> Answer<TensorType> {
    Ok(TensorType { dtype: cx.ty(0)?.dtype, dims: selected(cx, batch_dims)? })
}

pub(super) fn scatter_nd(cx: &Context) -> Answer<TensorType> {
    cx.same_types([0, 2])?;
    match selected(cx, 0) {
        Ok(wanted) => check_updates(cx, &wanted)?,
        Err(Stop::Unknown) => {}
        Err(stop) => return Err(stop),
    }
    cx.ty(0).cloned()
}

pub(super) fn non_zero(cx: &Context) -> Answer<TensorType> {
    // ONNX counts a scalar as a vector of one element.
    let rank = cx.dims(0)?.len().max(1);
    Ok(TensorType { dtype: DType::I64, dims: vec![rank.into(), cx.fresh.dim()] })
}

pub(super) fn non_max_suppression(cx: &Context) -> Answer<TensorType> {
    for i in 0..2 {
        cx.expect_type(i, "floating-point", DType::is_float)?;
    }
    if let (Ok(boxes), Ok(scores)) = (cx.dims(0), cx.dims(1)) {
        let fits = boxes.len() == 3
            && scores.len() == 3
            && may_equal(&boxes[2], &4.into())
            && may_equal(&boxes[0], &scores[0])
            && may_equal(&boxes[1], &scores[2]);
        if !fits {
            return Err(Error::shape(format!(
                "expected boxes [N, boxes, 4] and scores [N, classes, boxes], found {boxes:?} and \
                 {scores:?}"
            ))
            .into());
        }
    }
    Ok(TensorType { dtype: DType::I64, dims: vec![cx.fresh.dim(), 3.into()] })
}
