//! Sizes of matrix products.

use super::{broadcast, broadcast_places, element_count};
use crate::error::{Error, Result};
use crate::graph::Gemm;
use crate::tensor::DType;

/// The sizes of one product: `[rows, inner]` times `[inner, columns]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProductSizes {
    /// Rows of the left operand and of the result.
    pub rows: usize,
    /// Columns of the left operand, rows of the right one.
    pub inner: usize,
    /// Columns of the right operand and of the result.
    pub columns: usize,
}

/// The sizes of a batch of products, as numpy's `matmul` resolves them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BatchedProduct {
    /// The sizes of each product.
    pub sizes: ProductSizes,
    /// The operands of each product: their numbers among the matrices of either side.
    pub pairs: Vec<(usize, usize)>,
    /// The shape of the result.
    pub shape: Vec<usize>,
}

/// Resolves the product of tensors of shapes `a` and `b`. A vector stands for a row on the left and
/// for a column on the right, and the result lacks its axis.
///
/// # Errors
/// [`Shape`](crate::ErrorKind::Shape) if an operand has no axis, if the inner sizes differ, if the
/// other axes do not broadcast, or if the result is too large.
pub(crate) fn matmul(a: &[usize], b: &[usize]) -> Result<BatchedProduct> {
    let (a_batch, row_axis, a_inner) = match a {
        [] => return Err(no_axis()),
        [inner] => (&[][..], None, inner),
        [batch @ .., rows, inner] => (batch, Some(rows), inner),
    };
    let (b_batch, b_inner, column_axis) = match b {
        [] => return Err(no_axis()),
        [inner] => (&[][..], inner, None),
        [batch @ .., inner, columns] => (batch, inner, Some(columns)),
    };
    if a_inner != b_inner {
        return Err(Error::shape(format!("the inner sizes of {a:?} and {b:?} must be equal")));
    }
    let batch = broadcast(&[a_batch, b_batch])?;
    let axes = row_axis.into_iter().chain(column_axis).copied();
    let shape: Vec<usize> = batch.iter().copied().chain(axes).collect();
    element_count(&shape, DType::F64)?;
    let numbers = broadcast_places(a_batch, &batch).into_iter();
    let pairs = numbers.zip(broadcast_places(b_batch, &batch)).collect();
    let [rows, columns] = [row_axis, column_axis].map(|size| size.copied().unwrap_or(1));
    Ok(BatchedProduct { sizes: ProductSizes { rows, inner: *a_inner, columns }, pairs, shape })
}

fn no_axis() -> Error {
    Error::shape("a matrix product needs at least one axis on both sides, found a scalar")
}

/// Resolves a `Gemm` of matrices of shapes `a` and `b`, to which a tensor of shape `c` is added.
///
/// # Errors
/// [`Shape`](crate::ErrorKind::Shape) if an operand is not a matrix, if the inner sizes differ, if
/// `c` does not broadcast to the result, or if the result is too large.
pub(crate) fn gemm(
    op: &Gemm,
    a: &[usize],
    b: &[usize],
    c: Option<&[usize]>,
) -> Result<ProductSizes> {
    let (&[a_rows, a_columns], &[b_rows, b_columns]) = (a, b) else {
        return Err(Error::shape(format!("expected two matrices, found shapes {a:?} and {b:?}")));
    };
    let (rows, inner) = if op.trans_a { (a_columns, a_rows) } else { (a_rows, a_columns) };
    let (b_inner, columns) = if op.trans_b { (b_columns, b_rows) } else { (b_rows, b_columns) };
    if inner != b_inner {
        return Err(Error::shape(format!(
            "the inner sizes are {inner} and {b_inner}, and must be equal"
        )));
    }
    element_count(&[rows, columns], DType::F64)?;
    if let Some(c) = c
        && broadcast(&[c, &[rows, columns]])? != [rows, columns]
    {
        return Err(Error::shape(format!("C {c:?} does not broadcast to [{rows}, {columns}]")));
    }
    Ok(ProductSizes { rows, inner, columns })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_lend_an_axis_and_batches_broadcast() {
        for (a, b, shape, pairs) in [
            (&[3][..], &[3][..], &[][..], 1),
            (&[3], &[3, 5], &[5], 1),
            (&[2, 3], &[3], &[2], 1),
            (&[4, 2, 3], &[3, 5], &[4, 2, 5], 4),
            (&[4, 1, 2, 3], &[7, 3, 5], &[4, 7, 2, 5], 28),
            (&[0, 2, 3], &[1, 3, 5], &[0, 2, 5], 0),
        ] {
            let product = matmul(a, b).unwrap();
            assert_eq!((product.shape.as_slice(), product.pairs.len()), (shape, pairs));
        }
        let pairs = matmul(&[2, 1, 1, 3], &[2, 3, 1]).unwrap().pairs;
        assert_eq!(pairs, [(0, 0), (0, 1), (1, 0), (1, 1)]);
        assert!(matmul(&[], &[3]).is_err());
        assert!(matmul(&[2, 3], &[2, 3]).is_err());
        assert!(matmul(&[2, 1, 3], &[3, 3, 1]).is_err());
    }
}
