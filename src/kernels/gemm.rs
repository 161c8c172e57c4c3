//! Products of matrices with any strides, by the `gemm` crate.
//!
//! They are those that no kernel with packed weights and an epilogue computes: products of two
//! feature maps, batches of products, products with computed weights. They are single-threaded.
//! Unlike the other kernels they allocate, because `gemm` packs its operands into buffers of its
//! own.
//!
//! # An element depends on its row and its column, and on nothing else
//!
//! The result for an image must not depend on the other images of its batch, which may lie beside
//! it along any axis. A plain call of `gemm` does not guarantee that. Version 0.19 chooses between
//! algorithms that sum in different orders, by the sizes and strides of the matrices:
//!
//! | algorithm | used if | order of a sum |
//! |---|---|---|
//! | matrix times vector | there is one row or one column | by lanes, or term by term |
//! | scalar products | both operands are contiguous along the sum, at most 256 results | by lanes |
//! | outer products | a sum has at most two terms | term by term |
//! | blocks | in all other cases | term by term in a block, then block by block |
//!
//! The number of terms of a block is at least 512. Beyond, it depends on all sizes and on the
//! caches of the machine. Measured with 24 columns: sums of 160 terms have other bits in products
//! of up to 10 rows than in larger ones if the right operand is transposed, and sums of 513 terms
//! have other bits in products of up to 64 rows than in larger ones.
//!
//! [`add_product`] calls `gemm` in such a way that the choice depends on the number of terms alone:
//!
//! - It cuts sums into blocks of `DEPTH` terms itself.
//! - It computes a single row or column twice, and drops one of the two results.
//! - If both operands are contiguous along the sum, it transposes the left one into a buffer.
//!
//! The tests of this file fail if any of the three is left out.
//!
//! # Instruction sets
//!
//! `gemm` detects the instruction set of the processor, and has no option to limit it. `DYRELU_ISA`
//! therefore has no effect on these products. On x86-64 they use AVX2 and FMA or else scalar
//! instructions (AVX-512 would need a feature of `gemm` that is not enabled), on AArch64 NEON.
#![allow(unsafe_code)]

use std::ops::Range;

/// The number of terms of a sum that one call of `gemm` adds up.
///
/// Up to 512 terms are one block on every machine. Half of that is at most 4% slower, and safe on
/// cores with a small second cache: `gemm` 0.19 fails if a tile of rows of a block does not fit
/// into a core's share of it, which at this depth takes a share of less than 32 kB.
const DEPTH: usize = 256;

/// A matrix within a slice: element `(i, j)` is at `i * row_step + j * column_step`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_step: usize,
    column_step: usize,
}

impl<'a> Matrix<'a> {
    /// Returns the matrix `[rows][columns]` with the elements `data`.
    ///
    /// # Panics
    /// Panics if `data` does not have `rows * columns` elements.
    pub fn row_major(data: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(Some(data.len()), rows.checked_mul(columns), "{rows} x {columns}");
        Matrix { data, rows, columns, row_step: columns, column_step: 1 }
    }

    /// Returns the transpose, as a view of the same elements.
    pub fn transposed(self) -> Self {
        Matrix {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_step: self.column_step,
            column_step: self.row_step,
        }
    }

    /// Returns the part of the matrix with these rows.
    ///
    /// # Panics
    /// Panics if `rows` is empty or not within the matrix.
    fn rows(self, rows: Range<usize>) -> Self {
        assert!(rows.start < rows.end && rows.end <= self.rows);
        let data = &self.data[rows.start * self.row_step..];
        Matrix { data, rows: rows.len(), ..self }
    }

    /// Returns the matrix, with its row repeated if it has only one.
    fn with_two_rows(self) -> Self {
        match self.rows {
            1 => Matrix { rows: 2, row_step: 0, ..self },
            _ => self,
        }
    }

    /// Copies the elements column by column.
    fn to_column_major(self) -> Vec<f32> {
        let element = |i: usize, j: usize| self.data[i * self.row_step + j * self.column_step];
        let column = |j| (0..self.rows).map(move |i| element(i, j));
        (0..self.columns).flat_map(column).collect()
    }

    /// Returns whether all elements lie in the slice, which holds by construction.
    fn fits(&self) -> bool {
        let (Some(row), Some(column)) = (self.rows.checked_sub(1), self.columns.checked_sub(1))
        else {
            return true;
        };
        let (row, column) = (row.checked_mul(self.row_step), column.checked_mul(self.column_step));
        let last = row.zip(column).and_then(|(row, column)| row.checked_add(column));
        last.is_some_and(|last| last < self.data.len())
    }
}

