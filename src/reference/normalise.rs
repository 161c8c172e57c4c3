//! Normalisation, by stored statistics or by those of the input, and softmax.

use super::inputs::Inputs;
use super::numbers::{Numbers, floats};
use crate::error::{Error, Result};
use crate::graph::{Lrn, Softmax, geometry};
use crate::tensor::Tensor;

fn per_channel(inputs: &Inputs, i: usize, channels: usize) -> Result<Vec<f64>> {
    let values = floats(inputs.required(i)?)?;
    if values.len() != channels {
        return Err(Error::shape(format!(
            "expected {channels} values, one per channel, found {}",
            values.len()
        )));
    }
    Ok(values)
}

fn channel_count(x: &Tensor) -> Result<usize> {
    x.shape()
        .get(1)
        .copied()
        .ok_or_else(|| Error::shape(format!("expected an input [N,C,..], found {:?}", x.shape())))
}

pub(super) fn batch(inputs: &Inputs, epsilon: f32) -> Result<Tensor> {
    let x = inputs.required(0)?;
    let channels = channel_count(x)?;
    let scale = per_channel(inputs, 1, channels)?;
    let bias = per_channel(inputs, 2, channels)?;
    let mean = per_channel(inputs, 3, channels)?;
    let variance = per_channel(inputs, 4, channels)?;
    let plane: usize = x.shape()[2..].iter().product();
    let mut y = floats(x)?;
    for (i, plane) in y.chunks_mut(plane.max(1)).enumerate() {
        let c = i % channels;
        let factor = scale[c] / (variance[c] + f64::from(epsilon)).sqrt();
        plane.iter_mut().for_each(|x| *x = (*x - mean[c]) * factor + bias[c]);
    }
    Numbers::Float(y).into_tensor(x.shape(), x.dtype())
}

/// Divides each element by a power of the sum of squares over neighbouring channels.
pub(super) fn local_response(op: &Lrn, x: &Tensor) -> Result<Tensor> {
    let channels = channel_count(x)?;
    let (plane, values) = (x.shape()[2..].iter().product::<usize>(), floats(x)?);
    let [before, after] = op.reach();
    let factor = f64::from(op.alpha) / op.size as f64;
    let normalise = |(i, x): (usize, &f64)| {
        let (first, c) = (i - i / plane % channels * plane, i / plane % channels);
        let near =
            c.saturating_sub(before)..channels.min(c.saturating_add(after).saturating_add(1));
        let sum: f64 = near.map(|c| values[first + c * plane].powi(2)).sum();
        x / (f64::from(op.bias) + factor * sum).powf(f64::from(op.beta))
    };
    let y = values.iter().enumerate().map(normalise).collect();
    Numbers::Float(y).into_tensor(x.shape(), x.dtype())
}

/// Returns the mean and the inverse of the standard deviation.
fn moments(values: &[f64], epsilon: f32) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count;
    (mean, 1.0 / (variance + f64::from(epsilon)).sqrt())
}

/// Subtracts the mean and divides by the standard deviation.
fn standardise(values: &mut [f64], epsilon: f32) {
    let (mean, factor) = moments(values, epsilon);
    values.iter_mut().for_each(|x| *x = (*x - mean) * factor);
}

/// Normalises every channel of every image over its positions, of which there must be an axis.
pub(super) fn instance(inputs: &Inputs, epsilon: f32) -> Result<Tensor> {
    let shape = inputs.required(0)?.shape();
    if shape.len() < 3 {
        return Err(Error::shape(format!(
            "expected an input with 3 or more axes, found {shape:?}"
        )));
    }
    groups(inputs, None, epsilon)
}

