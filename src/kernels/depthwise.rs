//! Depthwise convolution, NHWC: vectors run over channels, whatever kernel and stride.
#![allow(unsafe_code)]

use super::Window;
use super::epilogue::{Epilogue, add_to_sums};
use crate::simd::{Isa, LANES, Simd, Vectorised};
use crate::tensor::Block;

/// Weights `[taps][width]` and biases `[width]`, channels padded with zeros.
pub struct DepthwiseWeights {
    /// A vector of channels for every tap, taps by row.
    pub taps: Vec<f32>,
    /// One for every channel.
    pub bias: Vec<f32>,
}

/// Computes a block of rows of one image; a row of the block is a line of pixels of `width`
/// channels, and the rows of the epilogue are pixels.
///
/// # Panics
/// Where window, weights, epilogue and block do not fit together.
pub fn depthwise(
    isa: Isa,
    x: &[f32],
    weights: &DepthwiseWeights,
    window: &Window,
    epilogue: &Epilogue,
    block: &mut Block,
) {
    let width = weights.bias.len();
    let pixels = window.output[0] * window.output[1];
    assert_eq!(x.len(), window.input[0] * window.input[1] * width);
    assert_eq!(weights.taps.len(), window.kernel[0] * window.kernel[1] * width);
    assert_eq!(block.width, window.output[1] * width);
    assert!(block.rows.end <= window.output[0] && block.columns.len() == block.width);
    assert!(epilogue.fits(pixels, width));
    if let Some(sums) = &mut block.sums {
        assert_eq!(sums.len(), width);
        sums.fill(0.0);
    }
    isa.run(Depthwise { x, weights, window, epilogue, block, width });
}

struct Depthwise<'a, 'b, 'c> {
    x: &'a [f32],
    weights: &'a DepthwiseWeights,
    window: &'a Window,
    epilogue: &'a Epilogue<'a>,
    block: &'c mut Block<'b>,
    width: usize,
}

/// The most output pixels of a register tile.
const PIXELS: usize = 8;

impl Vectorised for Depthwise<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let w = self.window;
        // Columns whose taps all lie inside the line are computed several at a time.
        let first = w.inside(1, 0).start;
        let last = w.inside(1, w.kernel[1] - 1).end.max(first);
        for line in self.block.rows.clone() {
            let taps = taps_inside(w, line);
            for channel in (0..self.width).step_by(LANES) {
                for column in (0..first).chain(last..w.output[1]) {
                    // SAFETY: the column and the channel are inside, and one tile checks its taps.
                    unsafe { self.tile::<S, 1, false>(s, &taps, line, column, channel) };
                }
                let count = last - first;
                let tiles = count.div_ceil(PIXELS);
                for i in 0..tiles {
                    let (column, end) = (i * count / tiles, (i + 1) * count / tiles);
                    let at = first + column;
                    // SAFETY: all taps of these columns are inside.
                    unsafe {
                        match end - column {
                            1 => self.tile::<S, 1, true>(s, &taps, line, at, channel),
                            2 => self.tile::<S, 2, true>(s, &taps, line, at, channel),
                            3 => self.tile::<S, 3, true>(s, &taps, line, at, channel),
                            4 => self.tile::<S, 4, true>(s, &taps, line, at, channel),
                            5 => self.tile::<S, 5, true>(s, &taps, line, at, channel),
                            6 => self.tile::<S, 6, true>(s, &taps, line, at, channel),
                            7 => self.tile::<S, 7, true>(s, &taps, line, at, channel),
                            _ => self.tile::<S, 8, true>(s, &taps, line, at, channel),
                        }
                    }
                }
            }
        }
    }
}

/// The rows of the kernel whose input line exists.
fn taps_inside(w: &Window, line: usize) -> std::ops::Range<usize> {
    let first = (0..w.kernel[0]).position(|tap| w.source(0, line, tap).is_some());
    let Some(first) = first else { return 0..0 };
    let count = (first..w.kernel[0]).take_while(|&tap| w.source(0, line, tap).is_some()).count();
    first..first + count
}

impl Depthwise<'_, '_, '_> {
    /// `M` pixels of a line from `column` on, one vector of channels.
    ///
    /// # Safety
    /// Line, columns and channel are the block's; the rows of the kernel in `taps` are inside, and
    /// with `INSIDE` all of its columns are.
    #[inline(always)]
    unsafe fn tile<S: Simd, const M: usize, const INSIDE: bool>(
        &mut self,
        s: S,
        taps: &std::ops::Range<usize>,
        line: usize,
        column: usize,
        channel: usize,
    ) {
        let (w, width) = (self.window, self.width);
        let step = w.stride[1] * width;
        // SAFETY: the caller's.
        unsafe {
            let bias = s.load(self.weights.bias.as_ptr().add(channel));
            let mut sum = [[bias]; M];
            for tap_row in taps.clone() {
                let y = (line * w.stride[0] + tap_row * w.dilation[0])
                    .wrapping_add_signed(-w.before[0]);
                let row = self.x.as_ptr().add(y * w.input[1] * width + channel);
                let weights =
                    self.weights.taps.as_ptr().add(tap_row * w.kernel[1] * width + channel);
                for tap in 0..w.kernel[1] {
                    let x = (column * w.stride[1] + tap * w.dilation[1])
                        .wrapping_add_signed(-w.before[1]);
                    if !INSIDE && x >= w.input[1] {
                        continue;
                    }
                    let weight = s.load(weights.add(tap * width));
                    let from = row.add(x * width);
                    for (m, sum) in sum.iter_mut().enumerate() {
                        sum[0] = s.mul_add(s.load(from.add(m * step)), weight, sum[0]);
                    }
                }
            }
            let pixel = line * w.output[1] + column;
            self.epilogue.apply(s, &mut sum, pixel, channel, width);
            for (m, sum) in sum.iter().enumerate() {
                s.store(self.block.at(line, (column + m) * width + channel), sum[0]);
            }
            if let Some(sums) = &mut self.block.sums {
                add_to_sums(s, &sum, sums.as_mut_ptr().add(channel));
            }
        }
    }
}
