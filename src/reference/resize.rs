//! Resizing by interpolation along one axis after the other.

use super::inputs::Inputs;
use super::numbers::{Numbers, floats};
use crate::error::Result;
use crate::graph::Resize;
use crate::graph::geometry;
use crate::tensor::{DType, Tensor};

pub(super) fn resize(op: &Resize, inputs: &Inputs) -> Result<Tensor> {
    let x = inputs.required(0)?;
    let given = |i: usize| inputs.optional(i).filter(|t| !t.is_empty());
    let list = |t: &Tensor| -> Result<Vec<f32>> { Ok(t.cast(DType::F32)?.as_f32()?.to_vec()) };
    let roi = given(1).map(list).transpose()?;
    let scales = given(2).map(list).transpose()?;
    let sizes = given(3).map(Tensor::to_i64s).transpose()?;
    let axes =
        geometry::resize(x.shape(), op, roi.as_deref(), scales.as_deref(), sizes.as_deref())?;
    let mut shape = x.shape().to_vec();
    let output: Vec<usize> = axes.iter().map(|a| a.output).collect();
    geometry::element_count(&output, DType::F64)?;
    let mut values = match Numbers::from_tensor(x)? {
        Numbers::Float(values) => values,
        Numbers::Int(_) => floats(&x.cast(DType::F64)?)?,
    };
    let outside = f64::from(op.extrapolation_value);
    for (i, axis) in axes.iter().enumerate() {
        if axis.is_identity() {
            continue;
        }
        let taps: Vec<Option<Vec<(usize, f64)>>> =
            (0..axis.output).map(|at| geometry::taps(op, axis, at)).collect();
        let inner: usize = shape[i + 1..].iter().product();
        let outer: usize = shape[..i].iter().product();
        let mut next = Vec::with_capacity(outer * axis.output * inner);
        for o in 0..outer {
            for taps in &taps {
                for j in 0..inner {
                    let at = |p: usize| values[(o * shape[i] + p) * inner + j];
                    next.push(match taps {
                        Some(taps) => taps.iter().map(|&(p, w)| w * at(p)).sum(),
                        None => outside,
                    });
                }
            }
        }
        shape[i] = axis.output;
        values = next;
    }
    Numbers::Float(values).into_tensor(&shape, x.dtype())
}

#[cfg(test)]
mod tests;