/// Adds the product of `a` and `b` to `y`, a row-major matrix with the rows of `a` and the columns
/// of `b`.
///
/// An element of the result depends on its former value, a row of `a` and a column of `b`, and on
/// nothing else, down to the last bit.
///
/// # Panics
/// Panics if the sizes of the three matrices do not fit together.
pub fn add_product(a: Matrix, b: Matrix, y: &mut [f32]) {
    assert_eq!(a.columns, b.rows, "the inner sizes differ");
    assert_eq!(Some(y.len()), a.rows.checked_mul(b.columns), "{} x {}", a.rows, b.columns);
    if y.is_empty() || a.columns == 0 {
        return;
    }
    if a.rows > 1 && b.columns > 1 {
        return add_blocks(a, b, y);
    }
    // A single row, and a single column, is computed twice.
    let (tall, wide) = (a.with_two_rows(), b.transposed().with_two_rows().transposed());
    let place = |i: usize| (i / wide.columns % a.rows) * b.columns + i % wide.columns % b.columns;
    let mut twice: Vec<f32> = (0..tall.rows * wide.columns).map(|i| y[place(i)]).collect();
    add_blocks(tall, wide, &mut twice);
    for (i, &element) in twice.iter().enumerate() {
        y[place(i)] = element;
    }
}

/// Adds a product to a result with at least two rows and two columns, block by block of the sums.
fn add_blocks(a: Matrix, b: Matrix, y: &mut [f32]) {
    let both_contiguous = a.column_step == 1 && b.row_step == 1;
    for start in (0..b.rows).step_by(DEPTH) {
        let terms = start..b.rows.min(start + DEPTH);
        let (a, b) = (a.transposed().rows(terms.clone()).transposed(), b.rows(terms));
        if both_contiguous {
            let data = a.to_column_major();
            let a = Matrix::row_major(&data, a.columns, a.rows).transposed();
            add_block(a, b, y);
        } else {
            add_block(a, b, y);
        }
    }
}

