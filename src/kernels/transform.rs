//! An epilogue as a pass of its own: additions, activations and max-affine functions of a map.
#![allow(unsafe_code)]

use super::epilogue::{Epilogue, add_to_sums};
use crate::simd::{Isa, Simd, Vectorised};
use crate::tensor::Block;

/// Applies `epilogue` to the block's rows of `x`, an image of rows as wide as the block's.
///
/// # Panics
/// Where map, epilogue and block do not fit together.
pub fn transform(isa: Isa, x: &[f32], epilogue: &Epilogue, block: &mut Block) {
    assert!(x.len() >= block.rows.end * block.width);
    let rows = x.len() / block.width.max(1);
    start(isa, x.as_ptr(), rows, epilogue, block);
}

/// Applies `epilogue` to the block itself, which belongs to an image of `rows` rows.
///
/// # Panics
/// Where epilogue and block do not fit together.
pub fn transform_in_place(isa: Isa, rows: usize, epilogue: &Epilogue, block: &mut Block) {
    assert!(rows >= block.rows.end);
    let (first, columns) = (block.rows.start, block.columns.start);
    let image = block.at(first, columns).cast_const().wrapping_sub(first * block.width + columns);
    start(isa, image, rows, epilogue, block);
}

fn start(isa: Isa, x: *const f32, rows: usize, epilogue: &Epilogue, block: &mut Block) {
    let width = block.width;
    assert_eq!(block.columns.len(), width);
    assert!(epilogue.fits(rows, width));
    assert!(block.sums.as_ref().is_none_or(|sums| sums.len() == width));
    isa.run(Transform { x, epilogue, block });
}

struct Transform<'a, 'b, 'c> {
    /// An image that has the rows of the block; may be the block's own.
    x: *const f32,
    epilogue: &'a Epilogue<'a>,
    block: &'c mut Block<'b>,
}

/// Rows of a register tile: a row is a pixel, and coefficients are loaded once for all of them.
const ROWS: usize = 8;

/// Blocks of up to so many elements, half of the nearest cache, ask for what the next block will
/// read: what comes between the two, a product with few columns, is too short for the processor to
/// have read ahead by itself.
const SMALL: usize = 4096;

impl Vectorised for Transform<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let rows = self.block.rows.clone();
        let mut row = rows.start;
        while row < rows.end {
            let count = ROWS.min(rows.end - row);
            if count == ROWS {
                self.columns::<S, ROWS>(s, row);
            } else {
                (row..row + count).for_each(|row| self.columns::<S, 1>(s, row));
            }
            row += count;
        }
    }
}

impl Transform<'_, '_, '_> {
    /// All columns of `M` rows of the block.
    #[inline(always)]
    fn columns<S: Simd, const M: usize>(&mut self, s: S, row: usize) {
        let width = self.block.width;
        let mut column = 0;
        // SAFETY: the rows and columns are the block's and, as `start` requires, x's.
        unsafe {
            while column + S::WIDTH <= width {
                self.tile::<S, M>(s, row, column);
                column += S::WIDTH;
            }
            if column < width {
                self.tile::<S::Narrow, M>(s.narrow(), row, column);
            }
        }
    }

    /// # Safety
    /// The block and `x` have `M` rows from `row` on and a vector at `column`.
    #[inline(always)]
    unsafe fn tile<S: Simd, const M: usize>(&mut self, s: S, row: usize, column: usize) {
        let width = self.block.width;
        let next = self.block.rows.len() * width;
        // SAFETY: the caller's.
        unsafe {
            let from = self.x.add(row * width + column);
            let to = self.block.at(row, column);
            let mut y = [[s.splat(0.0)]; M];
            for (m, y) in y.iter_mut().enumerate() {
                y[0] = s.load(from.add(m * width));
            }
            if next <= SMALL {
                for m in 0..M {
                    s.prefetch(from.wrapping_add(next + m * width));
                }
            }
            self.epilogue.apply(s, &mut y, row, column, width);
            for (m, y) in y.iter().enumerate() {
                s.store(to.add(m * width), y[0]);
            }
            if let Some(sums) = &mut self.block.sums {
                add_to_sums(s, &y, sums.as_mut_ptr().add(column));
            }
        }
    }
}
