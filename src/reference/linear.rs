//! Matrix products.

use super::numbers::{Numbers, broadcast_places};
use crate::error::{Error, Result};
use crate::graph::{Gemm, geometry};
use crate::tensor::{DType, Tensor};

/// Integers widen exactly up to 2^53, far beyond what networks hold.
fn widened(x: &Tensor) -> Result<Vec<f64>> {
    Ok(match Numbers::of(x)? {
        Numbers::Float(values) => values,
        Numbers::Int(values) => values.into_iter().map(|x| x as f64).collect(),
    })
}

/// Checks that a product does not mix element types.
fn same_type(operands: &[&Tensor]) -> Result<()> {
    match operands.iter().find(|operand| operand.dtype() != operands[0].dtype()) {
        Some(other) => {
            let (first, other) = (operands[0].dtype(), other.dtype());
            Err(Error::shape(format!("operands must be of one type, found {first} and {other}")))
        }
        None => Ok(()),
    }
}

/// `a [m,k]` times `b [k,n]`.
fn product(a: &[f64], b: &[f64], m: usize, k: usize, n: usize) -> Vec<f64> {
    let mut c = vec![0.0; m * n];
    for i in 0..m {
        for l in 0..k {
            let factor = a[i * k + l];
            for j in 0..n {
                c[i * n + j] += factor * b[l * n + j];
            }
        }
    }
    c
}

fn transposed(x: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    (0..columns).flat_map(|c| (0..rows).map(move |r| x[r * columns + c])).collect()
}

pub(super) fn gemm(op: &Gemm, a: &Tensor, b: &Tensor, c: Option<&Tensor>) -> Result<Tensor> {
    let (&[a0, a1], &[b0, b1]) = (a.shape(), b.shape()) else {
        return Err(Error::shape(format!(
            "expected two matrices, found {:?} and {:?}",
            a.shape(),
            b.shape()
        )));
    };
    same_type(&[Some(a), Some(b), c].into_iter().flatten().collect::<Vec<_>>())?;
    let (m, k) = if op.trans_a { (a1, a0) } else { (a0, a1) };
    let (k_b, n) = if op.trans_b { (b1, b0) } else { (b0, b1) };
    if k != k_b {
        return Err(Error::shape(format!("the inner sizes are {k} and {k_b}, and must be equal")));
    }
    geometry::element_count(&[m, n], DType::F64)?;
    let (mut left, mut right) = (widened(a)?, widened(b)?);
    if op.trans_a {
        left = transposed(&left, a0, a1);
    }
    if op.trans_b {
        right = transposed(&right, b0, b1);
    }
    let mut y = product(&left, &right, m, k, n);
    y.iter_mut().for_each(|y| *y *= f64::from(op.alpha));
    if let Some(c) = c {
        if geometry::broadcast(&[c.shape(), &[m, n]])? != [m, n] {
            return Err(Error::shape(format!("C {:?} does not broadcast to {m} x {n}", c.shape())));
        }
        let (values, places) = (widened(c)?, broadcast_places(c.shape(), &[m, n]));
        y.iter_mut().zip(places).for_each(|(y, p)| *y += f64::from(op.beta) * values[p]);
    }
    Numbers::Float(y).into_tensor(&[m, n], a.dtype())
}

pub(super) fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    same_type(&[a, b])?;
    // Vectors become matrices for the product and lose the added axis again.
    let lift = |shape: &[usize], at: usize| {
        let mut shape = shape.to_vec();
        if shape.len() == 1 {
            shape.insert(at, 1);
        }
        shape
    };
    if a.shape().is_empty() || b.shape().is_empty() {
        return Err(Error::shape("a matrix product needs at least one axis on both sides"));
    }
    let (a_shape, b_shape) = (lift(a.shape(), 0), lift(b.shape(), 1));
    let (a_outer, a_inner) = a_shape.split_at(a_shape.len() - 2);
    let (b_outer, b_inner) = b_shape.split_at(b_shape.len() - 2);
    let (m, k, n) = (a_inner[0], a_inner[1], b_inner[1]);
    if b_inner[0] != k {
        return Err(Error::shape(format!(
            "the inner sizes of {:?} and {:?} must be equal",
            a.shape(),
            b.shape()
        )));
    }
    let outer = geometry::broadcast(&[a_outer, b_outer])?;
    let mut shape = [outer.as_slice(), &[m, n]].concat();
    geometry::element_count(&shape, DType::F64)?;
    let (left, right) = (widened(a)?, widened(b)?);
    let places = broadcast_places(a_outer, &outer).into_iter();
    let pairs = places.zip(broadcast_places(b_outer, &outer));
    let y: Vec<f64> = pairs
        .flat_map(|(i, j)| {
            product(&left[i * m * k..][..m * k], &right[j * k * n..][..k * n], m, k, n)
        })
        .collect();
    if b.shape().len() == 1 {
        shape.pop();
    }
    if a.shape().len() == 1 {
        shape.remove(outer.len());
    }
    Numbers::Float(y).into_tensor(&shape, a.dtype())
}
