//! Dynamic activations as the paper (arXiv 2003.10027) writes them: hyperfunction, max-affine
//! function, and the spatial attention of form C.

use super::elementwise::{clamp, erf, sigmoid};
use super::inputs::Inputs;
use super::numbers::{Numbers, floats};
use crate::error::{Error, Result};
use crate::graph::{
    ChannelActivation, HiddenActivation, Hyperfunction, MaxAffine, ShiftMax, SpatialAttention,
    Squash,
};
use crate::tensor::Tensor;

/// Computes `weight * x + bias` for a weight `[outputs, x.len()]`.
fn layer(x: &[f64], weight: &Tensor, bias: Option<&Tensor>) -> Result<Vec<f64>> {
    let &[rows, columns] = weight.shape() else {
        return Err(Error::shape(format!("expected a matrix, found {:?}", weight.shape())));
    };
    let mut y = bias.map_or_else(|| Ok(vec![0.0; rows]), floats)?;
    if columns != x.len() || y.len() != rows {
        return Err(Error::shape(format!(
            "a layer {rows} x {columns} with a bias of {} does not fit {} inputs",
            y.len(),
            x.len()
        )));
    }
    let weight = floats(weight)?;
    for (y, row) in y.iter_mut().zip(weight.chunks(columns.max(1))) {
        *y += row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>();
    }
    Ok(y)
}

fn activate(activation: HiddenActivation, x: f64) -> f64 {
    match activation {
        HiddenActivation::Relu => {
            if x < 0.0 {
                0.0
            } else {
                x
            }
        }
        HiddenActivation::Relu6 => clamp(x, 0.0, 6.0),
        HiddenActivation::HardSwish => x * clamp(x / 6.0 + 0.5, 0.0, 1.0),
        HiddenActivation::Gelu => 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2)),
        HiddenActivation::Swish => x * sigmoid(x),
        HiddenActivation::None => x,
    }
}

fn squash(squash: Squash, z: f64) -> f64 {
    match squash {
        Squash::Sigmoid => 2.0 * sigmoid(z) - 1.0,
        Squash::HardSigmoid => clamp(z / 3.0, -1.0, 1.0),
        Squash::None => z,
    }
}

pub(super) fn hyperfunction(op: &Hyperfunction, inputs: &Inputs) -> Result<Tensor> {
    let context = inputs.required(0)?;
    let (&[images, width], spatial) = context.shape().split_first_chunk().ok_or_else(|| {
        Error::shape(format!("expected a context [N,C], found {:?}", context.shape()))
    })?;
    if spatial.iter().any(|&d| d != 1) {
        return Err(Error::shape(format!(
            "expected a pooled context [N,C] or [N,C,1,1], found {:?}",
            context.shape()
        )));
    }
    let values = floats(context)?;
    let mut y = Vec::new();
    let outputs = inputs.required(3)?.shape().first().copied().unwrap_or(0);
    if outputs % (2 * op.k) != 0 {
        return Err(Error::shape(format!("{outputs} outputs do not fit K = {}", op.k)));
    }
    let channels = outputs / (2 * op.k);
    for image in 0..images {
        let mut hidden = values[image * width..][..width].to_vec();
        if let Some(fc1) = inputs.optional(1) {
            hidden = layer(&hidden, fc1, inputs.optional(2))?;
            hidden.iter_mut().for_each(|x| *x = activate(op.hidden, *x));
        }
        let z = layer(&hidden, inputs.required(3)?, inputs.optional(4))?;
        y.extend(z.into_iter().enumerate().map(|(i, z)| {
            let j = i / channels.max(1);
            f64::from(op.init[j]) + f64::from(op.lambda[j]) * squash(op.squash, z)
        }));
    }
    Numbers::Float(y).into_tensor(&[images, 2 * op.k, channels], context.dtype())
}

/// The coefficients of an activation, and the map that they are for.
struct Coefficients {
    theta: Vec<f64>,
    sets: usize,
    rows: usize,
    width: usize,
    channels: usize,
    plane: usize,
}

impl Coefficients {
    /// Reads `rows` coefficients `[N or 1, rows, C or 1]` of every channel of the map `x [N,C,..]`.
    fn of(x: &Tensor, theta: &Tensor, rows: usize) -> Result<Self> {
        let (&[images, channels], spatial) = x.shape().split_first_chunk().ok_or_else(|| {
            Error::shape(format!("expected a feature map [N,C,..], found {:?}", x.shape()))
        })?;
        match *theta.shape() {
            [sets, found, width]
                if found == rows
                    && (sets == 1 || sets == images)
                    && (width == 1 || width == channels) =>
            {
                let plane = spatial.iter().product();
                Ok(Coefficients { theta: floats(theta)?, sets, rows, width, channels, plane })
            }
            _ => Err(Error::shape(format!(
                "coefficients {:?} do not fit {rows} for each channel of a feature map {:?}",
                theta.shape(),
                x.shape()
            ))),
        }
    }

