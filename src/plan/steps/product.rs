//! Matrix products of tensors.
//!
//! No primitive, for its operands may have any rank: it reads and writes tensors in row-major
//! order, and not maps.

use crate::error::{Error, Result};
use crate::graph::Gemm;
use crate::graph::geometry::{self, BatchedProduct, ProductSizes, broadcast_places};
use crate::kernels::gemm::{Matrix, add_product};
use crate::tensor::{DType, Tensor};

/// A matrix product of f32 tensors that is not a layer with packed weights.
///
/// It runs on the calling thread. Each element of the result is the same, down to the last bit,
/// whatever the size of the batch.
#[derive(Clone, Copy)]
pub enum MatrixProduct {
    /// Inputs `A`, `B`; batched as numpy's `matmul`.
    MatMul,
    /// `alpha * A' B' + beta * C`. Inputs `A`, `B`, `[C]`.
    Gemm(Gemm),
}

impl MatrixProduct {
    /// Computes the product of `inputs`.
    ///
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape) if the inputs do not fit together or are not of type f32,
    /// [`Graph`](crate::ErrorKind::Graph) if one is missing.
    pub fn run(&self, inputs: &[Option<&Tensor>]) -> Result<Tensor> {
        let input = |i: usize| inputs.get(i).copied().flatten();
        let (Some(a), Some(b)) = (input(0), input(1)) else {
            return Err(Error::graph("a matrix product needs two inputs"));
        };
        match self {
            MatrixProduct::MatMul => matmul(a, b),
            MatrixProduct::Gemm(op) => gemm(op, a, b, input(2)),
        }
    }

    /// Returns the multiply-adds for operands of these shapes; 0 if they do not fit together.
    pub fn macs(&self, a: &[usize], b: &[usize]) -> usize {
        let (products, sizes) = match self {
            MatrixProduct::MatMul => match geometry::matmul(a, b) {
                Ok(product) => (product.pairs.len(), product.sizes),
                Err(_) => return 0,
            },
            MatrixProduct::Gemm(op) => match geometry::gemm(op, a, b, None) {
                Ok(sizes) => (1, sizes),
                Err(_) => return 0,
            },
        };
        products * sizes.rows * sizes.inner * sizes.columns
    }
}

/// Makes the elements of a result, all of them 0.
fn zeros(shape: &[usize]) -> Result<Vec<f32>> {
    Ok(vec![0.0; geometry::element_count(shape, DType::F32)?])
}

fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let BatchedProduct { mut sizes, mut pairs, shape } = geometry::matmul(a.shape(), b.shape())?;
    let (left, right) = (a.as_f32()?, b.as_f32()?);
    let mut y = zeros(&shape)?;
    // Many matrices times the same one are one tall matrix times it.
    if right.len() == sizes.inner * sizes.columns
        && left.len() == pairs.len() * sizes.rows * sizes.inner
    {
        sizes.rows *= pairs.len();
        pairs = vec![(0, 0)];
    }
    let ProductSizes { rows, inner, columns } = sizes;
    // Without elements there is nothing to cut into matrices.
    let results = y.chunks_exact_mut((rows * columns).max(1));
    for (y, (i, j)) in results.zip(pairs) {
        let left = Matrix::row_major(&left[i * rows * inner..][..rows * inner], rows, inner);
        let right = &right[j * inner * columns..][..inner * columns];
        add_product(left, Matrix::row_major(right, inner, columns), y);
    }
    Tensor::new(&shape, y)
}

