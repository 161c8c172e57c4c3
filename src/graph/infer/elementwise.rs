//! Functions of one element of each input, which are broadcast to a common shape.

use super::context::{Answer, Context, Stop};
use super::sizes::{broadcast, broadcasts_to, may_equal};
use crate::error::Error;
use crate::graph::{Binary, Dim, TensorType, Unary};
use crate::tensor::DType;

pub(super) fn unary(cx: &Context, op: Unary) -> Answer<TensorType> {
    match op {
        Unary::Not => cx.expect_type(0, "bool", |d| d == DType::Bool)?,
        Unary::Relu | Unary::Neg | Unary::Abs | Unary::Sign => {
            cx.expect_type(0, "a number", |d| d != DType::Bool)?;
        }
        _ => cx.expect_type(0, "floating-point", DType::is_float)?,
    }
    cx.ty(0).cloned()
}

pub(super) fn clip(cx: &Context) -> Answer<TensorType> {
    cx.same_types(0..3)?;
    cx.expect_type(0, "a number", |d| d != DType::Bool)?;
    for i in 1..3 {
        let Ok(bound) = cx.dims(i) else { continue };
        if bound.iter().any(|dim| !may_equal(dim, &1.into())) {
            return Err(Error::shape(format!(
                "the bounds of a clip are single numbers, found shape {bound:?}"
            ))
            .into());
        }
    }
    cx.ty(0).cloned()
}

pub(super) fn prelu(cx: &Context) -> Answer<TensorType> {
    cx.same_types(0..2)?;
    let x = cx.ty(0)?;
    if let Ok(slope) = cx.dims(1) {
        broadcasts_to("the slope", slope, &x.dims)?;
    }
    Ok(x.clone())
}

pub(super) fn binary(cx: &Context, op: Binary) -> Answer<TensorType> {
    let is_bool = |d| d == DType::Bool;
    match op {
        Binary::And | Binary::Or | Binary::Xor => {
            cx.expect_type(0, "bool", is_bool)?;
            cx.expect_type(1, "bool", is_bool)?;
        }
        Binary::Equal => cx.same_types(0..2)?,
        // ONNX allows an exponent of another type than its base.
        Binary::Pow => {}
        _ => {
            cx.same_types(0..2)?;
            cx.expect_type(0, "a number", |d| d != DType::Bool)?;
        }
    }
    let dtype = match op {
        Binary::Add | Binary::Sub | Binary::Mul | Binary::Div => cx.ty(0)?.dtype,
        Binary::Pow | Binary::Mod { .. } => cx.ty(0)?.dtype,
        _ => DType::Bool,
    };
    Ok(TensorType { dtype, dims: broadcast(&[cx.dims(0)?, cx.dims(1)?])? })
}

pub(super) fn variadic(cx: &Context) -> Answer<TensorType> {
    let count = cx.node.inputs.len();
    cx.same_types(0..count)?;
    let shapes: Vec<&[Dim]> = (0..count).map(|i| cx.dims(i)).collect::<Result<_, Stop>>()?;
    Ok(TensorType { dtype: cx.ty(0)?.dtype, dims: broadcast(&shapes)? })
}

pub(super) fn select(cx: &Context) -> Answer<TensorType> {
    cx.expect_type(0, "bool", |d| d == DType::Bool)?;
    cx.same_types(1..3)?;
    let dims = broadcast(&[cx.dims(0)?, cx.dims(1)?, cx.dims(2)?])?;
    Ok(TensorType { dtype: cx.ty(1)?.dtype, dims })
}

pub(super) fn cast(cx: &Context, to: DType) -> Answer<TensorType> {
    Ok(TensorType { dtype: to, dims: cx.dims(0)?.to_vec() })
}
