//! What is known about the values of a graph.

use crate::graph::{Dim, TensorType, ValueId};
use crate::tensor::DType;

/// The types of all values of a graph, and the elements of those on which shapes depend.
#[derive(Clone, Debug)]
pub struct Types {
    pub(super) types: Vec<Option<TensorType>>,
    /// The elements of tensors of any element type, if all of them are integers.
    pub(super) elements: Vec<Option<Vec<Dim>>>,
}

impl Types {
    /// Returns the type of a value, or `None` if nothing produces it or its number of axes depends
    /// on data.
    pub fn get(&self, value: ValueId) -> Option<&TensorType> {
        self.types.get(value.index())?.as_ref()
    }

    /// Returns the elements of an integer tensor with at most one axis, if they depend on constants
    /// and sizes only.
    pub fn contents(&self, value: ValueId) -> Option<&[Dim]> {
        let integers = matches!(self.get(value)?.dtype, DType::I64 | DType::I32);
        self.elements(value).filter(|_| integers)
    }

    /// Returns the elements as [`contents`](Self::contents) does, also those of tensors of truth
    /// values (as 0 and 1) and of floating-point tensors that hold integers: exported calculations
    /// of sizes go through them.
    pub(super) fn elements(&self, value: ValueId) -> Option<&[Dim]> {
        self.elements.get(value.index())?.as_deref()
    }
}
