//! Where a register tile or a pass puts its results.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use super::block::Block;
use crate::simd::Simd;

/// Where the results of some rows and columns go.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Where the first is stored.
    pub to: *mut f32,
    /// Where the sum of the first column is, if there are sums.
    pub sums: Option<NonNull<f32>>,
    /// Its row in the maps of the epilogue.
    pub row: usize,
    /// Its column in them.
    pub column: usize,
    /// From the elements of a row to those of the next, in all maps.
    pub width: usize,
}

impl Place {
    /// The place of a row and column of a block whose map is as the epilogue's.
    #[inline(always)]
    pub(super) fn of(block: &mut Block, row: usize, column: usize) -> Place {
        let sums = block.sum_at(column - block.columns().start);
        Place { to: block.at(row, column), sums, row, column, width: block.width() }
    }

    /// The place of the row and column that are so many further on.
    ///
    /// # Safety
    /// They are among the rows and columns that this is a place for.
    #[inline(always)]
    pub(super) unsafe fn at(self, row: usize, column: usize) -> Place {
        // SAFETY: the caller guarantees that the row and the column are of this place, whose map has them.
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

    /// # Safety
    /// This is a place for `M` rows of `V` vectors.
    #[inline(always)]
    pub(super) unsafe fn store<S: Simd, const M: usize, const V: usize>(
        &self,
        s: S,
        x: &[[S::Vector; V]; M],
    ) {
        for (m, x) in x.iter().enumerate() {
            for (v, x) in x.iter().enumerate() {
                // SAFETY: the caller guarantees that the place has `M` rows of `V` vectors, all of them writable.
                unsafe { s.store(self.to.add(m * self.width + v * S::WIDTH), *x) };
            }
        }
    }

    /// Adds the rows of `x` to the sums, if there are any.
    ///
    /// # Safety
    /// This is a place for `M` rows of `V` vectors.
    #[inline(always)]
    pub(super) unsafe fn add_to_sums<S: Simd, const M: usize, const V: usize>(
        &self,
        s: S,
        x: &[[S::Vector; V]; M],
    ) {
        let Some(sums) = self.sums else { return };
        for v in 0..V {
            // SAFETY: the caller guarantees that the place has `V` vectors of columns, each of which has a sum.
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
