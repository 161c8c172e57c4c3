//! Plain matrix products, through the `gemm` crate.

/// A matrix in a slice, by rows or by columns.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `rows x columns`, row after row.
    ///
    /// # Panics
    /// Where `data` is too short.
    pub fn by_rows(data: &'a [f32], rows: usize, columns: usize) -> Self {
        assert!(rows.checked_mul(columns).is_some_and(|n| n <= data.len()));
        Matrix { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The transpose, without a copy.
    pub fn transposed(self) -> Self {
        Matrix {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// `c += a b`, with `c` row after row.
///
/// # Panics
/// Where the sizes do not fit together.
#[allow(unsafe_code)]
pub fn add_product(c: &mut [f32], a: Matrix, b: Matrix) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert_eq!(k, b.rows, "the inner sizes of a product are equal");
    assert!(m.checked_mul(n).is_some_and(|size| size <= c.len()));
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    // SAFETY: `Matrix` holds at least rows * columns elements under strides that reach no further
    // (checked on construction; a transpose only swaps the two), `c` holds m * n elements (checked
    // above), and `c` is borrowed mutably, so that it overlaps neither.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            n as isize,
            true,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_agree_with_the_definition() {
        for (m, k, n) in [(1, 1, 1), (3, 5, 7), (17, 33, 9), (1, 64, 1), (8, 0, 3)] {
            let a: Vec<f32> = (0..m * k).map(|i| (i % 7) as f32 - 3.0).collect();
            let b: Vec<f32> = (0..n * k).map(|i| (i % 5) as f32 - 2.0).collect();
            let mut c = vec![1.0; m * n];
            let bt = Matrix::by_rows(&b, n, k).transposed();
            add_product(&mut c, Matrix::by_rows(&a, m, k), bt);
            for i in 0..m {
                for j in 0..n {
                    let dot: f32 = (0..k).map(|l| a[i * k + l] * b[j * k + l]).sum();
                    assert_eq!(c[i * n + j], 1.0 + dot, "{m}x{k}x{n} at {i},{j}");
                }
            }
        }
    }
}
