//! Convolutions and pooling.

use super::context::{Answer, Context, one};
use super::sizes::{add, ceil_div, may_equal, mul, sub};
use crate::error::{Error, Result};
use crate::graph::geometry::{self, WindowSpec};
use crate::graph::{
    Conv, ConvTranspose, DeformConv, DeformedWindows, Dim, DynamicConv, Pool, TensorType,
};
use crate::tensor::DType;

pub(super) fn conv(cx: &Context, op: &Conv) -> Answer<TensorType> {
    cx.same_types(0..3)?;
    conv_with_bias(cx, op, 2)
}

pub(super) fn deform_conv(cx: &Context, op: &DeformConv) -> Answer<TensorType> {
    cx.same_types(0..5)?;
    let ty = conv_with_bias(cx, &op.conv, 3)?;
    if let Some(kernel) = fixed(&cx.dims(1)?[2..]) {
        check_offsets(cx, op, &kernel, &ty.dims, [2, 4])?;
    }
    Ok(ty)
}

pub(super) fn deformed_windows(cx: &Context, op: &DeformedWindows) -> Answer<TensorType> {
    cx.same_types(0..3)?;
    cx.expect_type(0, "floating-point", DType::is_float)?;
    let x = cx.ty(0)?;
    if x.dims.len() != 4 {
        return Err(Error::shape(format!("expected a map [N, C, H, W], found {:?}", x.dims)).into());
    }
    let DeformedWindows { kernel, deform } = op;
    let taps = kernel.iter().try_fold(x.dims[1].clone(), |n, &k| mul(&n, &k.into()))?;
    let spec = WindowSpec::from_conv(&deform.conv, kernel);
    let mut dims = vec![x.dims[0].clone(), taps];
    dims.extend(window_sizes(&x.dims[2..], spec, false)?);
    check_offsets(cx, deform, kernel, &dims, [1, 2])?;
    Ok(TensorType { dtype: x.dtype, dims })
}

/// Checks the inputs `offset` and `mask` of a deformable convolution whose output has the sizes `output`.
fn check_offsets(
    cx: &Context,
    op: &DeformConv,
    kernel: &[usize],
    output: &[Dim],
    [offset, mask]: [usize; 2],
) -> Answer<()> {
    let taps = kernel.iter().try_fold(Dim::from(op.offset_groups), |n, &k| mul(&n, &k.into()))?;
    let offsets = mul(&taps, &kernel.len().into())?;
    for (i, what, channels) in [(offset, "the offset", offsets), (mask, "the mask", taps)] {
        let Ok(dims) = cx.dims(i) else { continue };
        let wanted = [&output[..1], &[channels], &output[2..]].concat();
        let fits = dims.len() == wanted.len()
            && dims.iter().zip(&wanted).all(|(found, wanted)| may_equal(found, wanted));
        if !fits {
            return Err(
                Error::shape(format!("{what} must have shape {wanted:?}, found {dims:?}")).into()
            );
        }
    }
    Ok(())
}

/// Returns the type of a convolution whose bias is input `bias`.
fn conv_with_bias(cx: &Context, op: &Conv, bias: usize) -> Answer<TensorType> {
    cx.expect_type(0, "floating-point", DType::is_float)?;
    let (x, weight) = (cx.ty(0)?, cx.dims(1)?);
    check_ranks(&x.dims, weight)?;
    let groups = groups(op.groups)?;

    let expected = mul(&weight[1], &groups)?;
    if !may_equal(&x.dims[1], &expected) {
        return Err(Error::shape(format!(
            "the weight {weight:?} with {groups} groups takes {expected} input channels, the input \
             {:?} has {}",
            x.dims, x.dims[1]
        ))
        .into());
    }
    divides(&groups, &weight[0])?;
    cx.expect_vector(bias, "the bias", &weight[0])?;

    let mut dims = vec![x.dims[0].clone(), weight[0].clone()];
    match fixed(&weight[2..]) {
        Some(kernel) => {
            dims.extend(window_sizes(&x.dims[2..], WindowSpec::from_conv(op, &kernel), false)?);
        }
        None => dims.extend(cx.fresh(x.dims.len() - 2)),
    }
    Ok(TensorType { dtype: x.dtype, dims })
}

