//! Operations on f32 tensors of any rank: one family per file.
//!
//! They are for values that are no maps. Whatever their elements are, results are those of the
//! [reference](crate::reference) up to rounding, and the same for any number of threads and images.

mod arithmetic;
mod elementwise;
mod movement;
mod normalisation;
mod per_plane;
mod reduction;
#[cfg(test)]
mod tests;
mod view;

pub use arithmetic::Arithmetic;
pub use elementwise::Elementwise;
pub use movement::Movement;
pub use normalisation::Normalisation;
pub use per_plane::PerPlane;
pub use reduction::Reduction;
pub use view::View;

use super::product::MatrixProduct;
use crate::error::{Error, Result};
use crate::simd::Isa;
use crate::tensor::Tensor;

/// What a step computes from tensors.
pub trait TensorOperation: Send + Sync {
    /// Returns the name that listings of a plan show.
    fn name(&self) -> &'static str;

    /// Computes the first `outputs` outputs. The elements of inputs that nothing else holds may become
    /// those of an output.
    ///
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape) if the inputs do not fit the operation or each other, or are
    /// not of type f32; [`Graph`](crate::ErrorKind::Graph) if one is missing.
    fn run(&self, isa: Isa, inputs: TensorInputs, outputs: usize) -> Result<Vec<Tensor>>;

    /// Returns the multiply-adds for `inputs`, where they are worth counting.
    fn macs(&self, _inputs: &TensorInputs) -> usize {
        0
    }
}

/// The inputs of a [`TensorOperation`], of which an optional one may be absent.
pub struct TensorInputs(pub Vec<Option<Tensor>>);

impl TensorInputs {
    /// Returns an input, or `None` if it is absent.
    pub fn get(&self, i: usize) -> Option<&Tensor> {
        self.0.get(i)?.as_ref()
    }

    /// Returns an input that must be there.
    fn required(&self, i: usize) -> Result<&Tensor> {
        self.get(i).ok_or_else(|| missing(i))
    }

    /// Takes out an input that must be there.
    fn take(&mut self, i: usize) -> Result<Tensor> {
        self.0.get_mut(i).and_then(Option::take).ok_or_else(|| missing(i))
    }

    /// Returns the elements of an input of integers, or `None` if it is absent.
    fn integers(&self, i: usize) -> Result<Option<Vec<i64>>> {
        self.get(i).map(Tensor::to_i64s).transpose()
    }

    fn as_refs(&self) -> Vec<Option<&Tensor>> {
        self.0.iter().map(Option::as_ref).collect()
    }
}

fn missing(i: usize) -> Error {
    Error::graph(format!("input {i} is missing"))
}

/// Changes the elements of a tensor: in place if nothing else holds them, otherwise in a copy.
fn changed(mut tensor: Tensor, change: impl FnOnce(&mut [f32])) -> Result<Tensor> {
    if let Some(elements) = tensor.unique_f32() {
        change(elements);
        return Ok(tensor);
    }
    let mut elements = tensor.as_f32()?.to_vec();
    change(&mut elements);
    Tensor::new(tensor.shape(), elements)
}

impl TensorOperation for MatrixProduct {
    fn name(&self) -> &'static str {
        "product"
    }

    fn run(&self, _: Isa, inputs: TensorInputs, _: usize) -> Result<Vec<Tensor>> {
        Ok(vec![MatrixProduct::run(self, &inputs.as_refs())?])
    }

    fn macs(&self, inputs: &TensorInputs) -> usize {
        match (inputs.get(0), inputs.get(1)) {
            (Some(a), Some(b)) => MatrixProduct::macs(self, a.shape(), b.shape()),
            _ => 0,
        }
    }
}
