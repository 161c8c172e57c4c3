//! An epilogue as a separate pass over a map: additions, activations and max-affine functions.
#![allow(unsafe_code)]

use super::block::Block;
use super::epilogue::Epilogue;
use super::fits::assert_rows_fit;
use super::place::Place;
use super::sizes::product_of;
use crate::simd::{Isa, Simd, Vectorised};

/// Applies `epilogue` to the rows of `x` that `block` covers, and writes the results to `block`. `x` is
/// one image, with rows as wide as those of the block.
///
/// # Panics
/// Panics if `x` has fewer rows than the block needs, if the block does not consist of whole rows, or if
/// the epilogue or the sums do not fit the block.
pub fn transform(isa: Isa, x: &[f32], epilogue: &Epilogue, block: &mut Block) {
    assert!(x.len() >= product_of([block.rows().end, block.width()]));
    start(isa, x.as_ptr(), epilogue, block);
}

/// Applies `epilogue` to `block` in place.
///
/// # Panics
/// Panics if the block does not consist of whole rows, or if the epilogue or the sums do not fit the
/// block.
pub fn transform_in_place(isa: Isa, epilogue: &Epilogue, block: &mut Block) {
    let image = block.image_start();
    start(isa, image, epilogue, block);
}

fn start(isa: Isa, x: *const f32, epilogue: &Epilogue, block: &mut Block) {
    assert_eq!(block.columns().len(), block.width(), "the block does not consist of whole rows");
    assert_rows_fit(block, epilogue);
    isa.run(Transform { x, epilogue, block });
}

struct Transform<'a, 'b, 'c> {
    /// The start of an image that has the rows of the block. May be the image of the block itself.
    x: *const f32,
    epilogue: &'a Epilogue<'a>,
    block: &'c mut Block<'b>,
}

/// Elements of type f32 per cache line.
const LINE: usize = 16;

/// The number of rows of a pass is a multiple of this: the coefficients of a column are loaded once
/// for several rows.
const ROWS: usize = 8;

/// Elements per pass over narrow rows, so that a pass stays in the L1 cache from column to column.
const PASS: usize = 2048;

/// A block of at most this many elements, half of the L1 cache, prefetches what the next block reads.
/// Between two such blocks runs a product with few columns, which is too short for the hardware
/// prefetcher.
const PREFETCH_MAX: usize = 4096;

impl Vectorised for Transform<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Transform { x, epilogue, block } = self;
        let (rows, width) = (block.rows(), block.width());
        let block_len = rows.len() * width;
        let pass_rows = (PASS / width.max(1)).next_multiple_of(ROWS).max(ROWS);
        for row in rows.clone().step_by(pass_rows) {
            let count = pass_rows.min(rows.end - row);
            let from = x.wrapping_add(row * width);
            if block_len <= PREFETCH_MAX {
                for i in (0..count * width).step_by(LINE) {
                    s.prefetch(from.wrapping_add(block_len + i));
                }
            }
            let place = Place::in_block(block, row, 0);
            // SAFETY: the block has these rows, as its range says, and so has `x`: `transform` asserted
            // it, and `transform_in_place` passes the image of the block.
            unsafe { epilogue.pass(s, from, count, width, place) };
        }
    }
}
