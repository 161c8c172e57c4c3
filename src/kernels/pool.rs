//! Pooling over windows and over whole images, NHWC.
#![allow(unsafe_code)]

use super::Window;
use super::block::Block;
use super::fits::input_len;
use super::sizes::product_of;
use crate::simd::{Isa, LANES, Simd, Vectorised};

/// What a pooling window gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The largest element; minus infinity for a window without any.
    Max,
    /// The mean of the elements inside the image.
    Average,
    /// The sum over the size of the window: elements outside count as zero.
    AverageWithBorder,
}

/// The mean of `rows`, each `sums.len()` wide: `y = factor * (row 0 + row 1 + ...)`, in that order.
/// With partial sums for rows and one over the number of positions for `factor` it is the mean
/// over those positions.
///
/// # Panics
/// Where `rows` are not whole rows.
pub fn scaled_sum(isa: Isa, rows: &[f32], factor: f32, y: &mut [f32]) {
    assert!(y.len().is_multiple_of(LANES) && !y.is_empty() && rows.len().is_multiple_of(y.len()));
    isa.run_narrow(ScaledSum { rows, factor, y });
}

struct ScaledSum<'a> {
    rows: &'a [f32],
    factor: f32,
    y: &'a mut [f32],
}

impl Vectorised for ScaledSum<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = self.y.len();
        for column in (0..width).step_by(LANES) {
            // SAFETY: rows and result are whole rows of whole vectors.
            unsafe {
                // Runs of rows are summed apart, so that long sums keep their low bits.
                let mut total = s.splat(0.0);
                for run in self.rows.chunks(width * 256) {
                    let mut sum = s.splat(0.0);
                    for row in run.chunks_exact(width) {
                        sum = s.add(sum, s.load(row.as_ptr().add(column)));
                    }
                    total = s.add(total, sum);
                }
                s.store(self.y.as_mut_ptr().add(column), s.mul(total, s.splat(self.factor)));
            }
        }
    }
}

/// Pools the block's lines of one image; a row of the block is a line of pixels of `width` channels.
///
/// # Panics
/// Where image, window and block do not fit together.
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

/// Vectors of channels whose results are computed side by side.
const VECTORS: usize = 4;

impl Vectorised for Pool<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for line in self.block.rows() {
            for column in 0..self.window.output[1] {
                let mut channel = 0;
                // SAFETY: the line and the column are the block's, and pixels have `width` channels.
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
    /// `V` vectors of channels of a pixel.
    ///
    /// # Safety
    /// The line and the column are the block's, and there are so many channels.
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
                    // SAFETY: the pixel is in the image, and the channels are the caller's.
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
            // SAFETY: the pixel is the block's, and the channels are the caller's.
            unsafe { s.store(to.add(v * S::WIDTH), result) };
        }
    }
}
