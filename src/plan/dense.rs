//! Fully connected layers.

use super::Kernel;
use crate::error::{Error, Result};
use crate::graph::Gemm;
use crate::kernels::matmul::{Matrix, add_product};
use crate::tensor::Tensor;

/// `alpha * A B' + beta * C` for a constant matrix `B`, one image after another, so that an
/// image's result does not depend on the batch that it is in.
pub struct DenseStep {
    attributes: Gemm,
}

impl DenseStep {
    /// A fully connected layer; `None` for products that are not one (transposed inputs, scaled).
    pub fn new(attributes: Gemm) -> Option<Self> {
        let plain = !attributes.trans_a && attributes.alpha == 1.0 && attributes.beta == 1.0;
        plain.then_some(DenseStep { attributes })
    }
}

impl Kernel for DenseStep {
    fn run(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (Some(x), Some(weight)) = (inputs[0], inputs[1]) else {
            return Err(Error::shape("a fully connected layer needs an input and a weight"));
        };
        let (&[images, depth], &[rows, columns]) = (x.shape(), weight.shape()) else {
            return Err(Error::shape(format!(
                "expected two axes, found {:?} and {:?}",
                x.shape(),
                weight.shape()
            )));
        };
        let (units, expected) =
            if self.attributes.trans_b { (rows, columns) } else { (columns, rows) };
        if expected != depth {
            return Err(Error::shape(format!("the weight takes {expected} inputs, found {depth}")));
        }
        let (x, weight) = (x.as_f32()?, weight.as_f32()?);
        let matrix = Matrix::by_rows(weight, rows, columns);
        let matrix = if self.attributes.trans_b { matrix.transposed() } else { matrix };
        let mut y = vec![0f32; images * units];
        let bias = inputs.get(2).copied().flatten();
        for (i, y) in y.chunks_exact_mut(units.max(1)).enumerate() {
            if let Some(bias) = bias {
                fill_bias(y, bias, i)?;
            }
            let x = Matrix::by_rows(&x[i * depth..], 1, depth);
            add_product(y, x, matrix);
        }
        Ok(vec![Tensor::new(&[images, units], y)?])
    }
}

fn fill_bias(y: &mut [f32], bias: &Tensor, image: usize) -> Result<()> {
    let values = bias.as_f32()?;
    match (bias.shape(), values.len()) {
        (_, 1) => y.fill(values[0]),
        ([.., units], n) if *units == y.len() => {
            let row = if n == *units { 0 } else { image };
            let row = values.get(row * units..(row + 1) * units);
            y.copy_from_slice(row.ok_or_else(|| unfit(bias, y.len()))?);
        }
        _ => return Err(unfit(bias, y.len())),
    }
    Ok(())
}

fn unfit(bias: &Tensor, units: usize) -> Error {
    Error::shape(format!("the bias {:?} does not fit {units} outputs", bias.shape()))
}
