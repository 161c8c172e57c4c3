//! Reductions over axes.

use super::context::{Answer, Context, Stop, one};
use crate::error::Error;
use crate::graph::{ArgMax, Dim, Reduce, TensorType, geometry};
use crate::tensor::DType;

pub(super) fn reduce(cx: &Context, op: &Reduce) -> Answer<TensorType> {
    let x = cx.ty(0)?;
    let rank = x.dims.len();
    let axes = match cx.has(1) {
        true => cx.integers(1),
        false => Ok(vec![]),
    };
    let dims = match axes {
        Ok(axes) if axes.is_empty() && op.noop_with_empty_axes => x.dims.clone(),
        Ok(axes) if axes.is_empty() => without(&x.dims, |_| true, op.keep_dims),
        Ok(axes) => {
            let axes = geometry::axes(&axes, rank)?;
            without(&x.dims, |i| axes.contains(&i), op.keep_dims)
        }
        Err(Stop::Unknown) if op.keep_dims => cx.fresh(rank),
        Err(Stop::Unknown) => match cx.length(1)? {
            0 if op.noop_with_empty_axes => x.dims.clone(),
            0 => vec![],
            count => {
                let left = rank.checked_sub(count).ok_or_else(|| {
                    Error::shape(format!("{count} axes cannot be reduced in {:?}", x.dims))
                })?;
                cx.fresh(left)
            }
        },
        Err(stop) => return Err(stop),
    };
    Ok(TensorType { dtype: x.dtype, dims })
}

pub(super) fn arg_max(cx: &Context, op: &ArgMax) -> Answer<TensorType> {
    let dims = cx.dims(0)?;
    let axis = geometry::axis(op.axis, dims.len())?;
    if dims[axis].as_const() == Some(0) {
        return Err(Error::shape(format!("axis {axis} of {dims:?} is empty")).into());
    }
    Ok(TensorType { dtype: DType::I64, dims: without(dims, |i| i == axis, op.keep_dims) })
}

/// Returns `dims` without the `reduced` axes, or with size 1 for them.
fn without(dims: &[Dim], reduced: impl Fn(usize) -> bool, keep: bool) -> Vec<Dim> {
    let size = |(i, dim): (usize, &Dim)| match reduced(i) {
        true => keep.then(one),
        false => Some(dim.clone()),
    };
    dims.iter().enumerate().filter_map(size).collect()
}
