//! What a run reads.

use crate::error::Result;
use crate::tensor::{DType, Tensor};

/// What a run is given for an input of the network.
#[derive(Clone, Copy)]
pub enum Input<'a> {
    /// A tensor of any element type.
    Tensor(&'a Tensor),
    /// Elements in row-major order.
    F32 {
        /// Sizes of the axes.
        shape: &'a [usize],
        /// As many elements.
        data: &'a [f32],
    },
}

impl Input<'_> {
    /// The sizes of the axes.
    pub fn shape(&self) -> &[usize] {
        match self {
            Input::Tensor(tensor) => tensor.shape(),
            Input::F32 { shape, .. } => shape,
        }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        match self {
            Input::Tensor(tensor) => tensor.dtype(),
            Input::F32 { .. } => DType::F32,
        }
    }

    pub(in crate::plan) fn as_f32(&self) -> Result<&[f32]> {
        match self {
            Input::Tensor(tensor) => tensor.as_f32(),
            Input::F32 { data, .. } => Ok(data),
        }
    }

    pub(in crate::plan) fn to_tensor(self) -> Result<Tensor> {
        match self {
            Input::Tensor(tensor) => Ok(tensor.clone()),
            Input::F32 { shape, data } => Tensor::new(shape, data.to_vec()),
        }
    }
}
