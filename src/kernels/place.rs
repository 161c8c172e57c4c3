//! The destination of the results of a register tile or of a pass.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use super::block::Block;
use crate::simd::Simd;

/// The destination of the results of some rows and columns, and where these lie in a feature map.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Where the first element is stored.
    pub to: *mut f32,
    /// The sum over the first column, if sums are wanted.
    pub sums: Option<NonNull<f32>>,
    /// The first row, as an index into the maps of the epilogue.
    pub row: usize,
    /// The first column, as an index into the maps of the epilogue.
    pub column: usize,
    /// The row stride, in elements, of the output and of all maps of the epilogue.
    pub width: usize,
}

impl Place {
    /// Returns the place that starts at a row and a column of `block`, for an epilogue with maps of the
    /// same shape as the map of the block.
    #[inline(always)]
    pub(super) fn in_block(block: &mut Block, row: usize, column: usize) -> Place {
        let sums = block.sum_at(column - block.columns().start);
        Place { to: block.at(row, column), sums, row, column, width: block.width() }
    }

    /// Returns the place that starts `row` rows and `column` columns further on.
    ///
    /// # Safety
    /// This place contains that row and that column.
    #[inline(always)]
    pub(super) unsafe fn at(self, row: usize, column: usize) -> Place {
        // SAFETY: the caller guarantees that this place contains the row and the column.
        unsafe {
            Place {
                to: self.to.add(row * self.width + column),
                sums: self.sums.map(|sums| sums.add(column)),
                row: self.row + row,
                column: self.column + column,
                ..self
            }
        }
    }

    /// Stores `M` rows of `V` vectors.
    ///
    /// # Safety
    /// This place contains `M` rows of `V` vectors.
    #[inline(always)]
    pub(super) unsafe fn store<S: Simd, const M: usize, const V: usize>(
        &self,
        s: S,
        x: &[[S::Vector; V]; M],
    ) {
        for (m, x) in x.iter().enumerate() {
            for (v, x) in x.iter().enumerate() {
                // SAFETY: the caller guarantees that the place contains `M` rows of `V` vectors.
                unsafe { s.store(self.to.add(m * self.width + v * S::WIDTH), *x) };
            }
        }
    }

    /// Adds the rows of `x` to the sums, if sums are wanted.
    ///
    /// # Safety
    /// This place contains `M` rows of `V` vectors.
    #[inline(always)]
    pub(super) unsafe fn add_to_sums<S: Simd, const M: usize, const V: usize>(
        &self,
        s: S,
        x: &[[S::Vector; V]; M],
    ) {
        let Some(sums) = self.sums else { return };
        for v in 0..V {
            // SAFETY: the caller guarantees that the place contains `V` vectors of columns, and each
            // column has a sum.
            unsafe {
                let to = sums.as_ptr().add(v * S::WIDTH);
                let mut sum = s.load(to);
                for x in x {
                    sum = s.add(sum, x[v]);
                }
                s.store(to, sum);
            }
        }
    }
}
