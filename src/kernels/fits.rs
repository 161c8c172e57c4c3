//! What kernels require of their arguments, each said once.
//!
//! A kernel checks its arguments at its entry, once per call, so that the pointers of its inner loops
//! stay inside the slices whatever a caller passes.

use super::Window;
use super::block::{Block, COLUMN_UNIT};
use super::epilogue::Epilogue;
use super::sizes::product_of;
use crate::simd::LANES;

/// Returns the elements of the input of a window, which has pixels of `width` channels.
#[track_caller]
pub(super) fn input_len(window: &Window, width: usize) -> usize {
    product_of([window.input[0], window.input[1], width])
}

/// Asserts that `epilogue` can be applied to every row of `block`, a block of rows of pixels, and that
/// its sums are one per column.
#[track_caller]
pub(super) fn assert_rows_fit(block: &Block, epilogue: &Epilogue) {
    assert!(epilogue.fits(block.rows().end, block.width()), "the epilogue does not fit the block");
    let columns = block.columns().len();
    assert!(block.sums_len().is_none_or(|sums| sums == columns), "a sum for every column");
}

/// Asserts that the columns of `block` are whole panels of packed weights.
#[track_caller]
pub(super) fn assert_whole_panels(block: &Block) {
    let (columns, width) = (block.columns(), block.width());
    // The last panel has 24 columns where the number of vectors is odd.
    let ends = |at: usize| at == width || (at.is_multiple_of(COLUMN_UNIT) && width - at != LANES);
    let starts = columns.start == 0 || ends(columns.start);
    assert!(starts && ends(columns.end) && width.is_multiple_of(LANES), "columns are whole panels");
}

/// Asserts that the columns of `block` are whole vectors.
#[track_caller]
pub(super) fn assert_whole_vectors(block: &Block) {
    let columns = block.columns();
    let is_whole = columns.start.is_multiple_of(LANES) && columns.end.is_multiple_of(LANES);
    assert!(is_whole, "columns are whole vectors");
}
