//! Functions of one element.

use super::{TensorInputs, TensorOperation, changed};
use crate::error::Result;
use crate::kernels::tensors::function::{Function, apply};
use crate::simd::Isa;
use crate::tensor::Tensor;

/// A function of every element of the first input. Further inputs are part of the function.
#[derive(Clone, Copy, Debug)]
pub struct Elementwise(pub Function);

impl TensorOperation for Elementwise {
    fn name(&self) -> &'static str {
        "function"
    }

    fn run(&self, isa: Isa, mut inputs: TensorInputs, _: usize) -> Result<Vec<Tensor>> {
        Ok(vec![changed(inputs.take(0)?, |x| apply(isa, self.0, x))?])
    }
}