    /// Returns coefficient `j` of element `i` of the map.
    fn get(&self, i: usize, j: usize) -> f64 {
        let (image, channel) = (i / (self.channels * self.plane), i / self.plane % self.channels);
        let set = if self.sets == 1 { 0 } else { image };
        let c = if self.width == 1 { 0 } else { channel };
        self.theta[(set * self.rows + j) * self.width + c]
    }
}

/// Returns the larger of two numbers, or NaN if either is NaN.
fn larger(a: f64, b: f64) -> f64 {
    if a > b || a.is_nan() { a } else { b }
}

fn smaller(a: f64, b: f64) -> f64 {
    -larger(-a, -b)
}

pub(super) fn max_affine(op: &MaxAffine, inputs: &Inputs) -> Result<Tensor> {
    let x = inputs.required(0)?;
    let theta = Coefficients::of(x, inputs.required(1)?, 2 * op.k)?;
    let plane = theta.plane;
    let pi = inputs.optional(2).map(floats).transpose()?;
    let values = floats(x)?;
    let images = values.len().checked_div(theta.channels * plane).unwrap_or(0);
    if pi.as_ref().is_some_and(|pi| pi.len() != plane && pi.len() != images * plane) {
        return Err(Error::shape("the attention must have one value per position"));
    }
    let element = |(i, x): (usize, &f64)| {
        let piece = |k| theta.get(i, k) * x + theta.get(i, op.k + k);
        let largest = (1..op.k).map(piece).fold(piece(0), larger);
        let image = i / (theta.channels * plane);
        match &pi {
            Some(pi) if pi.len() == plane => pi[i % plane] * largest,
            Some(pi) => pi[image * plane + i % plane] * largest,
            None => largest,
        }
    };
    let y = values.iter().enumerate().map(element).collect();
    Numbers::Float(y).into_tensor(x.shape(), x.dtype())
}

pub(super) fn channel_activation(op: ChannelActivation, inputs: &Inputs) -> Result<Tensor> {
    let x = inputs.required(0)?;
    let theta = Coefficients::of(x, inputs.required(1)?, op.rows())?;
    let element = |(i, &x): (usize, &f64)| {
        let parameter = |j| theta.get(i, j);
        match op {
            ChannelActivation::MinAffine { k } => {
                let piece = |j| parameter(j) * x + parameter(k + j);
                (1..k).map(piece).fold(piece(0), smaller)
            }
            ChannelActivation::Clip => smaller(larger(x, parameter(0)), parameter(1)),
            ChannelActivation::TwoSlopes => {
                parameter(0) * larger(x, 0.0) + parameter(1) * smaller(x, 0.0)
            }
            ChannelActivation::Acon => {
                parameter(0) * x * sigmoid(parameter(2) * x) + parameter(1) * x
            }
        }
    };
    let y = floats(x)?.iter().enumerate().map(element).collect();
    Numbers::Float(y).into_tensor(x.shape(), x.dtype())
}

pub(super) fn shift_max(op: &ShiftMax, inputs: &Inputs) -> Result<Tensor> {
    let x = inputs.required(0)?;
    let theta = Coefficients::of(x, inputs.required(1)?, 2 * op.k)?;
    let (channels, plane) = (theta.channels, theta.plane);
    if op.source.len() != channels || op.source.iter().any(|&source| source >= channels) {
        return Err(Error::shape(format!("the sources do not fit {channels} channels")));
    }
    let values = floats(x)?;
    let element = |(i, &x): (usize, &f64)| {
        let (image, channel) = (i / (channels * plane), i / plane % channels);
        let other = values[(image * channels + op.source[channel]) * plane + i % plane];
        let piece = |k| theta.get(i, k) * x + theta.get(i, op.k + k) * other;
        (1..op.k).map(piece).fold(piece(0), larger)
    };
    let y = values.iter().enumerate().map(element).collect();
    Numbers::Float(y).into_tensor(x.shape(), x.dtype())
}

pub(super) fn spatial_attention(op: &SpatialAttention, z: &Tensor) -> Result<Tensor> {
    let (&[images, channels], spatial) = z
        .shape()
        .split_first_chunk()
        .ok_or_else(|| Error::shape(format!("expected a map [N,1,H,W], found {:?}", z.shape())))?;
    if channels != 1 {
        return Err(Error::shape(format!("an attention has 1 channel, found {channels}")));
    }
    let plane: usize = spatial.iter().product();
    let gamma = f64::from(op.gamma_per_position) * plane as f64;
    let mut values = floats(z)?;
    for image in 0..images {
        let z = &mut values[image * plane..][..plane];
        let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        z.iter_mut().for_each(|z| *z = ((*z - max) / f64::from(op.tau)).exp());
        let sum: f64 = z.iter().sum();
        z.iter_mut().for_each(|z| *z = clamp(gamma * *z / sum, f64::NEG_INFINITY, 1.0));
    }
    Numbers::Float(values).into_tensor(z.shape(), z.dtype())
}
