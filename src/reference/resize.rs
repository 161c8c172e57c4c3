//! Interpolation along each axis in turn.

use super::Inputs;
use super::numbers::{Numbers, floats};
use crate::error::Result;
use crate::graph::geometry::{self, ResizeAxis};
use crate::graph::{CoordinateTransform, NearestRounding, Resize, ResizeMode};
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
    let goal: Vec<usize> = axes.iter().map(|a| a.output).collect();
    geometry::element_count(&goal, DType::F64)?;
    let mut values = match Numbers::of(x)? {
        Numbers::Float(values) => values,
        Numbers::Int(_) => floats(&x.cast(DType::F64)?)?,
    };
    let outside = f64::from(op.extrapolation_value);
    for (i, axis) in axes.iter().enumerate() {
        let untouched = axis.output == shape[i] && axis.scale == 1.0 && axis.roi == (0.0, 1.0);
        if untouched {
            continue;
        }
        let taps: Vec<Option<Vec<(usize, f64)>>> =
            (0..axis.output).map(|at| taps(op, axis, shape[i], at)).collect();
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

/// The input elements, with their weights, that make up output element `at` of an axis; `None`
/// outside the region of interest.
fn taps(op: &Resize, axis: &ResizeAxis, size: usize, at: usize) -> Option<Vec<(usize, f64)>> {
    let position = source(op, axis, size, at)?;
    let last = size as i64 - 1;
    if let ResizeMode::Nearest(rounding) = op.mode {
        let nearest = match rounding {
            NearestRounding::RoundPreferFloor => (position - 0.5).ceil(),
            NearestRounding::RoundPreferCeil => (position + 0.5).floor(),
            NearestRounding::Floor => position.floor(),
            NearestRounding::Ceil => position.ceil(),
        };
        return Some(vec![((nearest as i64).clamp(0, last) as usize, 1.0)]);
    }
    // A shrinking filter with antialiasing spans more of the input.
    let scale = f64::from(axis.scale);
    let stretch = if op.antialias && scale < 1.0 { 1.0 / scale } else { 1.0 };
    let (support, weight): (f64, Box<dyn Fn(f64) -> f64>) = match op.mode {
        ResizeMode::Cubic { coefficient } => {
            (2.0, Box::new(move |t| cubic(t, f64::from(coefficient))))
        }
        _ => (1.0, Box::new(|t: f64| (1.0 - t.abs()).max(0.0))),
    };
    let first = (position - support * stretch).floor() as i64;
    let end = (position + support * stretch).ceil() as i64;
    let mut found: Vec<(i64, f64)> =
        (first..=end).map(|p| (p, weight((p as f64 - position) / stretch))).collect();
    if op.exclude_outside {
        found.retain(|&(p, _)| (0..=last).contains(&p));
    }
    if op.exclude_outside || op.antialias {
        let sum: f64 = found.iter().map(|(_, w)| w).sum();
        found.iter_mut().for_each(|(_, w)| *w /= sum);
    }
    Some(found.into_iter().map(|(p, w)| (p.clamp(0, last) as usize, w)).collect())
}

/// Where output element `at` of an axis lies in the input.
fn source(op: &Resize, axis: &ResizeAxis, size: usize, at: usize) -> Option<f64> {
    let (x, scale) = (at as f64, f64::from(axis.scale));
    let (size_in, size_out) = (size as f64, axis.output as f64);
    Some(match op.coordinates {
        CoordinateTransform::HalfPixel => (x + 0.5) / scale - 0.5,
        CoordinateTransform::HalfPixelSymmetric => {
            let exact = scale * size_in;
            let centre = size_in / 2.0;
            centre * (1.0 - size_out / exact) + (x + 0.5) / scale - 0.5
        }
        CoordinateTransform::PytorchHalfPixel if axis.output <= 1 => 0.0,
        CoordinateTransform::PytorchHalfPixel => (x + 0.5) / scale - 0.5,
        CoordinateTransform::AlignCorners if axis.output <= 1 => 0.0,
        CoordinateTransform::AlignCorners => {
            // With scales the size that counts is the one before rounding.
            let exact = (scale * size_in).max(1.0);
            if exact == 1.0 { 0.0 } else { x * (size_in - 1.0) / (exact - 1.0) }
        }
        CoordinateTransform::Asymmetric => x / scale,
        CoordinateTransform::TfCropAndResize => {
            let (from, to) = (f64::from(axis.roi.0), f64::from(axis.roi.1));
            let position = if axis.output > 1 {
                from * (size_in - 1.0) + x * (to - from) * (size_in - 1.0) / (size_out - 1.0)
            } else {
                0.5 * (from + to) * (size_in - 1.0)
            };
            return (0.0..=size_in - 1.0).contains(&position).then_some(position);
        }
    })
}

/// Keys' cubic kernel.
fn cubic(t: f64, a: f64) -> f64 {
    let t = t.abs();
    if t <= 1.0 {
        ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0
    } else if t < 2.0 {
        ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a
    } else {
        0.0
    }
}
