//! Depthwise convolution, NHWC: vectors run over channels, whatever kernel and stride.
#![allow(unsafe_code)]

use std::ops::Range;

use super::Window;
use super::epilogue::{Epilogue, add_to_sums};
use crate::simd::{Isa, Simd, Vectorised, padded};
use crate::tensor::{Aligned, Block, Numbers, Tensor};

/// Weights `[taps][width]` and biases `[width]`, channels padded with zeros.
pub struct DepthwiseWeights {
    taps: Numbers<f32>,
    bias: Numbers<f32>,
}

impl DepthwiseWeights {
    /// Packs `weight [channels][taps]` and `bias [channels]`.
    ///
    /// # Panics
    /// Where the lengths do not fit together.
    pub fn new(weight: &[f32], bias: Option<&[f32]>, channels: usize) -> Self {
        let (width, count) = (padded(channels), weight.len() / channels.max(1));
        let mut taps = Aligned::zeroed(count * width);
        for (tap, row) in taps.chunks_exact_mut(width).enumerate() {
            for (c, w) in row[..channels].iter_mut().enumerate() {
                *w = weight[c * count + tap];
            }
        }
        let mut padded_bias = Aligned::zeroed(width);
        if let Some(bias) = bias {
            padded_bias[..channels].copy_from_slice(bias);
        }
        DepthwiseWeights { taps: taps.into(), bias: padded_bias.into() }
    }

    /// Weights that were packed earlier; `None` where these are not theirs.
    pub fn of(parts: &[Tensor], channels: usize, taps: usize) -> Option<Self> {
        let [all, bias] = parts else { return None };
        let (all, bias) = (all.to_numbers()?, bias.to_numbers()?);
        let width = padded(channels);
        let fits = Some(all.len()) == width.checked_mul(taps) && bias.len() == width;
        fits.then_some(DepthwiseWeights { taps: all, bias })
    }

    /// What [`of`](Self::of) takes.
    pub fn parts(&self) -> Vec<Tensor> {
        vec![Tensor::of_numbers(&self.taps), Tensor::of_numbers(&self.bias)]
    }

    /// Bytes of the packed weights.
    pub fn bytes(&self) -> usize {
        4 * (self.taps.len() + self.bias.len())
    }
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
    assert!(block.sums.as_ref().is_none_or(|sums| sums.len() == width));
    let (taps, bias) = (&*weights.taps, &*weights.bias);
    isa.run(Depthwise { x, taps, bias, window, epilogue, block, width });
}

struct Depthwise<'a, 'b, 'c> {
    x: &'a [f32],
    taps: &'a [f32],
    bias: &'a [f32],
    window: &'a Window,
    epilogue: &'a Epilogue<'a>,
    block: &'c mut Block<'b>,
    width: usize,
}

/// The most output pixels of a register tile, which is two vectors of channels deep.
const PIXELS: usize = 4;

impl Vectorised for Depthwise<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        match self.window.kernel[1] {
            3 => self.lines::<S, 3>(s),
            5 => self.lines::<S, 5>(s),
            _ => self.lines::<S, 0>(s),
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
    /// All lines, for kernels of `K` columns; 0 stands for any number.
    #[inline(always)]
    fn lines<S: Simd, const K: usize>(&mut self, s: S) {
        let w = self.window;
        // Columns whose taps all lie inside the line are computed several at a time.
        let first = w.inside(1, 0).start;
        let last = w.inside(1, w.kernel[1] - 1).end.max(first);
        for line in self.block.rows.clone() {
            let taps = taps_inside(w, line);
            for column in (0..first).chain(last..w.output[1]) {
                // SAFETY: the column is the block's, and the taps are checked one by one.
                unsafe { self.pixels::<S, 1, 0, false>(s, &taps, line, column) };
            }
            let count = last - first;
            let tiles = count.div_ceil(PIXELS);
            for i in 0..tiles {
                let (column, end) = (i * count / tiles, (i + 1) * count / tiles);
                let at = first + column;
                // SAFETY: all taps of these columns are inside.
                unsafe {
                    match end - column {
                        1 => self.pixels::<S, 1, K, true>(s, &taps, line, at),
                        2 => self.pixels::<S, 2, K, true>(s, &taps, line, at),
                        3 => self.pixels::<S, 3, K, true>(s, &taps, line, at),
                        _ => self.pixels::<S, 4, K, true>(s, &taps, line, at),
                    }
                }
            }
        }
    }