fn gemm(op: &Gemm, a: &Tensor, b: &Tensor, c: Option<&Tensor>) -> Result<Tensor> {
    let sizes = geometry::gemm(op, a.shape(), b.shape(), c.map(Tensor::shape))?;
    let ProductSizes { rows, inner, columns } = sizes;
    let (left, right) = (a.as_f32()?, b.as_f32()?);
    let left = match op.trans_a {
        true => Matrix::row_major(left, inner, rows).transposed(),
        false => Matrix::row_major(left, rows, inner),
    };
    let right = match op.trans_b {
        true => Matrix::row_major(right, columns, inner).transposed(),
        false => Matrix::row_major(right, inner, columns),
    };
    let shape = [rows, columns];
    let mut y = zeros(&shape)?;
    add_product(left, right, &mut y);
    if op.alpha != 1.0 {
        y.iter_mut().for_each(|y| *y *= op.alpha);
    }
    if let Some(c) = c {
        let (values, places) = (c.as_f32()?, broadcast_places(c.shape(), &shape));
        y.iter_mut().zip(places).for_each(|(y, place)| *y += op.beta * values[place]);
    }
    Tensor::new(&shape, y)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Op;
    use crate::reference;

    fn wave(shape: &[usize], frequency: f32) -> Tensor {
        let count = shape.iter().product();
        let data: Vec<f32> = (0..count).map(|i: usize| (i as f32 * frequency).sin()).collect();
        Tensor::new(shape, data).unwrap()
    }

    /// Compares with the reference, which adds up in f64.
    fn check(step: &MatrixProduct, op: &Op, inputs: &[Option<&Tensor>]) {
        let expected = reference::evaluate(op, inputs, 1).unwrap().remove(0);
        let found = step.run(inputs).unwrap();
        assert_eq!(found.shape(), expected.shape());
        for (found, expected) in found.as_f32().unwrap().iter().zip(expected.as_f32().unwrap()) {
            assert!((found - expected).abs() <= 1e-4, "{op:?} of {inputs:?}: {found} {expected}");
        }
    }

    #[test]
    fn products_of_any_rank() {
        for (a, b) in [
            (&[1, 1][..], &[1, 1][..]),
            (&[7], &[7]),
            (&[7], &[7, 5]),
            (&[3, 7], &[7]),
            (&[2, 3, 7], &[7]),
            (&[7], &[2, 7, 5]),
            (&[2, 3, 7], &[7, 5]),
            (&[3, 7], &[2, 7, 5]),
            (&[1, 1, 600], &[4, 600, 1]),
            (&[2, 1, 3, 7], &[4, 7, 5]),
            (&[4, 1, 17, 33], &[1, 3, 33, 18]),
            (&[0, 3, 7], &[7, 5]),
            (&[2, 3, 0], &[0, 5]),
            (&[2, 0, 7], &[2, 7, 5]),
            (&[0, 3, 7], &[0, 7, 5]),
        ] {
            let (a, b) = (wave(a, 0.37), wave(b, 0.61));
            check(&MatrixProduct::MatMul, &Op::MatMul, &[Some(&a), Some(&b)]);
        }
        let scalar = wave(&[], 0.3);
        assert!(MatrixProduct::MatMul.run(&[Some(&scalar), Some(&scalar)]).is_err());
        assert!(MatrixProduct::MatMul.run(&[Some(&scalar), None]).is_err());
    }

    #[test]
    fn general_products() {
        let (rows, columns) = (5, 9);
        for case in 0..16 {
            let (trans_a, trans_b) = (case & 1 == 1, case & 2 == 2);
            let (alpha, beta) = if case & 4 == 4 { (0.7, -1.3) } else { (1.0, 1.0) };
            let inner = if case & 8 == 8 { 520 } else { 4 };
            let op = Gemm { alpha, beta, trans_a, trans_b };
            let stored = |rows, columns, transposed| match transposed {
                true => [columns, rows],
                false => [rows, columns],
            };
            let a = wave(&stored(rows, inner, trans_a), 0.37);
            let b = wave(&stored(inner, columns, trans_b), 0.61);
            let addends = [
                None,
                Some(wave(&[], 0.3)),
                Some(wave(&[columns], 0.3)),
                Some(wave(&[rows, 1], 0.3)),
                Some(wave(&[rows, columns], 0.3)),
            ];
            for c in &addends {
                let inputs = [Some(&a), Some(&b), c.as_ref()];
                check(&MatrixProduct::Gemm(op), &Op::Gemm(op), &inputs);
            }
            let wrong = wave(&[columns, columns], 0.3);
            assert!(MatrixProduct::Gemm(op).run(&[Some(&a), Some(&b), Some(&wrong)]).is_err());
            assert!(MatrixProduct::Gemm(op).run(&[Some(&a), None]).is_err());
        }
    }
}
