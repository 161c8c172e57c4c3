//! The inputs of a node.

use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The inputs of one node.
pub(super) struct Inputs<'t>(pub &'t [Option<&'t Tensor>]);

impl<'t> Inputs<'t> {
    pub fn required(&self, i: usize) -> Result<&'t Tensor> {
        self.optional(i).ok_or_else(|| Error::graph(format!("input {i} is missing")))
    }

    pub fn optional(&self, i: usize) -> Option<&'t Tensor> {
        self.0.get(i).copied().flatten()
    }

    pub fn integers(&self, i: usize) -> Result<Option<Vec<i64>>> {
        self.optional(i).map(Tensor::to_i64s).transpose()
    }
}
