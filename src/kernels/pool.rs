//! Pooling over windows and over whole images, in NHWC.
#![allow(unsafe_code)]

use super::Window;
use super::block::Block;
use super::fits::input_len;
use super::sizes::product_of;
use crate::simd::{Isa, LANES, Simd, Vectorised};

/// The function that pools the elements of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The largest element; minus infinity if the window lies outside the image.
    Max,
    /// The mean of the elements inside the image.
    Average,
    /// The sum divided by the size of the window: elements outside the image count as zeros
    /// (`count_include_pad` in PyTorch and ONNX).
    AverageWithBorder,
}

/// Computes `y = factor * (row 0 + row 1 + ...)`, added in that order; each row of `rows` has the
/// length of `y`.
///
/// If the rows are partial sums over `n` positions in total and `factor` is `1 / n`, the result is the
/// mean over the positions.
///
/// # Panics
/// Panics if the length of `y` is zero or not a multiple of eight, or if the length of `rows` is not a
/// multiple of that of `y`.
pub fn scaled_sum(isa: Isa, rows: &[f32], factor: f32, y: &mut [f32]) {
    assert!(y.len().is_multiple_of(LANES) && !y.is_empty() && rows.len().is_multiple_of(y.len()));
    isa.run_narrow(ScaledSum::<false> { rows, factor, y });
}

/// Computes the sums of the squares of the elements of each column of `rows`, whose rows have the length of
/// `y`.
///
/// # Panics
/// Those of [`scaled_sum`].
pub fn sum_of_squares(isa: Isa, rows: &[f32], y: &mut [f32]) {
    assert!(y.len().is_multiple_of(LANES) && !y.is_empty() && rows.len().is_multiple_of(y.len()));
    isa.run_narrow(ScaledSum::<true> { rows, factor: 1.0, y });
}

struct ScaledSum<'a, const OF_SQUARES: bool> {
    rows: &'a [f32],
    factor: f32,
    y: &'a mut [f32],
}

impl<const OF_SQUARES: bool> Vectorised for ScaledSum<'_, OF_SQUARES> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = self.y.len();
        for column in (0..width).step_by(LANES) {
            // SAFETY: `y` and every row have `width` elements, a multiple of eight, as the callers
            // asserted.
            unsafe {
                // Each run of 256 rows has a sum of its own: long sums lose fewer low bits.
                let mut total = s.splat(0.0);
                for run in self.rows.chunks(width * 256) {
                    let mut sum = s.splat(0.0);
                    for row in run.chunks_exact(width) {
                        let x = s.load(row.as_ptr().add(column));
                        sum = if OF_SQUARES { s.mul_add(x, x, sum) } else { s.add(sum, x) };
                    }
                    total = s.add(total, sum);
                }
                s.store(self.y.as_mut_ptr().add(column), s.mul(total, s.splat(self.factor)));
            }
        }
    }
}

/// Pools one image `x [input height][input width][width]` and writes the lines of the output that
/// `block` covers. A row of the block is a line of output pixels of `width` channels each, a multiple
/// of eight.
///
/// # Panics
/// Panics if the shape of `x`, the window and the block do not match, or if the block does not consist
/// of whole lines.
pub fn pool(isa: Isa, x: &[f32], width: usize, kind: Pooling, window: &Window, block: &mut Block) {
    assert_eq!(x.len(), input_len(window, width));
    assert_eq!(block.width(), product_of([window.output[1], width]));
    assert!(block.rows().end <= window.output[0] && block.columns().len() == block.width());
    assert!(width.is_multiple_of(LANES));
    isa.run(Pool { x, width, kind, window, block });
}

struct Pool<'a, 'b, 'c> {
    x: &'a [f32],
    width: usize,
    kind: Pooling,
    window: &'a Window,
    block: &'c mut Block<'b>,
}

/// Vectors of channels that are computed at a time.
const VECTORS: usize = 4;

impl Vectorised for Pool<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for line in self.block.rows() {
            for column in 0..self.window.output[1] {
                let mut channel = 0;
                // SAFETY: the block contains the line and the column, and a pixel has `width` channels.
                unsafe {
                    while channel + VECTORS * S::WIDTH <= self.width {
                        self.pixel::<S, VECTORS>(s, line, column, channel);
                        channel += VECTORS * S::WIDTH;
                    }
                    while channel < self.width {
                        self.pixel::<S::Narrow, 1>(s.narrow(), line, column, channel);
                        channel += LANES;
                    }
                }
            }
        }
    }
}

impl Pool<'_, '_, '_> {
    /// Computes `V` vectors of channels of one output pixel, from `channel` on.
    ///
    /// # Safety
    /// The block contains the line and the column, and a pixel has `V` vectors from `channel` on.
    #[inline(always)]
    unsafe fn pixel<S: Simd, const V: usize>(
        &mut self,
        s: S,
        line: usize,
        column: usize,
        channel: usize,
    ) {
        let w = self.window;
        let start = match self.kind {
            Pooling::Max => f32::NEG_INFINITY,
            _ => 0.0,
        };
        let mut result = [s.splat(start); V];
        let mut count = 0.0;
        for y in (0..w.kernel[0]).filter_map(|tap| w.source(0, line, tap)) {
            for x in (0..w.kernel[1]).filter_map(|tap| w.source(1, column, tap)) {
                let from = (y * w.input[1] + x) * self.width + channel;
                for (v, result) in result.iter_mut().enumerate() {
                    // SAFETY: the pixel lies in the image, and the caller guarantees the channels.
                    let x = unsafe { s.load(self.x.as_ptr().add(from + v * S::WIDTH)) };
                    *result = match self.kind {
                        Pooling::Max => s.max(*result, x),
                        _ => s.add(*result, x),
                    };
                }
                count += 1.0;
            }
        }
        let divisor = match self.kind {
            Pooling::Max => None,
            Pooling::Average => Some(s.splat(count)),
            Pooling::AverageWithBorder => Some(s.splat((w.kernel[0] * w.kernel[1]) as f32)),
        };
        let to = self.block.at(line, column * self.width + channel);
        for (v, mut result) in result.into_iter().enumerate() {
            if let Some(divisor) = divisor {
                result = s.div(result, divisor);
            }
            // SAFETY: the caller guarantees that the block contains the pixel and the channels.
            unsafe { s.store(to.add(v * S::WIDTH), result) };
        }
    }
}