/// Adds the product of `a` and `b` to `y` by a single call of `gemm`.
fn add_block(a: Matrix, b: Matrix, y: &mut [f32]) {
    assert!(a.fits() && b.fits() && a.columns == b.rows && y.len() == a.rows * b.columns);
    let [row, column, next] = [a.row_step, a.column_step, b.row_step].map(|step| step as isize);
    // SAFETY: `gemm` accesses the elements of the three matrices that their sizes and steps describe.
    // Those of `a` and `b` lie in their slices, as `fits` checked, and those of `y` are exactly its
    // slice, as its length shows. `y` is borrowed mutably and overlaps neither of the others. Steps
    // are converted without loss, because none is larger than the length of a slice.
    unsafe {
        ::gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            y.as_mut_ptr(),
            1,
            b.columns as isize,
            true,
            a.data.as_ptr(),
            column,
            row,
            b.data.as_ptr(),
            b.column_step as isize,
            next,
            // The factors of the former elements of `y` and of the product.
            1.0,
            1.0,
            false,
            false,
            false,
            ::gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(len: usize, frequency: f32) -> Vec<f32> {
        (0..len).map(|i| (i as f32 * frequency).sin() + 0.1).collect()
    }

    /// The order of the elements of an operand in memory.
    #[derive(Clone, Copy, Debug)]
    enum Order {
        Rows,
        Columns,
    }

    const ORDERS: [Order; 2] = [Order::Rows, Order::Columns];

    /// Copies the elements of a row-major matrix into the given order.
    fn lay(elements: &[f32], rows: usize, columns: usize, order: Order) -> Vec<f32> {
        match order {
            Order::Rows => elements.to_vec(),
            Order::Columns => Matrix::row_major(elements, rows, columns).to_column_major(),
        }
    }

    fn matrix(data: &[f32], rows: usize, columns: usize, order: Order) -> Matrix<'_> {
        match order {
            Order::Rows => Matrix::row_major(data, rows, columns),
            Order::Columns => Matrix::row_major(data, columns, rows).transposed(),
        }
    }

    #[test]
    fn products_of_awkward_sizes() {
        for (rows, inner, columns) in [
            (1, 1, 1),
            (1, 1, 7),
            (5, 1, 1),
            (1, 3, 1),
            (1, 700, 1),
            (1, 1025, 3),
            (3, 1030, 1),
            (2, 2, 2),
            (7, 5, 3),
            (17, 33, 9),
            (13, 513, 31),
            (65, 8, 66),
            (4, 0, 3),
            (0, 4, 3),
            (4, 3, 0),
        ] {
            let (a, b) = (wave(rows * inner, 0.37), wave(inner * columns, 0.61));
            let former = wave(rows * columns, 0.23);
            for (a_order, b_order) in ORDERS.iter().flat_map(|&a| ORDERS.map(|b| (a, b))) {
                let (a_data, b_data) =
                    (lay(&a, rows, inner, a_order), lay(&b, inner, columns, b_order));
                let mut y = former.clone();
                let left = matrix(&a_data, rows, inner, a_order);
                add_product(left, matrix(&b_data, inner, columns, b_order), &mut y);
                for (i, &found) in y.iter().enumerate() {
                    let (row, column) = (i / columns, i % columns);
                    let term = |l: usize| {
                        f64::from(a[row * inner + l]) * f64::from(b[l * columns + column])
                    };
                    let expected = f64::from(former[i]) + (0..inner).map(term).sum::<f64>();
                    assert!(
                        (f64::from(found) - expected).abs() <= 1e-6 * (inner as f64 + 10.0),
                        "{rows} x {inner} x {columns} at ({row}, {column}), {a_order:?} \
                         {b_order:?}: {found}, expected {expected}"
                    );
                }
            }
        }
    }

    /// Every part of a product has the same bits as in the whole.
    #[test]
    fn an_element_depends_on_its_row_and_column_alone() {
        const MOST: usize = 300;
        for inner in [1, 2, 3, 31, 256, 257, 1100] {
            let (a, b) = (wave(MOST * inner, 0.37), wave(inner * MOST, 0.61));
            for (a_order, b_order) in ORDERS.iter().flat_map(|&a| ORDERS.map(|b| (a, b))) {
                let product = |rows: usize, columns: usize, first: usize| {
                    let end = (first + rows) * inner;
                    let left = lay(&a[first * inner..end], rows, inner, a_order);
                    let from = (0..inner).flat_map(|l| &b[l * MOST..][..columns]);
                    let right: Vec<f32> = from.copied().collect();
                    let right = lay(&right, inner, columns, b_order);
                    let mut y = vec![0.0; rows * columns];
                    let left = matrix(&left, rows, inner, a_order);
                    add_product(left, matrix(&right, inner, columns, b_order), &mut y);
                    y
                };
                let whole = product(MOST, MOST, 0);
                // Around the borders of tiles, of 256 elements, and of 64 rows or columns.
                let sides = (1..=20).chain([42, 43, 63, 64, 65, 85, 86, 128, 129, 257]);
                let shapes = sides.flat_map(|side| {
                    [1, 2, 3, 6, 17, 65].into_iter().flat_map(move |n| [(side, n), (n, side)])
                });
                for (rows, columns) in shapes {
                    let first = (rows + 3 * columns) % (MOST - rows);
                    for (i, element) in product(rows, columns, first).into_iter().enumerate() {
                        let (row, column) = (first + i / columns, i % columns);
                        assert_eq!(
                            element.to_bits(),
                            whole[row * MOST + column].to_bits(),
                            "{rows} x {inner} x {columns} at ({row}, {column}), {a_order:?} \
                             {b_order:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_not_a_number_stays_in_its_row_and_column() {
        let (mut a, b) = (wave(9 * 20, 0.37), wave(20 * 11, 0.61));
        a[3 * 20 + 7] = f32::NAN;
        a[5 * 20 + 2] = f32::INFINITY;
        let mut y = vec![0.0; 9 * 11];
        add_product(Matrix::row_major(&a, 9, 20), Matrix::row_major(&b, 20, 11), &mut y);
        for (row, y) in y.chunks(11).enumerate() {
            assert!(y.iter().all(|y| y.is_nan() == (row == 3)), "row {row}");
            assert!(y.iter().all(|y| y.is_infinite() == (row == 5)), "row {row}");
        }
    }

    #[test]
    #[should_panic(expected = "the inner sizes differ")]
    fn sizes_that_differ_are_refused() {
        let x = [0.0; 6];
        add_product(Matrix::row_major(&x, 2, 3), Matrix::row_major(&x, 2, 3), &mut [0.0; 6]);
    }
}
