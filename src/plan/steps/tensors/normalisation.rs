//! Softmax, and normalisation by the statistics of the input.

use super::arithmetic::binary;
use super::{TensorInputs, TensorOperation, changed};
use crate::error::{Error, Result};
use crate::graph::{Softmax, geometry};
use crate::kernels::tensors::arithmetic::Operation;
use crate::kernels::tensors::normalise::{Scaling, normalise};
use crate::kernels::tensors::softmax::softmax;
use crate::simd::Isa;
use crate::tensor::Tensor;

/// A normalisation of the first input.
#[derive(Clone, Copy, Debug)]
pub enum Normalisation {
    /// Softmax.
    Softmax(Softmax),
    /// The logarithm of softmax.
    LogSoftmax(Softmax),
    /// Over the axes from `axis` on. Inputs `x`, `[scale]`, `[bias]`.
    Layer {
        /// The first normalised axis.
        axis: i64,
        /// Added to the variance.
        epsilon: f32,
    },
    /// Over groups of channels. Inputs `x`, `scale [C]`, `bias [C]`.
    Groups {
        /// The number of groups; a group per channel if it is `None`.
        count: Option<usize>,
        /// Added to the variance.
        epsilon: f32,
    },
}

impl TensorOperation for Normalisation {
    fn name(&self) -> &'static str {
        match self {
            Normalisation::Softmax(_) | Normalisation::LogSoftmax(_) => "softmax",
            Normalisation::Layer { .. } | Normalisation::Groups { .. } => "normalise",
        }
    }

    fn run(&self, isa: Isa, mut inputs: TensorInputs, _: usize) -> Result<Vec<Tensor>> {
        let x = inputs.take(0)?;
        let y = match *self {
            Normalisation::Softmax(op) => along_axis(isa, &op, x, false),
            Normalisation::LogSoftmax(op) => along_axis(isa, &op, x, true),
            Normalisation::Layer { axis, epsilon } => layer(isa, axis, epsilon, x, &mut inputs),
            Normalisation::Groups { count, epsilon } => groups(isa, count, epsilon, x, &inputs),
        };
        Ok(vec![y?])
    }
}

fn along_axis(isa: Isa, op: &Softmax, x: Tensor, logarithm: bool) -> Result<Tensor> {
    let rank = x.shape().len();
    let axis = geometry::axis(op.axis, rank)?;
    let end = if op.flatten { rank } else { axis + 1 };
    let size = x.shape()[axis..end].iter().product();
    let inner = x.shape()[end..].iter().product();
    changed(x, |x| softmax(isa, x, [size, inner], logarithm))
}

fn layer(
    isa: Isa,
    axis: i64,
    epsilon: f32,
    x: Tensor,
    inputs: &mut TensorInputs,
) -> Result<Tensor> {
    let shape = x.shape().to_vec();
    let normalised = &shape[geometry::axis(axis, shape.len())?..];
    let size = normalised.iter().product::<usize>().max(1);
    for i in [1, 2] {
        let Some(operand) = inputs.get(i) else { continue };
        if geometry::broadcast(&[operand.shape(), &shape])? != shape {
            return Err(Error::shape(format!(
                "input {i} of shape {:?} does not broadcast to {shape:?}",
                operand.shape()
            )));
        }
    }
    let has_sizes = |operand: &Tensor| without_ones(operand.shape()) == without_ones(normalised);
    let (scale, bias) = (inputs.get(1), inputs.get(2));
    if !scale.is_none_or(has_sizes) || !bias.is_none_or(has_sizes) {
        let scaling = Scaling { scale: None, bias: None, run: 1 };
        let mut y = changed(x, |x| normalise(isa, x, size, epsilon, scaling))?;
        for (i, operation) in [(1, Operation::Product), (2, Operation::Sum)] {
            if inputs.get(i).is_some() {
                y = binary(isa, operation, y, inputs.take(i)?)?;
            }
        }
        return Ok(y);
    }
    let (scale, bias) = (scale.map(Tensor::as_f32), bias.map(Tensor::as_f32));
    let scaling = Scaling { scale: scale.transpose()?, bias: bias.transpose()?, run: 1 };
    changed(x, |x| normalise(isa, x, size, epsilon, scaling))
}

/// Returns a shape without the axes of size 1 at its front.
fn without_ones(shape: &[usize]) -> &[usize] {
    let ones = shape.iter().take_while(|&&size| size == 1).count();
    &shape[ones..]
}

fn groups(
    isa: Isa,
    count: Option<usize>,
    epsilon: f32,
    x: Tensor,
    inputs: &TensorInputs,
) -> Result<Tensor> {
    let [_, channels, positions @ ..] = x.shape() else {
        return Err(Error::shape(format!("expected an input [N,C,..], found {:?}", x.shape())));
    };
    if count.is_none() && positions.is_empty() {
        let shape = x.shape();
        return Err(Error::shape(format!(
            "expected an input with 3 or more axes, found {shape:?}"
        )));
    }
    let (channels, plane) = (*channels, positions.iter().product::<usize>());
    let count = count.unwrap_or(channels.max(1));
    if count == 0 || !channels.is_multiple_of(count) {
        return Err(Error::shape(format!("{channels} channels do not form {count} groups")));
    }
    let of_channels = |i: usize| {
        let numbers = inputs.required(i)?.as_f32()?;
        match numbers.len() {
            found if found != channels => Err(Error::shape(format!(
                "expected {channels} values, one per channel, found {found}"
            ))),
            _ => Ok(Some(numbers)),
        }
    };
    let scaling = Scaling { scale: of_channels(1)?, bias: of_channels(2)?, run: plane };
    changed(x, |x| normalise(isa, x, channels / count * plane, epsilon, scaling))
}
