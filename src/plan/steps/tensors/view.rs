//! Operators that change the shape of a tensor and leave its elements where they are.

use super::{TensorInputs, TensorOperation};
use crate::error::Result;
use crate::graph::Op;
use crate::reference;
use crate::simd::Isa;
use crate::tensor::Tensor;

/// An operator whose output shares the elements of its first input, which may be of any type.
#[derive(Clone, Debug)]
pub struct View(pub Op);

impl TensorOperation for View {
    fn name(&self) -> &'static str {
        "view"
    }

    fn run(&self, _: Isa, inputs: TensorInputs, outputs: usize) -> Result<Vec<Tensor>> {
        // The reference copies no elements where it only computes a shape.
        reference::evaluate(&self.0, &inputs.as_refs(), outputs)
    }
}
