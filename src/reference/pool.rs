//! Pooling windows over any number of spatial axes.

use super::numbers::{Numbers, floats};
use crate::error::{Error, Result};
use crate::graph::geometry::{self, WindowAxis, WindowSpec};
use crate::graph::{Pool, PoolKind};
use crate::tensor::{DType, Tensor, strides};

pub(super) fn pool(op: &Pool, x: &Tensor) -> Result<Tensor> {
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
    // Integers pool as numbers too: eight bits fit f64 exactly.
    let values = match Numbers::of(x)? {
        Numbers::Float(values) => values,
        Numbers::Int(values) => values.into_iter().map(|v| v as f64).collect(),
    };
    let plane: usize = spatial.iter().product();
    let own = strides(spatial);
    let mut y = Vec::new();
    for x in values.chunks(plane.max(1)) {
        let mut at = vec![0usize; axes.len()];
        for _ in 0..output.iter().product() {
            y.push(window(op, x, &axes, spatial, &own, &at));
            for i in (0..at.len()).rev() {
                at[i] += 1;
                if at[i] < output[i] {
                    break;
                }
                at[i] = 0;
            }
        }
    }
    Numbers::Float(y).into_tensor(&shape, x.dtype())
}

/// The pooled value of the window at output position `at`.
fn window(
    op: &Pool,
    x: &[f64],
    axes: &[WindowAxis],
    sizes: &[usize],
    own: &[usize],
    at: &[usize],
) -> f64 {
    // Places inside the input, and how many positions lie inside the input or its padding.
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
    match op.kind {
        PoolKind::Max => places
            .iter()
            .map(|&p| x[p])
            .fold(f64::NEG_INFINITY, |m, v| if v > m || v.is_nan() { v } else { m }),
        PoolKind::Average => {
            let count = if op.count_include_pad { counted } else { places.len() };
            places.iter().map(|&p| x[p]).sum::<f64>() / count as f64
        }
    }
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