pub(super) fn dynamic_conv(cx: &Context, op: &DynamicConv) -> Answer<TensorType> {
    cx.same_types(0..3)?;
    cx.expect_type(0, "floating-point", DType::is_float)?;
    let (x, weights) = (cx.ty(0)?, cx.dims(1)?);
    let (groups, outputs) = (groups(op.conv.groups)?, Dim::from(op.outputs));
    let ([images, channels, positions @ ..], [sets, len]) = (x.dims.as_slice(), weights) else {
        return Err(Error::shape(format!(
            "expected an input [N, C, H, W] and weights [N, elements], found {:?} and {weights:?}",
            x.dims
        ))
        .into());
    };
    divides(&groups, &outputs)?;
    let [height, width] = op.kernel.map(Dim::from);
    let products = mul(&mul(channels, &outputs)?, &mul(&height, &width)?)?;
    let fits = may_equal(&mul(len, &groups)?, &products);
    if positions.len() != 2 || !may_equal(images, sets) || !fits {
        return Err(Error::shape(format!(
            "weights {weights:?} do not fit an input {:?}, {outputs} outputs in {groups} groups \
             and a window {:?}",
            x.dims, op.kernel
        ))
        .into());
    }
    match cx.dims(2) {
        Ok([sets, count]) if may_equal(sets, images) && may_equal(count, &outputs) => {}
        _ => cx.expect_vector(2, "the bias", &outputs)?,
    }
    let mut dims = vec![images.clone(), outputs];
    dims.extend(window_sizes(positions, WindowSpec::from_conv(&op.conv, &op.kernel), false)?);
    Ok(TensorType { dtype: x.dtype, dims })
}

pub(super) fn conv_transpose(cx: &Context, op: &ConvTranspose) -> Answer<TensorType> {
    cx.same_types(0..3)?;
    cx.expect_type(0, "floating-point", DType::is_float)?;
    let (x, weight) = (cx.ty(0)?, cx.dims(1)?);
    check_ranks(&x.dims, weight)?;
    let groups = groups(op.groups)?;

    if !may_equal(&x.dims[1], &weight[0]) {
        return Err(Error::shape(format!(
            "the weight {weight:?} takes {} input channels, the input {:?} has {}",
            weight[0], x.dims, x.dims[1]
        ))
        .into());
    }
    divides(&groups, &weight[0])?;
    let channels = mul(&weight[1], &groups)?;
    cx.expect_vector(2, "the bias", &channels)?;

    let mut dims = vec![x.dims[0].clone(), channels];
    match fixed(&weight[2..]) {
        Some(kernel) => {
            let spec = geometry::transposed_spec(&kernel, op, x.dims.len() - 2)?;
            for (i, size) in x.dims[2..].iter().enumerate() {
                dims.push(transposed_size(i, size, spec, op)?);
            }
        }
        None => dims.extend(cx.fresh(x.dims.len() - 2)),
    }
    Ok(TensorType { dtype: x.dtype, dims })
}

pub(super) fn pool(cx: &Context, op: &Pool) -> Answer<TensorType> {
    let x = cx.ty(0)?;
    let Pool { kernel, strides, dilations, padding, .. } = op;
    if x.dims.len() != kernel.len() + 2 {
        return Err(Error::shape(format!(
            "a window {kernel:?} needs an input with {} axes [N, C, ...], found {:?}",
            kernel.len() + 2,
            x.dims
        ))
        .into());
    }
    let spec = WindowSpec { kernel, strides, dilations, padding };
    let mut dims = x.dims[..2].to_vec();
    dims.extend(window_sizes(&x.dims[2..], spec, op.ceil_mode)?);
    Ok(TensorType { dtype: x.dtype, dims })
}

