//! Dynamic activations.

use super::context::{Answer, Context};
use super::sizes::may_equal;
use crate::error::{Error, Result};
use crate::graph::{Dim, Hyperfunction, MaxAffine, ShiftMax, TensorType};
use crate::tensor::DType;

pub(super) fn hyperfunction(cx: &Context, op: &Hyperfunction) -> Answer<TensorType> {
    cx.same_types(0..5)?;
    cx.expect_type(0, "floating-point", DType::is_float)?;
    let context = cx.ty(0)?;
    let [batch, channels, rest @ ..] = context.dims.as_slice() else {
        return Err(misfit("the context", "[N, C]", &context.dims).into());
    };
    if rest.iter().any(|dim| !may_equal(dim, &1.into())) {
        return Err(misfit("the context", "[N, C] or [N, C, 1, 1]", &context.dims).into());
    }

    let hidden = match cx.has(1) {
        true => {
            let (hidden, inputs) = matrix(cx, 1, "the weight of FC1")?;
            check(inputs, channels, "FC1", "the context")?;
            hidden
        }
        false => channels,
    };
    cx.expect_vector(2, "the bias of FC1", hidden)?;
    let (rows, inputs) = matrix(cx, 3, "the weight of FC2")?;
    check(inputs, hidden, "FC2", if cx.has(1) { "the hidden layer" } else { "the context" })?;
    cx.expect_vector(4, "the bias of FC2", rows)?;

    let coefficients = Dim::from(op.k).checked_mul(&2.into());
    let coefficients = coefficients.ok_or_else(|| Error::shape("K is too large"))?;
    let per_coefficient = match rows.div_exact(&coefficients) {
        Some(quotient) => quotient,
        // A run checks whether it divides a free size.
        None if rows.as_const().is_none() => rows.floor_div(&coefficients),
        None => {
            return Err(Error::shape(format!(
                "FC2 has {rows} rows, which are not a multiple of 2K = {coefficients}"
            ))
            .into());
        }
    };
    Ok(TensorType {
        dtype: context.dtype,
        dims: vec![batch.clone(), coefficients, per_coefficient],
    })
}

/// The rule of an activation of `x [N,C,..]` with coefficients `[N or 1, rows, C or 1]`.
pub(super) fn per_channel(cx: &Context, rows: Dim) -> Answer<TensorType> {
    cx.same_types(0..3)?;
    cx.expect_type(0, "floating-point", DType::is_float)?;
    let x = cx.ty(0)?;
    let [batch, channels, ..] = x.dims.as_slice() else {
        return Err(misfit("x", "[N, C, ...]", &x.dims).into());
    };
    let one = Dim::from(1);
    if let Ok(found) = cx.dims(1) {
        let fits = match found {
            [n, j, c] => {
                (may_equal(n, batch) || *n == one)
                    && may_equal(j, &rows)
                    && (may_equal(c, channels) || *c == one)
            }
            _ => false,
        };
        if !fits {
            let wanted = format!("[{batch} or 1, {rows}, {channels} or 1]");
            return Err(misfit("the coefficients", &wanted, found).into());
        }
    }
    Ok(x.clone())
}

pub(super) fn shift_max(cx: &Context, op: &ShiftMax) -> Answer<TensorType> {
    let ty = per_channel(cx, Dim::from(op.k.saturating_mul(2)))?;
    let channels = &ty.dims[1];
    let known = channels.as_size().unwrap_or(op.source.len());
    if known != op.source.len() || op.source.iter().any(|&source| source >= known) {
        let found = op.source.len();
        let message = format!("x has {channels} channels, the {found} sources are for others");
        return Err(Error::shape(message).into());
    }
    Ok(ty)
}

pub(super) fn max_affine(cx: &Context, op: &MaxAffine) -> Answer<TensorType> {
    let x = per_channel(cx, Dim::from(op.k).checked_mul(&2.into()).unwrap_or_default())?;
    let [batch, _, positions @ ..] = x.dims.as_slice() else { return Ok(x) };
    let one = Dim::from(1);
    if let Ok(pi) = cx.dims(2) {
        let wanted: Vec<Dim> = [batch, &one].into_iter().chain(positions).cloned().collect();
        if pi.len() != wanted.len() || !pi.iter().zip(&wanted).all(|(a, b)| may_equal(a, b)) {
            return Err(misfit("pi", &format!("{wanted:?}"), pi).into());
        }
    }
    Ok(x)
}

pub(super) fn spatial_attention(cx: &Context) -> Answer<TensorType> {
    cx.expect_type(0, "floating-point", DType::is_float)?;
    let z = cx.ty(0)?;
    if z.dims.len() < 3 || !may_equal(&z.dims[1], &1.into()) {
        return Err(misfit("z", "[N, 1, H, W]", &z.dims).into());
    }
    Ok(z.clone())
}

fn matrix<'a>(cx: &Context<'a>, i: usize, what: &str) -> Answer<(&'a Dim, &'a Dim)> {
    match cx.dims(i)? {
        [rows, columns] => Ok((rows, columns)),
        other => Err(misfit(what, "two axes", other).into()),
    }
}

fn check(found: &Dim, expected: &Dim, layer: &str, source: &str) -> Result<()> {
    if may_equal(found, expected) {
        return Ok(());
    }
    Err(Error::shape(format!("{layer} takes {found} values, {source} has {expected}")))
}

fn misfit(what: &str, wanted: &str, found: &[Dim]) -> Error {
    Error::shape(format!("{what} must have shape {wanted}, found {found:?}"))
}
