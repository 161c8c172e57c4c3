//! Arithmetic of tensors that are broadcast to a common shape.

use super::{TensorInputs, TensorOperation, changed};
use crate::error::{Error, Result};
use crate::graph::geometry;
use crate::kernels::tensors::arithmetic::{Operation, combine};
use crate::kernels::tensors::strided::{self, Axis};
use crate::simd::Isa;
use crate::tensor::{DType, Tensor, strides};

/// A function of two or more tensors, element by element.
#[derive(Clone, Copy, Debug)]
pub struct Arithmetic {
    /// What is computed from the result so far and the next input.
    pub operation: Operation,
    /// Whether the result is divided by the number of inputs.
    pub mean: bool,
}

impl TensorOperation for Arithmetic {
    fn name(&self) -> &'static str {
        "arithmetic"
    }

    fn run(&self, isa: Isa, mut inputs: TensorInputs, _: usize) -> Result<Vec<Tensor>> {
        let count = inputs.0.len();
        let first = inputs.take(0)?;
        if self.operation == Operation::Slope {
            check_slope(&first, inputs.required(1)?)?;
        }
        let add = |y, i| binary(isa, self.operation, y, inputs.take(i)?);
        let y = (1..count).try_fold(first, add)?;
        let y = match self.mean {
            true => changed(y, |y| y.iter_mut().for_each(|y| *y /= count as f32))?,
            false => y,
        };
        Ok(vec![y])
    }
}

fn check_slope(x: &Tensor, slope: &Tensor) -> Result<()> {
    if geometry::broadcast(&[x.shape(), slope.shape()])? != x.shape() {
        let (slope, x) = (slope.shape(), x.shape());
        return Err(Error::shape(format!("the slope {slope:?} does not broadcast to {x:?}")));
    }
    Ok(())
}

/// Combines two tensors.
pub(super) fn binary(
    isa: Isa,
    operation: Operation,
    mut a: Tensor,
    mut b: Tensor,
) -> Result<Tensor> {
    let shape = geometry::broadcast(&[a.shape(), b.shape()])?;
    geometry::element_count(&shape, DType::F32)?;
    let is_full = |tensor: &Tensor| tensor.shape() == shape;
    // The result takes the place of an operand of its size, if nothing else holds that.
    let b_instead =
        is_full(&b) && (!is_full(&a) || (a.unique_f32().is_none() && b.unique_f32().is_some()));
    let (y, other) = match (b_instead, is_full(&a)) {
        (true, _) => (b, a),
        (false, true) => (a, b),
        (false, false) => (expanded(isa, &a, &shape)?, b),
    };
    let axes = broadcast_axes(other.shape(), &shape);
    let others = other.as_f32()?;
    changed(y, |y| combine(isa, operation, y, b_instead, others, &axes))
}

/// Returns the axes of `shape`, to which a tensor of shape `from` is broadcast.
pub(super) fn broadcast_axes(from: &[usize], shape: &[usize]) -> Vec<Axis> {
    let (own, added) = (strides(from), shape.len() - from.len());
    let stride = |i: usize| match i.checked_sub(added) {
        Some(i) if from[i] != 1 => own[i] as isize,
        _ => 0,
    };
    shape.iter().enumerate().map(|(i, &size)| Axis { size, stride: stride(i) }).collect()
}

/// Returns `x` broadcast to `shape`.
pub(super) fn expanded(isa: Isa, x: &Tensor, shape: &[usize]) -> Result<Tensor> {
    let mut y = Vec::new();
    strided::copy(isa, x.as_f32()?, 0, &broadcast_axes(x.shape(), shape), &mut y);
    Tensor::new(shape, y)
}
