//! Operators that view the same elements under other axes.

use super::context::{Answer, Context, Stop, one};
use super::sizes::{may_equal, mul, product};
use crate::error::{Error, Result};
use crate::graph::{Dim, TensorType, geometry};

pub(super) fn reshape(cx: &Context, allow_zero: bool) -> Answer<TensorType> {
    let wanted = cx.integer_dims(1);
    let dims = match (cx.ty(0), wanted) {
        (Ok(x), Ok(wanted)) => reshaped(cx, &x.dims, wanted, allow_zero)?,
        (_, Err(Stop::Unknown)) => cx.fresh(cx.length(1)?),
        (Err(stop), _) | (_, Err(stop)) => return Err(stop),
    };
    Ok(TensorType { dtype: cx.ty(0)?.dtype, dims })
}

fn reshaped(cx: &Context, x: &[Dim], wanted: &[Dim], allow_zero: bool) -> Answer<Vec<Dim>> {
    let fixed = |dims: &[Dim]| dims.iter().map(Dim::as_size).collect::<Option<Vec<_>>>();
    let numbers = wanted.iter().map(Dim::as_const).collect::<Option<Vec<_>>>();
    if let (Some(x), Some(wanted)) = (fixed(x), numbers) {
        let sizes = geometry::reshape(&x, &wanted, allow_zero)?;
        return Ok(sizes.into_iter().map(Dim::from).collect());
    }

    let misfit = || Error::shape(format!("shape {x:?} cannot be viewed as {wanted:?}"));
    let (mut sizes, mut free) = (Vec::new(), None);
    for (i, size) in wanted.iter().enumerate() {
        sizes.push(match size.as_const() {
            Some(-1) if free.replace(i).is_some() => {
                return Err(
                    Error::shape(format!("the shape {wanted:?} has more than one -1")).into()
                );
            }
            Some(-1) => one(),
            Some(0) if !allow_zero => x.get(i).ok_or_else(misfit)?.clone(),
            Some(size) if size < 0 => return Err(misfit().into()),
            _ => size.clone(),
        });
    }
    let (total, rest) = uncommon(x, &sizes)?;
    match free {
        // The second check covers common factors that may be 0, with which both sides are empty.
        None if may_equal(&total, &rest) || may_equal(&product(x)?, &product(&sizes)?) => {}
        None => return Err(misfit().into()),
        Some(free) => {
            sizes[free] = match (total.div_exact(&rest), total.as_const(), rest.as_const()) {
                (Some(size), ..) => size,
                (None, Some(_), Some(_)) => return Err(misfit().into()),
                // A run checks that the division leaves no remainder.
                (None, _, Some(by)) if by > 0 => total.floor_div(&rest),
                (None, ..) => cx.fresh.dim(),
            };
        }
    }
    Ok(sizes)
}

/// Returns the products of both lists of sizes without their common factors.
fn uncommon(a: &[Dim], b: &[Dim]) -> Result<(Dim, Dim)> {
    let mut left: Vec<&Dim> = a.iter().collect();
    let mut right = Vec::new();
    for dim in b {
        // Numbers stay, because they may be 0.
        match left.iter().position(|l| *l == dim && dim.as_const().is_none()) {
            Some(at) => _ = left.swap_remove(at),
            None => right.push(dim),
        }
    }
    Ok((product(left)?, product(right)?))
}

pub(super) fn flatten(cx: &Context, axis: i64) -> Answer<TensorType> {
    let x = cx.ty(0)?;
    let rank = x.dims.len();
    // `axis` may be the number of axes.
    let axis = match usize::try_from(axis) {
        Ok(axis) if axis == rank => axis,
        _ => geometry::axis(axis, rank)?,
    };
    let dims = vec![product(&x.dims[..axis])?, product(&x.dims[axis..])?];
    Ok(TensorType { dtype: x.dtype, dims })
}

pub(super) fn squeeze(cx: &Context) -> Answer<TensorType> {
    let x = cx.ty(0)?;
    let rank = x.dims.len();
    let dims = if cx.has(1) {
        match cx.integers(1) {
            Ok(axes) => {
                let axes = geometry::axes(&axes, rank)?;
                if let Some(&axis) = axes.iter().find(|&&a| !may_equal(&x.dims[a], &one())) {
                    return Err(Error::shape(format!(
                        "axis {axis} of {:?} cannot be removed: its size is not 1",
                        x.dims
                    ))
                    .into());
                }
                let kept = (0..rank).filter(|a| !axes.contains(a));
                kept.map(|a| x.dims[a].clone()).collect()
            }
            Err(Stop::Unknown) => {
                let count = cx.length(1)?;
                cx.fresh(rank.checked_sub(count).ok_or_else(|| {
                    Error::shape(format!("{count} axes cannot be removed from {:?}", x.dims))
                })?)
            }
            Err(stop) => return Err(stop),
        }
    } else {
        // The number of axes is known only if it is known which sizes are 1.
        let free = |dim: &&Dim| dim.as_const().is_none() && may_equal(dim, &one());
        if x.dims.iter().any(|dim| free(&dim)) {
            return Err(Stop::Unknown);
        }
        x.dims.iter().filter(|dim| dim.as_const() != Some(1)).cloned().collect()
    };
    Ok(TensorType { dtype: x.dtype, dims })
}

pub(super) fn unsqueeze(cx: &Context) -> Answer<TensorType> {
    let x = cx.ty(0)?;
    let dims = match cx.integers(1) {
        Ok(axes) => {
            let rank = x.dims.len() + axes.len();
            let axes = geometry::axes(&axes, rank)?;
            let mut old = x.dims.iter();
            let size = |axis| match axes.contains(&axis) {
                true => Some(one()),
                false => old.next().cloned(),
            };
            (0..rank).filter_map(size).collect()
        }
        Err(Stop::Unknown) => cx.fresh(x.dims.len() + cx.length(1)?),
        Err(stop) => return Err(stop),
    };
    Ok(TensorType { dtype: x.dtype, dims })
}

pub(super) fn transpose(cx: &Context, perm: &[usize]) -> Answer<TensorType> {
    let x = cx.ty(0)?;
    let rank = x.dims.len();
    let dims = if perm.is_empty() {
        x.dims.iter().rev().cloned().collect()
    } else {
        let mut sorted = perm.to_vec();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..rank) {
            return Err(Error::shape(format!(
                "the permutation {perm:?} must name each of the {rank} axes of {:?} once",
                x.dims
            ))
            .into());
        }
        perm.iter().map(|&a| x.dims[a].clone()).collect()
    };
    Ok(TensorType { dtype: x.dtype, dims })
}

pub(super) fn depth_to_space(cx: &Context, block: usize) -> Answer<TensorType> {
    let x = cx.ty(0)?;
    let [batch, channels, height, width] = x.dims.as_slice() else {
        return Err(
            Error::shape(format!("expected an input [N, C, H, W], found {:?}", x.dims)).into()
        );
    };
    let block = Dim::from(block);
    let area = mul(&block, &block)?;
    let misfit = || {
        Error::shape(format!(
            "{channels} channels cannot be laid out in blocks of {block} by {block}"
        ))
    };
    let depth = match (channels.div_exact(&area), channels.as_const()) {
        (Some(depth), _) => depth,
        (None, None) if area.as_const() != Some(0) => channels.floor_div(&area),
        _ => return Err(misfit().into()),
    };
    let dims = vec![batch.clone(), depth, mul(height, &block)?, mul(width, &block)?];
    Ok(TensorType { dtype: x.dtype, dims })
}
