//! Operators that repeat, resize and pad tensors.

use super::context::{Answer, Context, Stop};
use super::sizes::{add, broadcast, may_equal, mul, sub};
use crate::error::{Error, Result};
use crate::graph::{
    AspectRatioPolicy, CoordinateTransform, Dim, Interleave, Resize, RoiAlign, TensorType, geometry,
};
use crate::tensor::DType;

pub(super) fn expand(cx: &Context) -> Answer<TensorType> {
    let x = cx.ty(0)?;
    let dims = match cx.integer_dims(1) {
        Ok(shape) => {
            if shape.iter().any(|dim| dim.as_const().is_some_and(|size| size < 0)) {
                return Err(Error::shape(format!("the shape {shape:?} has a negative size")).into());
            }
            broadcast(&[&x.dims, shape])?
        }
        Err(Stop::Unknown) => {
            // Only a size above 1 is known to stay.
            let wanted = cx.length(1)?;
            let rank = x.dims.len().max(wanted);
            let mut dims = cx.fresh(rank);
            for (i, dim) in x.dims.iter().enumerate() {
                let at = rank - x.dims.len() + i;
                if rank - at > wanted || dim.is_at_least(&2.into()) {
                    dims[at] = dim.clone();
                }
            }
            dims
        }
        Err(stop) => return Err(stop),
    };
    Ok(TensorType { dtype: x.dtype, dims })
}

pub(super) fn tile(cx: &Context) -> Answer<TensorType> {
    let x = cx.ty(0)?;
    let dims = match cx.integer_dims(1) {
        Ok(repeats) => {
            let negative = repeats.iter().any(|r| r.as_const().is_some_and(|r| r < 0));
            if repeats.len() != x.dims.len() || negative {
                return Err(Error::shape(format!(
                    "repeats {repeats:?} must have one entry, not negative, for each axis of {:?}",
                    x.dims
                ))
                .into());
            }
            x.dims.iter().zip(repeats).map(|(dim, r)| mul(dim, r)).collect::<Result<_>>()?
        }
        Err(Stop::Unknown) => cx.fresh(x.dims.len()),
        Err(stop) => return Err(stop),
    };
    Ok(TensorType { dtype: x.dtype, dims })
}

pub(super) fn pad(cx: &Context) -> Answer<TensorType> {
    let x = cx.ty(0)?;
    let rank = x.dims.len();
    let unknown = || TensorType { dtype: x.dtype, dims: cx.fresh(rank) };
    let axes = match cx.has(3) {
        true => match cx.integers(3) {
            Ok(axes) => Some(axes),
            Err(Stop::Unknown) => return Ok(unknown()),
            Err(stop) => return Err(stop),
        },
        false => None,
    };
    let pads = match cx.integer_dims(1) {
        Ok(pads) => pads,
        Err(Stop::Unknown) => return Ok(unknown()),
        Err(stop) => return Err(stop),
    };
    let pads = geometry::pads_of_axes(rank, pads, axes.as_deref())?;
    let size = |(dim, (before, after)): (&Dim, &(Dim, Dim))| match (
        dim.as_size(),
        before.as_const(),
        after.as_const(),
    ) {
        (Some(size), Some(before), Some(after)) => {
            Ok(geometry::padded(size, before, after)?.into())
        }
        _ => add(&add(dim, before)?, after),
    };
    let dims = x.dims.iter().zip(&pads).map(size).collect::<Result<_>>()?;
    Ok(TensorType { dtype: x.dtype, dims })
}

pub(super) fn interleave(cx: &Context, op: &Interleave) -> Answer<TensorType> {
    let inputs = cx.node.inputs.len();
    cx.same_types(0..inputs)?;
    geometry::check_interleave(op)?;
    for &[input, first] in &op.phases {
        let end = first.checked_add(op.channels);
        let has_channels = match (input < inputs).then(|| cx.dims(input)).transpose()? {
            Some([_, channels, _, _]) => channels.as_size().is_none_or(|count| end <= Some(count)),
            _ => false,
        };
        if end.is_none() || !has_channels {
            let found = format!("input {input} has no {} channels from {first} on", op.channels);
            return Err(Error::shape(found).into());
        }
    }
    let x = cx.ty(op.phases[0][0])?;
    let size =
        |axis: usize| sub(&mul(&x.dims[2 + axis], &op.steps[axis].into())?, &op.crop[axis].into());
    let dims = vec![x.dims[0].clone(), op.channels.into(), size(0)?, size(1)?];
    Ok(TensorType { dtype: x.dtype, dims })
}

pub(super) fn resize(cx: &Context, op: &Resize) -> Answer<TensorType> {
    cx.expect_type(2, "floating-point", DType::is_float)?;
    let x = cx.ty(0)?;
    let axes = geometry::resized_axes(op, x.dims.len())?;
    let mut dims = x.dims.clone();
    let sizes = OutputSizes::read(cx, op, &x.dims, &axes)?;
    let wanted = match sizes {
        OutputSizes::All(sizes) => return Ok(TensorType { dtype: x.dtype, dims: sizes }),
        OutputSizes::Chosen(sizes) => sizes,
    };
    for (&axis, size) in axes.iter().zip(wanted) {
        dims[axis] = size.unwrap_or_else(|| cx.fresh.dim());
    }
    Ok(TensorType { dtype: x.dtype, dims })
}

/// The sizes that result from a resize.
enum OutputSizes {
    /// The sizes of all axes.
    All(Vec<Dim>),
    /// The sizes of the axes that the operator names, as far as they are known.
    Chosen(Vec<Option<Dim>>),
}

