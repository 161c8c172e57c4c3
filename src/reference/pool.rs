//! Pooling over windows along any number of spatial axes.

use super::numbers::{Numbers, floats};
use crate::error::{Error, Result};
use crate::graph::geometry::{self, WindowAxis, WindowSpec};
use crate::graph::{Pool, PoolKind};
use crate::tensor::{DType, Tensor, strides};

/// Returns the pooled values and, for maxima, their positions among all elements of `x`.
pub(super) fn pool(op: &Pool, x: &Tensor) -> Result<Vec<Tensor>> {
    let Some(spatial) = x.shape().get(2..).filter(|s| !s.is_empty()) else {
        return Err(Error::shape(format!("expected an input [N,C,..], found {:?}", x.shape())));
    };
    let spec = WindowSpec {
        kernel: &op.kernel,
        strides: &op.strides,
        dilations: &op.dilations,
        padding: &op.padding,
    };
    let axes = geometry::windows(spatial, spec, op.ceil_mode)?;
    let output: Vec<usize> = axes.iter().map(|a| a.output).collect();
    let shape = [&x.shape()[..2], output.as_slice()].concat();
    geometry::element_count(&shape, DType::F64)?;
    let values = Numbers::from_tensor(x)?.into_floats();
    let plane: usize = spatial.iter().product();
    let own = strides(spatial);
    let (mut y, mut positions) = (Vec::new(), Vec::new());
    for number in 0..x.shape()[0] * x.shape()[1] {
        let x = &values[number * plane..][..plane];
        let mut at = vec![0usize; axes.len()];
        for _ in 0..output.iter().product() {
            let (places, counted) = window(&axes, spatial, &own, &at);
            match op.kind {
                PoolKind::Max => {
                    let best = largest(x, &places);
                    y.push(best.map_or(f64::NEG_INFINITY, |p| x[p]));
                    let within = best.map_or(0, |p| position(p, spatial, op.column_major));
                    positions.push((number * plane + within) as i64);
                }
                PoolKind::Average => {
                    let count = if op.count_include_pad { counted } else { places.len() };
                    y.push(places.iter().map(|&p| x[p]).sum::<f64>() / count as f64);
                }
            }
            for i in (0..at.len()).rev() {
                at[i] += 1;
                if at[i] < output[i] {
                    break;
                }
                at[i] = 0;
            }
        }
    }
    let mut outputs = vec![Numbers::Float(y).into_tensor(&shape, x.dtype())?];
    if op.kind == PoolKind::Max {
        outputs.push(Tensor::new(&shape, positions)?);
    }
    Ok(outputs)
}

/// Returns the place of the largest element, the first among equals; NaN counts as the largest.
fn largest(x: &[f64], places: &[usize]) -> Option<usize> {
    places.iter().copied().reduce(|best, p| if x[p] > x[best] || x[p].is_nan() { p } else { best })
}

/// Returns the number of the place `place` of a plane if its elements are counted row by row, or
/// column by column.
fn position(mut place: usize, sizes: &[usize], column_major: bool) -> usize {
    if !column_major {
        return place;
    }
    let mut number = 0;
    for &size in sizes.iter().rev() {
        number = number * size + place % size;
        place /= size;
    }
    number
}

/// Returns the places of those elements of the input that lie in the window of output position
/// `at`, and the number of positions of the window that lie in the input or its padding.
fn window(
    axes: &[WindowAxis],
    sizes: &[usize],
    own: &[usize],
    at: &[usize],
) -> (Vec<usize>, usize) {
    let mut places = vec![0usize];
    let mut counted = 1usize;
    for (i, axis) in axes.iter().enumerate() {
        let position =
            |tap: usize| (at[i] * axis.stride + tap * axis.dilation) as i64 - axis.before;
        let inside = |p: &i64| (0..sizes[i] as i64).contains(p);
        let padded = |p: &i64| *p < sizes[i] as i64 + axis.after.max(0);
        counted *= (0..axis.kernel).map(position).filter(padded).count();
        let along: Vec<usize> =
            (0..axis.kernel).map(position).filter(inside).map(|p| p as usize * own[i]).collect();
        places = places.iter().flat_map(|&p| along.iter().map(move |a| p + a)).collect();
    }
    (places, counted)
}

pub(super) fn global(kind: PoolKind, x: &Tensor) -> Result<Tensor> {
    let Some(spatial) = x.shape().get(2..).filter(|s| !s.is_empty()) else {
        return Err(Error::shape(format!("expected an input [N,C,..], found {:?}", x.shape())));
    };
    let plane: usize = spatial.iter().product();
    let mut shape = x.shape()[..2].to_vec();
    let planes = shape.iter().product();
    shape.resize(x.shape().len(), 1);
    let values = floats(x)?;
    let pooled = |i: usize| {
        let x = &values[i * plane..][..plane];
        match kind {
            PoolKind::Average => x.iter().sum::<f64>() / plane as f64,
            PoolKind::Max => {
                x.iter().fold(f64::NEG_INFINITY, |m, &v| if v > m || v.is_nan() { v } else { m })
            }
        }
    };
    Numbers::Float((0..planes).map(pooled).collect()).into_tensor(&shape, x.dtype())
}
