//! Normalisation over channels or axes, and softmax.

use super::context::{Answer, Context};
use super::sizes::broadcasts_to;
use crate::error::{Error, Result};
use crate::graph::{Dim, Lrn, Softmax, TensorType, geometry};
use crate::tensor::DType;

pub(super) fn batch(cx: &Context) -> Answer<TensorType> {
    let x = feature_map(cx, 1)?;
    // A tensor with one axis is a batch of images with one channel.
    let channels = x.dims.get(1).cloned().unwrap_or(1.into());
    for (i, what) in ["the scale", "the bias", "the mean", "the variance"].into_iter().enumerate() {
        cx.expect_vector(i + 1, what, &channels)?;
    }
    Ok(x.clone())
}

pub(super) fn instance(cx: &Context) -> Answer<TensorType> {
    let x = feature_map(cx, 3)?;
    scale_and_bias(cx, &x.dims[1])?;
    Ok(x.clone())
}

pub(super) fn group(cx: &Context, groups: usize) -> Answer<TensorType> {
    let x = feature_map(cx, 2)?;
    let channels = &x.dims[1];
    if groups == 0 || channels.as_size().is_some_and(|c| c % groups != 0) {
        return Err(Error::shape(format!("{channels} channels cannot form {groups} groups")).into());
    }
    scale_and_bias(cx, channels)?;
    Ok(x.clone())
}

pub(super) fn local_response(cx: &Context, op: &Lrn) -> Answer<TensorType> {
    if op.size == 0 {
        return Err(Error::shape("a normalisation over 0 channels").into());
    }
    Ok(feature_map(cx, 2)?.clone())
}

pub(super) fn coefficients(cx: &Context, groups: usize) -> Answer<TensorType> {
    let x = group(cx, groups)?;
    let dims = vec![x.dims[0].clone(), 2.into(), x.dims[1].clone()];
    Ok(TensorType { dtype: x.dtype, dims })
}

pub(super) fn layer(cx: &Context, axis: i64) -> Answer<TensorType> {
    let x = feature_map(cx, 1)?;
    let axis = geometry::axis(axis, x.dims.len())?;
    for (i, what) in [(1, "the scale"), (2, "the bias")] {
        if let Ok(dims) = cx.dims(i) {
            broadcasts_to(what, dims, &x.dims[axis..])?;
        }
    }
    Ok(x.clone())
}

pub(super) fn softmax(cx: &Context, op: &Softmax) -> Answer<TensorType> {
    let x = feature_map(cx, 0)?;
    let rank = x.dims.len();
    // If axes are flattened, there may be none to normalise: `axis` may be the number of axes.
    if !(op.flatten && usize::try_from(op.axis) == Ok(rank)) {
        geometry::axis(op.axis, rank)?;
    }
    Ok(x.clone())
}

/// Returns the type of input 0, and checks that it has floating-point elements and at least `rank`
/// axes.
fn feature_map<'a>(cx: &Context<'a>, rank: usize) -> Answer<&'a TensorType> {
    cx.expect_type(0, "floating-point", DType::is_float)?;
    let x = cx.ty(0)?;
    if x.dims.len() < rank {
        return Err(Error::shape(format!(
            "expected an input with {rank} or more axes, found {:?}",
            x.dims
        ))
        .into());
    }
    Ok(x)
}

fn scale_and_bias(cx: &Context, channels: &Dim) -> Result<()> {
    cx.expect_vector(1, "the scale", channels)?;
    cx.expect_vector(2, "the bias", channels)
}