    /// All channels of `M` pixels of a line from `column` on.
    ///
    /// # Safety
    /// Line and columns are the block's; the rows of the kernel in `taps` are inside, and with
    /// `INSIDE` all of its columns are.
    #[inline(always)]
    unsafe fn pixels<S: Simd, const M: usize, const K: usize, const INSIDE: bool>(
        &mut self,
        s: S,
        taps: &Range<usize>,
        line: usize,
        column: usize,
    ) {
        let mut channel = 0;
        // SAFETY: the caller's.
        unsafe {
            while channel + 2 * S::WIDTH <= self.width {
                self.tile::<S, M, 2, K, INSIDE>(s, taps, line, column, channel);
                channel += 2 * S::WIDTH;
            }
            if channel + S::WIDTH <= self.width {
                self.tile::<S, M, 1, K, INSIDE>(s, taps, line, column, channel);
                channel += S::WIDTH;
            }
            if channel < self.width {
                let s = s.narrow();
                self.tile::<S::Narrow, M, 1, K, INSIDE>(s, taps, line, column, channel);
            }
        }
    }

    /// `M` pixels and `V` vectors of channels.
    ///
    /// # Safety
    /// As for [`pixels`](Self::pixels); the channels exist.
    #[inline(always)]
    unsafe fn tile<S: Simd, const M: usize, const V: usize, const K: usize, const INSIDE: bool>(
        &mut self,
        s: S,
        taps: &Range<usize>,
        line: usize,
        column: usize,
        channel: usize,
    ) {
        let (w, width) = (self.window, self.width);
        // SAFETY: the caller's.
        unsafe {
            // A copy, or else the sums would live in memory, where the epilogue takes them.
            let mut y =
                self.accumulate::<S, M, V, K, INSIDE>(s, taps.clone(), line, column, channel);
            let pixel = line * w.output[1] + column;
            self.epilogue.apply(s, &mut y, pixel, channel, width);
            for (m, y) in y.iter().enumerate() {
                let to = self.block.at(line, (column + m) * width + channel);
                for (v, y) in y.iter().enumerate() {
                    s.store(to.add(v * S::WIDTH), *y);
                }
            }
            if let Some(sums) = &mut self.block.sums {
                add_to_sums(s, &y, sums.as_mut_ptr().add(channel));
            }
        }
    }

    /// The sums over the taps, with the bias.
    ///
    /// # Safety
    /// As for [`tile`](Self::tile).
    #[inline(always)]
    unsafe fn accumulate<
        S: Simd,
        const M: usize,
        const V: usize,
        const K: usize,
        const INSIDE: bool,
    >(
        &self,
        s: S,
        taps: Range<usize>,
        line: usize,
        column: usize,
        channel: usize,
    ) -> [[S::Vector; V]; M] {
        let (w, width) = (self.window, self.width);
        let columns = if K == 0 { w.kernel[1] } else { K };
        let (step, apart) = (w.stride[1] * width, w.dilation[1] * width);
        let left = (column * w.stride[1]) as isize - w.before[1];
        // SAFETY: the caller's.
        unsafe {
            let mut bias = [s.splat(0.0); V];
            for (v, bias) in bias.iter_mut().enumerate() {
                *bias = s.load(self.bias.as_ptr().add(channel + v * S::WIDTH));
            }
            let mut sum = [bias; M];
            for tap_row in taps {
                let y = (line * w.stride[0] + tap_row * w.dilation[0])
                    .wrapping_add_signed(-w.before[0]);
                let row = self.x.as_ptr().add(y * w.input[1] * width + channel);
                let from = row.wrapping_offset(left * width as isize);
                let weights = self.taps.as_ptr().add(tap_row * columns * width + channel);
                for tap in 0..columns {
                    let x = left.wrapping_add((tap * w.dilation[1]) as isize) as usize;
                    if !INSIDE && x >= w.input[1] {
                        continue;
                    }
                    let from = from.wrapping_add(tap * apart);
                    let mut weight = [s.splat(0.0); V];
                    for (v, weight) in weight.iter_mut().enumerate() {
                        *weight = s.load(weights.add(tap * width + v * S::WIDTH));
                    }
                    for (m, sum) in sum.iter_mut().enumerate() {
                        for (v, sum) in sum.iter_mut().enumerate() {
                            let x = s.load(from.add(m * step + v * S::WIDTH));
                            *sum = s.mul_add(x, weight[v], *sum);
                        }
                    }
                }
            }
            sum
        }
    }
}
