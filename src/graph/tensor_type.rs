//! The type of a value.

use super::Dim;
use crate::tensor::{DType, Tensor};

/// The element type and the sizes of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorType {
    /// The element type.
    pub dtype: DType,
    /// The sizes of the axes, outermost first.
    pub dims: Vec<Dim>,
}

impl TensorType {
    /// Returns the type of a tensor.
    pub fn from_tensor(tensor: &Tensor) -> Self {
        let dims = tensor.shape().iter().map(|&d| d.into()).collect();
        TensorType { dtype: tensor.dtype(), dims }
    }

    /// Returns the sizes, if all are known.
    pub fn fixed_shape(&self) -> Option<Vec<usize>> {
        self.dims.iter().map(Dim::as_size).collect()
    }
}

impl std::fmt::Display for TensorType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.dtype, self.dims)
    }
}
