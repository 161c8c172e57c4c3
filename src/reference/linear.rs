//! Matrix products.

use super::numbers::Numbers;
use crate::error::{Error, Result};
use crate::graph::Gemm;
use crate::graph::geometry::{self, BatchedProduct, ProductSizes, broadcast_places};
use crate::tensor::Tensor;

fn widened(x: &Tensor) -> Result<Vec<f64>> {
    Ok(Numbers::from_tensor(x)?.into_floats())
}

/// Checks that a product does not mix element types.
fn check_same_type(operands: &[&Tensor]) -> Result<()> {
    match operands.iter().find(|operand| operand.dtype() != operands[0].dtype()) {
        Some(other) => {
            let (first, other) = (operands[0].dtype(), other.dtype());
            Err(Error::shape(format!("operands must be of one type, found {first} and {other}")))
        }
        None => Ok(()),
    }
}

/// Computes `a [rows, inner]` times `b [inner, columns]`.
fn product(a: &[f64], b: &[f64], sizes: ProductSizes) -> Vec<f64> {
    let ProductSizes { rows, inner, columns } = sizes;
    let mut y = vec![0.0; rows * columns];
    for i in 0..rows {
        for l in 0..inner {
            let factor = a[i * inner + l];
            for j in 0..columns {
                y[i * columns + j] += factor * b[l * columns + j];
            }
        }
    }
    y
}

fn transposed(x: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    (0..columns).flat_map(|c| (0..rows).map(move |r| x[r * columns + c])).collect()
}

pub(super) fn gemm(op: &Gemm, a: &Tensor, b: &Tensor, c: Option<&Tensor>) -> Result<Tensor> {
    check_same_type(&[Some(a), Some(b), c].into_iter().flatten().collect::<Vec<_>>())?;
    let sizes = geometry::gemm(op, a.shape(), b.shape(), c.map(Tensor::shape))?;
    let ProductSizes { rows, inner, columns } = sizes;
    let (mut left, mut right) = (widened(a)?, widened(b)?);
    if op.trans_a {
        left = transposed(&left, inner, rows);
    }
    if op.trans_b {
        right = transposed(&right, columns, inner);
    }
    let mut y = product(&left, &right, sizes);
    y.iter_mut().for_each(|y| *y *= f64::from(op.alpha));
    if let Some(c) = c {
        let (values, places) = (widened(c)?, broadcast_places(c.shape(), &[rows, columns]));
        y.iter_mut().zip(places).for_each(|(y, p)| *y += f64::from(op.beta) * values[p]);
    }
    Numbers::Float(y).into_tensor(&[rows, columns], a.dtype())
}

pub(super) fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    check_same_type(&[a, b])?;
    let BatchedProduct { sizes, pairs, shape } = geometry::matmul(a.shape(), b.shape())?;
    let ProductSizes { rows, inner, columns } = sizes;
    let (left, right) = (widened(a)?, widened(b)?);
    let products = pairs.into_iter().flat_map(|(i, j)| {
        let left = &left[i * rows * inner..][..rows * inner];
        product(left, &right[j * inner * columns..][..inner * columns], sizes)
    });
    Numbers::Float(products.collect()).into_tensor(&shape, a.dtype())
}
