//! Pooling over windows and over whole images, NHWC.
#![allow(unsafe_code)]

use super::Window;
use crate::simd::{Isa, LANES, Simd, Vectorised};
use crate::tensor::Block;

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
    assert_eq!(x.len(), window.input[0] * window.input[1] * width);
    assert_eq!(block.width, window.output[1] * width);
    assert!(block.rows.end <= window.output[0] && block.columns.len() == block.width);
    assert!(width.is_multiple_of(LANES));
    isa.run_narrow(Pool { x, width, kind, window, block });
}

struct Pool<'a, 'b, 'c> {
    x: &'a [f32],
    width: usize,
    kind: Pooling,
    window: &'a Window,
    block: &'c mut Block<'b>,
}

impl Vectorised for Pool<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Pool { x, width, kind, window: w, block } = self;
        let size = (w.kernel[0] * w.kernel[1]) as f32;
        let start = match kind {
            Pooling::Max => f32::NEG_INFINITY,
            _ => 0.0,
        };
        for line in block.rows.clone() {
            let (pixels, _) = block.row(line).as_chunks_mut::<LANES>();
            for (column, pixel) in pixels.chunks_exact_mut(width / LANES).enumerate() {
                pixel.as_flattened_mut().fill(start);
                let mut count = 0.0;
                let rows = (0..w.kernel[0]).filter_map(|tap| w.source(0, line, tap));
                for y in rows {
                    for c in (0..w.kernel[1]).filter_map(|tap| w.source(1, column, tap)) {
                        let from = &x[(y * w.input[1] + c) * width..][..width];
                        take_in(s, kind, from.as_chunks().0, pixel);
                        count += 1.0;
                    }
                }
                let divisor = match kind {
                    Pooling::Max => continue,
                    Pooling::Average => s.splat(count),
                    Pooling::AverageWithBorder => s.splat(size),
                };
                for y in pixel {
                    // SAFETY: eight numbers.
                    unsafe { s.store(y.as_mut_ptr(), s.div(s.load(y.as_ptr()), divisor)) };
                }
            }
        }
    }
}

/// Takes the elements under one tap into the results of a pixel.
#[inline(always)]
fn take_in<S: Simd>(s: S, kind: Pooling, from: &[[f32; LANES]], pixel: &mut [[f32; LANES]]) {
    for (x, y) in from.iter().zip(pixel) {
        // SAFETY: both are eight numbers.
        unsafe {
            let (x, so_far) = (s.load(x.as_ptr()), s.load(y.as_ptr()));
            let result = match kind {
                Pooling::Max => s.max(so_far, x),
                _ => s.add(so_far, x),
            };
            s.store(y.as_mut_ptr(), result);
        }
    }
}
