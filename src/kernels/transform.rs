//! An epilogue as a pass of its own: additions, activations and max-affine functions of a map.
#![allow(unsafe_code)]

use super::block::Block;
use super::epilogue::Epilogue;
use super::fits::assert_rows_fit;
use super::place::Place;
use super::sizes::product_of;
use crate::simd::{Isa, Simd, Vectorised};

/// Applies `epilogue` to the block's rows of `x`, an image of rows as wide as the block's.
///
/// # Panics
/// Where map, epilogue and block do not fit together.
pub fn transform(isa: Isa, x: &[f32], epilogue: &Epilogue, block: &mut Block) {
    assert!(x.len() >= product_of([block.rows().end, block.width()]));
    start(isa, x.as_ptr(), epilogue, block);
}

/// Applies `epilogue` to the block itself.
///
/// # Panics
/// Where epilogue and block do not fit together.
pub fn transform_in_place(isa: Isa, epilogue: &Epilogue, block: &mut Block) {
    let image = block.image_start();
    start(isa, image, epilogue, block);
}

fn start(isa: Isa, x: *const f32, epilogue: &Epilogue, block: &mut Block) {
    assert_eq!(block.columns().len(), block.width(), "whole rows");
    assert_rows_fit(block, epilogue);
    isa.run(Transform { x, epilogue, block });
}

struct Transform<'a, 'b, 'c> {
    /// An image that has the rows of the block; may be the block's own.
    x: *const f32,
    epilogue: &'a Epilogue<'a>,
    block: &'c mut Block<'b>,
}

/// Numbers of a line of the cache.
const LINE: usize = 16;

/// The fewest rows of a pass: a row is a pixel, and coefficients are loaded once for several.
const ROWS: usize = 8;

/// Elements of a pass over narrow rows, which stay in the nearest cache from column to column.
const PASS: usize = 2048;

/// Blocks of up to so many elements, half of the nearest cache, ask for what the next block will
/// read: what comes between the two, a product with few columns, is too short for the processor to
/// have read ahead by itself.
const SMALL: usize = 4096;

impl Vectorised for Transform<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Transform { x, epilogue, block } = self;
        let (rows, width) = (block.rows(), block.width());
        let next = rows.len() * width;
        let most = (PASS / width.max(1)).next_multiple_of(ROWS).max(ROWS);
        for row in rows.clone().step_by(most) {
            let count = most.min(rows.end - row);
            let from = x.wrapping_add(row * width);
            if next <= SMALL {
                for at in (0..count * width).step_by(LINE) {
                    s.prefetch(from.wrapping_add(next + at));
                }
            }
            let place = Place::of(block, row, 0);
            // SAFETY: the rows are the block's and, as `start` requires, x's.
            unsafe { epilogue.pass(s, from, count, width, place) };
        }
    }
}
