//! What a caller passes for an input of a network.

use crate::error::Result;
use crate::tensor::{DType, Tensor};

/// An input of a run, borrowed from the caller.
#[derive(Clone, Copy)]
pub enum Input<'a> {
    /// A tensor of any element type.
    Tensor(&'a Tensor),
    /// Elements of type f32 in row-major order.
    F32 {
        /// The sizes of the axes.
        shape: &'a [usize],
        /// The elements, as many as the product of `shape`.
        data: &'a [f32],
    },
}

impl Input<'_> {
    /// Returns the sizes of the axes.
    pub fn shape(&self) -> &[usize] {
        match self {
            Input::Tensor(tensor) => tensor.shape(),
            Input::F32 { shape, .. } => shape,
        }
    }

    /// Returns the element type.
    pub fn dtype(&self) -> DType {
        match self {
            Input::Tensor(tensor) => tensor.dtype(),
            Input::F32 { .. } => DType::F32,
        }
    }

    pub(super) fn as_f32(&self) -> Result<&[f32]> {
        match self {
            Input::Tensor(tensor) => tensor.as_f32(),
            Input::F32 { data, .. } => Ok(data),
        }
    }

    pub(super) fn to_tensor(self) -> Result<Tensor> {
        match self {
            Input::Tensor(tensor) => Ok(tensor.clone()),
            Input::F32 { shape, data } => Tensor::new(shape, data.to_vec()),
        }
    }
}