impl OutputSizes {
    fn read(cx: &Context, op: &Resize, x: &[Dim], axes: &[usize]) -> Answer<Self> {
        // Files of older opsets have an empty tensor for the one of the two that is not used.
        let given = |i: usize| {
            let empty = cx.dims(i).is_ok_and(|dims| dims.iter().any(|d| d.as_const() == Some(0)));
            cx.has(i) && !empty
        };
        let floats = |i: usize| {
            let tensor = cx.constant(i)?.cast(DType::F32).ok()?;
            tensor.as_f32().map(<[f32]>::to_vec).ok()
        };
        if given(2) == given(3) {
            return Err(Error::shape("a resize needs either scales or sizes").into());
        }
        let fixed = x.iter().map(Dim::as_size).collect::<Option<Vec<_>>>();
        let count = |found: usize| match found == axes.len() {
            true => Ok(()),
            false => Err(Error::shape(format!(
                "expected {} scales or sizes, one for every axis, found {found}",
                axes.len()
            ))),
        };
        let crops = op.coordinates == CoordinateTransform::TfCropAndResize;
        let all = |scales: Option<&[f32]>, sizes: Option<&[i64]>| -> Result<Option<Self>> {
            let roi = floats(1);
            let (Some(shape), true) = (&fixed, !crops || roi.is_some()) else { return Ok(None) };
            let resized = geometry::resize(shape, op, roi.as_deref(), scales, sizes)?;
            Ok(Some(OutputSizes::All(resized.iter().map(|axis| axis.output.into()).collect())))
        };

        if given(3) {
            let sizes = match cx.integer_dims(3) {
                Ok(sizes) => sizes,
                Err(Stop::Unknown) => return Ok(OutputSizes::Chosen(vec![None; axes.len()])),
                Err(stop) => return Err(stop),
            };
            count(sizes.len())?;
            let numbers = sizes.iter().map(Dim::as_const).collect::<Option<Vec<_>>>();
            if let Some(numbers) = numbers
                && let Some(wanted) = all(None, Some(&numbers))?
            {
                return Ok(wanted);
            }
            let stretch = op.keep_aspect_ratio == AspectRatioPolicy::Stretch;
            return Ok(OutputSizes::Chosen(
                sizes.iter().map(|s| stretch.then(|| s.clone())).collect(),
            ));
        }
        let Some(scales) = floats(2) else {
            return Ok(OutputSizes::Chosen(vec![None; axes.len()]));
        };
        count(scales.len())?;
        if let Some(wanted) = all(Some(&scales), None)? {
            return Ok(wanted);
        }
        let size = |(&axis, &scale): (&usize, &f32)| match x[axis].as_size() {
            _ if crops => Ok(None),
            Some(size) => geometry::scaled(size, scale, 1.0).map(|size| Some(size.into())),
            None => scaled(&x[axis], scale),
        };
        let sizes = axes.iter().zip(&scales).map(size).collect::<Result<_>>()?;
        Ok(OutputSizes::Chosen(sizes))
    }
}

/// Returns the scaled size, if the scale is a quotient of small integers.
fn scaled(size: &Dim, scale: f32) -> Result<Option<Dim>> {
    /// The largest denominator. Networks do not state scales with larger ones.
    const LARGEST: i64 = 64;
    geometry::scaled(1, scale, 1.0)?;
    for denominator in 1..=LARGEST {
        let numerator = (f64::from(scale) * denominator as f64).round();
        if (numerator / denominator as f64) as f32 == scale && numerator < i32::MAX.into() {
            let product = mul(size, &(numerator as i64).into())?;
            return Ok(Some(product.floor_div(&denominator.into())));
        }
    }
    Ok(None)
}

pub(super) fn grid_sample(cx: &Context) -> Answer<TensorType> {
    for i in 0..2 {
        cx.expect_type(i, "floating-point", DType::is_float)?;
    }
    let (x, grid) = (cx.ty(0)?, cx.dims(1)?);
    let axes = x.dims.len().saturating_sub(2);
    let fits = axes > 0
        && grid.len() == x.dims.len()
        && may_equal(&grid[0], &x.dims[0])
        && may_equal(&grid[axes + 1], &axes.into());
    if !fits {
        return Err(Error::shape(format!(
            "expected an input [N, C, ...] and a grid [N, ..., axes], found {:?} and {grid:?}",
            x.dims
        ))
        .into());
    }
    let dims = [&x.dims[..2], &grid[1..=axes]].concat();
    Ok(TensorType { dtype: x.dtype, dims })
}

pub(super) fn roi_align(cx: &Context, op: &RoiAlign) -> Answer<TensorType> {
    for i in 0..2 {
        cx.expect_type(i, "floating-point", DType::is_float)?;
    }
    let (x, regions) = (cx.ty(0)?, cx.dims(1)?);
    if x.dims.len() != 4 || regions.len() != 2 || !may_equal(&regions[1], &4.into()) {
        return Err(Error::shape(format!(
            "expected an input [N, C, H, W] and regions [R, 4], found {:?} and {regions:?}",
            x.dims
        ))
        .into());
    }
    cx.expect_vector(2, "the images of regions", &regions[0])?;
    let [height, width] = op.output.map(Dim::from);
    Ok(TensorType {
        dtype: x.dtype,
        dims: vec![regions[0].clone(), x.dims[1].clone(), height, width],
    })
}