/// Normalises over `count` groups of channels, or over every channel if that is `None`.
pub(super) fn groups(inputs: &Inputs, count: Option<usize>, epsilon: f32) -> Result<Tensor> {
    let x = inputs.required(0)?;
    let channels = channel_count(x)?;
    let count = count.unwrap_or(channels);
    if count == 0 || channels % count != 0 {
        return Err(Error::shape(format!("{channels} channels do not form {count} groups")));
    }
    let (scale, bias) = (per_channel(inputs, 1, channels)?, per_channel(inputs, 2, channels)?);
    let plane = x.shape()[2..].iter().product::<usize>().max(1);
    let mut y = floats(x)?;
    for group in y.chunks_mut((channels / count * plane).max(1)) {
        standardise(group, epsilon);
    }
    for (i, plane) in y.chunks_mut(plane).enumerate() {
        let c = i % channels;
        plane.iter_mut().for_each(|x| *x = *x * scale[c] + bias[c]);
    }
    Numbers::Float(y).into_tensor(x.shape(), x.dtype())
}

/// Returns the slopes and offsets by which a normalisation over `count` groups changes every channel.
pub(super) fn coefficients(inputs: &Inputs, count: usize, epsilon: f32) -> Result<Tensor> {
    let x = inputs.required(0)?;
    let channels = channel_count(x)?;
    if count == 0 || channels % count != 0 {
        return Err(Error::shape(format!("{channels} channels do not form {count} groups")));
    }
    let (scale, bias) = (per_channel(inputs, 1, channels)?, per_channel(inputs, 2, channels)?);
    let (images, depth) = (x.shape()[0], channels / count);
    let plane = x.shape()[2..].iter().product::<usize>();
    let elements = floats(x)?;
    let mut y = Vec::with_capacity(2 * images * channels);
    for image in elements.chunks((channels * plane).max(1)).take(images) {
        let groups: Vec<_> = (0..count)
            .map(|group| moments(&image[group * depth * plane..][..depth * plane], epsilon))
            .collect();
        let slope = |c: usize| scale[c] * groups[c / depth].1;
        y.extend((0..channels).map(slope));
        y.extend((0..channels).map(|c| bias[c] - groups[c / depth].0 * slope(c)));
    }
    Numbers::Float(y).into_tensor(&[images, 2, channels], x.dtype())
}

pub(super) fn layer(inputs: &Inputs, axis: i64, epsilon: f32) -> Result<Tensor> {
    let x = inputs.required(0)?;
    let axis = geometry::axis(axis, x.shape().len())?;
    let normalised = &x.shape()[axis..];
    let size = normalised.iter().product::<usize>().max(1);
    let mut y = floats(x)?;
    y.chunks_mut(size).for_each(|group| standardise(group, epsilon));
    for (i, combine) in [(1, mul as fn(f64, f64) -> f64), (2, add)] {
        let Some(operand) = inputs.optional(i) else { continue };
        if geometry::broadcast(&[operand.shape(), x.shape()])? != x.shape() {
            return Err(Error::shape(format!(
                "input {i} of shape {:?} does not broadcast to {:?}",
                operand.shape(),
                x.shape()
            )));
        }
        let (values, places) =
            (floats(operand)?, geometry::broadcast_places(operand.shape(), x.shape()));
        y.iter_mut().zip(places).for_each(|(y, p)| *y = combine(*y, values[p]));
    }
    Numbers::Float(y).into_tensor(x.shape(), x.dtype())
}

fn mul(a: f64, b: f64) -> f64 {
    a * b
}

fn add(a: f64, b: f64) -> f64 {
    a + b
}

pub(super) fn softmax(op: &Softmax, x: &Tensor, log: bool) -> Result<Tensor> {
    let rank = x.shape().len();
    let axis = geometry::axis(op.axis, rank)?;
    let end = if op.flatten { rank } else { axis + 1 };
    let size: usize = x.shape()[axis..end].iter().product();
    let inner: usize = x.shape()[end..].iter().product();
    let mut y = floats(x)?;
    for block in y.chunks_mut((size * inner).max(1)) {
        for i in 0..inner {
            let along = || (0..size).map(|j| j * inner + i);
            let max = along().map(|p| block[p]).fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = along().map(|p| (block[p] - max).exp()).sum();
            for p in along() {
                let shifted = block[p] - max;
                block[p] = if log { shifted - sum.ln() } else { shifted.exp() / sum };
            }
        }
    }
    Numbers::Float(y).into_tensor(x.shape(), x.dtype())
}
