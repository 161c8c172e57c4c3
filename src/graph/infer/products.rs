//! Matrix products.

use super::context::{Answer, Context};
use super::sizes::{broadcast, broadcasts_to, may_equal};
use crate::error::{Error, Result};
use crate::graph::{Dim, Gemm, TensorType};

pub(super) fn gemm(cx: &Context, op: &Gemm) -> Answer<TensorType> {
    cx.same_types(0..3)?;
    let (a, b) = (cx.ty(0)?, cx.dims(1)?);
    let ([a0, a1], [b0, b1]) = (a.dims.as_slice(), b) else {
        return Err(Error::shape(format!(
            "expected two matrices, found shapes {:?} and {b:?}",
            a.dims
        ))
        .into());
    };
    let (rows, inner) = if op.trans_a { (a1, a0) } else { (a0, a1) };
    let (outer, columns) = if op.trans_b { (b1, b0) } else { (b0, b1) };
    check_inner(&a.dims, inner, b, outer)?;
    let dims = vec![rows.clone(), columns.clone()];
    if let Ok(c) = cx.dims(2) {
        broadcasts_to("C", c, &dims)?;
    }
    Ok(TensorType { dtype: a.dtype, dims })
}

pub(super) fn matmul(cx: &Context) -> Answer<TensorType> {
    cx.same_types(0..2)?;
    let (a, b) = (cx.ty(0)?, cx.dims(1)?);
    // A vector is a row on the left and a column on the right, and the result lacks its axis.
    let (batch_a, rows, inner) = match a.dims.as_slice() {
        [] => return Err(scalar().into()),
        [inner] => (&[][..], None, inner),
        [batch @ .., rows, inner] => (batch, Some(rows), inner),
    };
    let (batch_b, outer, columns) = match b {
        [] => return Err(scalar().into()),
        [outer] => (&[][..], outer, None),
        [batch @ .., outer, columns] => (batch, outer, Some(columns)),
    };
    check_inner(&a.dims, inner, b, outer)?;
    let mut dims = broadcast(&[batch_a, batch_b])?;
    dims.extend(rows.into_iter().chain(columns).cloned());
    Ok(TensorType { dtype: a.dtype, dims })
}

fn scalar() -> Error {
    Error::shape("a matrix product needs at least one axis on both sides, found a scalar")
}

fn check_inner(a: &[Dim], inner: &Dim, b: &[Dim], outer: &Dim) -> Result<()> {
    if may_equal(inner, outer) {
        return Ok(());
    }
    Err(Error::shape(format!(
        "matrices of shapes {a:?} and {b:?} cannot be multiplied: {inner} columns meet {outer} rows"
    )))
}