pub(super) fn global_pool(cx: &Context) -> Answer<TensorType> {
    let x = cx.ty(0)?;
    if x.dims.len() < 2 {
        return Err(
            Error::shape(format!("expected an input [N, C, ...], found {:?}", x.dims)).into()
        );
    }
    let dims = (0..x.dims.len()).map(|i| if i < 2 { x.dims[i].clone() } else { one() }).collect();
    Ok(TensorType { dtype: x.dtype, dims })
}

fn check_ranks(x: &[Dim], weight: &[Dim]) -> Result<()> {
    if x.len() >= 3 && weight.len() == x.len() {
        return Ok(());
    }
    Err(Error::shape(format!(
        "expected an input [N, C, ...] and a weight with as many axes, at least 3, found {x:?} and \
         {weight:?}"
    )))
}

fn groups(groups: usize) -> Result<Dim> {
    match groups {
        0 => Err(Error::shape("the number of groups must be positive, found 0")),
        _ => Ok(groups.into()),
    }
}

fn divides(groups: &Dim, channels: &Dim) -> Result<()> {
    match (groups.as_const(), channels.as_const()) {
        (Some(g), Some(c)) if c % g != 0 => {
            Err(Error::shape(format!("{channels} channels cannot form {groups} groups")))
        }
        _ => Ok(()),
    }
}

fn fixed(dims: &[Dim]) -> Option<Vec<usize>> {
    dims.iter().map(Dim::as_size).collect()
}

/// Returns the number of windows along each spatial axis.
fn window_sizes(input: &[Dim], spec: WindowSpec, ceil_mode: bool) -> Result<Vec<Dim>> {
    spec.check(input.len())?;
    let size = |(i, size): (usize, &Dim)| match size.as_size() {
        Some(size) => Ok(geometry::window(i, size, spec, ceil_mode)?.output.into()),
        None => window_size(i, size, spec, ceil_mode),
    };
    input.iter().enumerate().map(size).collect()
}

/// Returns the number of windows along spatial axis `i`, whose size is not known.
fn window_size(i: usize, size: &Dim, spec: WindowSpec, ceil_mode: bool) -> Result<Dim> {
    let (_, stride, _) = spec.axis(i);
    let step = i64::try_from(stride).map_err(|_| Error::shape("the stride is too large"))?;
    let Some((before, after)) = spec.explicit(i) else { return ceil_div(size, step) };
    let extent = spec.extent(i)?;
    let start = add(size, &before.into())?;
    let span = sub(&add(&start, &after.into())?, &extent.into())?;
    // The beginning of the last window. With `ceil_mode`, it has to be in the input or in the
    // padding before it.
    let last = match ceil_mode {
        false => span,
        true if after.saturating_add(step) <= extent => add(&span, &(step - 1).into())?,
        true => sub(&start, &one())?,
    };
    add(&last.floor_div(&step.into()), &one())
}

/// Returns the size of spatial axis `i` of the output of a transposed convolution.
fn transposed_size(i: usize, size: &Dim, spec: WindowSpec, op: &ConvTranspose) -> Result<Dim> {
    if let Some(size) = size.as_size() {
        return Ok(geometry::transposed_window(i, size, spec, op)?.output.into());
    }
    if let Some(&wanted) = op.output_shape.get(i) {
        return Ok(wanted.into());
    }
    let stride = Dim::from(spec.axis(i).1);
    let Some((before, after)) = spec.explicit(i) else { return mul(size, &stride) };
    let longer = op.output_padding.get(i).copied().unwrap_or(0);
    let full = add(&mul(&sub(size, &one())?, &stride)?, &spec.extent(i)?.into())?;
    sub(&sub(&add(&full, &longer.into())?, &before.into())?, &after.into())
}
