//! Depthwise convolution, NHWC: vectors run over channels, whatever kernel and stride.
#![allow(unsafe_code)]

use std::ops::Range;

use super::Window;
use super::block::Block;
use super::epilogue::Epilogue;
use super::fits::input_len;
use super::packing::{PartSize, Unaligned, fill_bias, pack_alone};
use super::place::Place;
use super::sizes::product_of;
use crate::simd::{Isa, Simd, Vectorised, padded};
use crate::tensor::{Numbers, Tensor};

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
        let taps = weight.len() / channels.max(1);
        let parts = pack_alone(Self::sizes(channels, taps), |parts| {
            Self::pack(bytemuck::cast_slice(weight), bias, channels, parts);
        });
        Self::of(&parts, channels, taps).expect("the lengths were made to fit")
    }

    /// The sizes of the parts of a layer.
    pub fn sizes(channels: usize, taps: usize) -> Vec<PartSize> {
        let width = padded(channels);
        vec![PartSize::f32(taps * width), PartSize::f32(width)]
    }

    /// Packs `weight [channels][taps]` and `bias [channels]` into parts of zeros.
    ///
    /// # Panics
    /// Where the lengths do not fit together.
    pub fn pack(
        weight: &[Unaligned],
        bias: Option<&[f32]>,
        channels: usize,
        parts: &mut [&mut [u8]],
    ) {
        let (width, count) = (padded(channels), weight.len() / channels.max(1));
        assert_eq!(channels * count, weight.len());
        let taps: &mut [f32] = bytemuck::cast_slice_mut(parts[0]);
        for (tap, row) in taps.chunks_exact_mut(width).enumerate() {
            for (c, w) in row[..channels].iter_mut().enumerate() {
                *w = f32::from_ne_bytes(weight[c * count + tap]);
            }
        }
        fill_bias(bias, parts[1]);
    }

    /// Weights that were packed earlier; `None` where these are not theirs.
    pub fn of(parts: &[Tensor], channels: usize, taps: usize) -> Option<Self> {
        let [all, bias] = parts else { return None };
        let (all, bias) = (all.to_numbers()?, bias.to_numbers()?);
        let width = padded(channels);
        let fits = Some(all.len()) == width.checked_mul(taps) && bias.len() == width;
        fits.then_some(DepthwiseWeights { taps: all, bias })
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
    let (taps, bias) = (&*weights.taps, &*weights.bias);
    assert_eq!(x.len(), input_len(window, width));
    assert_eq!(bias.len(), width);
    assert_eq!(taps.len(), product_of([window.kernel[0], window.kernel[1], width]));
    assert_eq!(block.width(), product_of([window.output[1], width]));
    assert!(block.rows().end <= window.output[0] && block.columns().len() == block.width());
    assert!(epilogue.fits(pixels, width), "the epilogue does not fit the image");
    assert!(block.sums_len().is_none_or(|sums| sums == width), "a sum for every channel");
    let call = Call { x, taps, bias, window, epilogue, block, width };
    match (window.kernel[1], window.stride[1], window.dilation[1]) {
        (3, 1, 1) => isa.run(Depthwise::<3, 1>(call)),
        (3, 2, 1) => isa.run(Depthwise::<3, 2>(call)),
        (5, 1, 1) => isa.run(Depthwise::<5, 1>(call)),
        (5, 2, 1) => isa.run(Depthwise::<5, 2>(call)),
        _ => isa.run(Depthwise::<0, 0>(call)),
    }
}

/// The arguments of [`depthwise`].
struct Call<'a, 'b, 'c> {
    x: &'a [f32],
    taps: &'a [f32],
    bias: &'a [f32],
    window: &'a Window,
    epilogue: &'a Epilogue<'a>,
    block: &'c mut Block<'b>,
    width: usize,
}

/// A call with kernels of `K` columns that move by `STEP`; 0 stands for any.
struct Depthwise<'a, 'b, 'c, const K: usize, const STEP: usize>(Call<'a, 'b, 'c>);

/// Channels that are computed from the first line to the last before others: three lines of so many
/// stay in the nearest cache, where lines of all channels would not.
const CHANNELS: usize = 64;

/// Some channels of a line of the output, and the rows of the kernel whose input line exists.
struct Part {
    line: usize,
    taps: Range<usize>,
    channels: Range<usize>,
}

/// Runs a block for each input column under the taps of a tile: up to `(7 - 1) * 2 + 5`.
///
/// Written out, for the compiler gives up on a loop of so many and would keep the sums in memory.
#[cfg(not(debug_assertions))]
macro_rules! unrolled {
    (|$j:ident| $body:block) => {
        unrolled!(|$j| $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16)
    };
    (|$j:ident| $body:block, $($number:literal)*) => {
        $({
            let $j: usize = $number;
            $body
        })*
    };
}

/// The same as a loop, for unoptimised code would need too much stack.
#[cfg(debug_assertions)]
macro_rules! unrolled {
    (|$j:ident| $body:block) => {
        for $j in 0..17usize $body
    };
}

impl<const K: usize, const STEP: usize> Vectorised for Depthwise<'_, '_, '_, K, STEP> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        self.0.lines::<S, K, STEP>(s);
    }
}

/// The rows of the kernel whose input line exists.
fn taps_inside(w: &Window, line: usize) -> std::ops::Range<usize> {
    let first = (0..w.kernel[0]).position(|tap| w.source(0, line, tap).is_some());
    let Some(first) = first else { return 0..0 };
    let count = (first..w.kernel[0]).take_while(|&tap| w.source(0, line, tap).is_some()).count();
    first..first + count
}

impl Call<'_, '_, '_> {
    /// All lines. The pixels of each are dealt evenly: 20 are two tiles of seven and one of six.
    #[inline(always)]
    fn lines<S: Simd, const K: usize, const STEP: usize>(&mut self, s: S) {
        let w = self.window;
        let most = if const { K == 0 } { 1 } else { S::TILE_PIXELS };
        let inside = w.inside(1, 0).start..w.inside(1, w.kernel[1] - 1).end;
        let count = w.output[1];
        let tiles = count.div_ceil(most);
        let long = count.div_ceil(tiles.max(1));
        let long_tiles = count - tiles * long.saturating_sub(1);
        for first in (0..self.width).step_by(CHANNELS) {
            let channels = first..self.width.min(first + CHANNELS);
            for line in self.block.rows() {
                let at = Part { line, taps: taps_inside(w, line), channels: channels.clone() };
                let start = |tile| tile * long - usize::saturating_sub(tile, long_tiles);
                for tile in 0..tiles {
                    let columns = start(tile)..start(tile + 1);
                    // SAFETY: the columns are the block's; all of their taps are inside the line,
                    // or each is checked.
                    unsafe {
                        if const { K == 0 } {
                            self.channels::<S, 1, K, STEP, false>(s, &at, columns.start);
                        } else if inside.start <= columns.start && columns.end <= inside.end {
                            self.pixels::<S, K, STEP, true>(s, &at, columns);
                        } else {
                            self.pixels::<S, K, STEP, false>(s, &at, columns);
                        }
                    }
                }
            }
        }
    }

    /// All channels of a tile of pixels of a line.
    ///
    /// # Safety
    /// Line and columns are the block's; its taps are inside, and with
    /// `INSIDE` all of its columns are.
    #[inline(always)]
    unsafe fn pixels<S: Simd, const K: usize, const STEP: usize, const INSIDE: bool>(
        &mut self,
        s: S,
        at: &Part,
        columns: Range<usize>,
    ) {
        /// A match with those numbers of pixels that this instruction set has.
        macro_rules! tile {
            ($($pixels:literal)*) => {
                match columns.len() {
                    // SAFETY: the caller guarantees that the line, its pixels and their taps exist, for all
                    // channels of the part.
                    $($pixels if const { $pixels <= S::TILE_PIXELS } => unsafe {
                        self.channels::<S, $pixels, K, STEP, INSIDE>(s, at, columns.start);
                    })*
                    pixels => unreachable!("a tile of {pixels} pixels"),
                }
            };
        }
        tile!(1 2 3 4 5 6 7)
    }

    /// All channels of `M` pixels of a line from `column` on: for each number of pixels a function
    /// of its own.
    ///
    /// # Safety
    /// As for [`pixels`](Self::pixels).
    unsafe fn channels<
        S: Simd,
        const M: usize,
        const K: usize,
        const STEP: usize,
        const INSIDE: bool,
    >(
        &mut self,
        s: S,
        at: &Part,
        column: usize,
    ) {
        let whole = at.channels.end - at.channels.len() % S::WIDTH;
        s.vectorise(
            #[inline(always)]
            || {
                for channel in (at.channels.start..whole).step_by(S::WIDTH) {
                    // SAFETY: the caller guarantees the pixels and taps of the line, and the loop stays
                    // inside the channels of the part.
                    unsafe { self.tile::<S, M, K, STEP, INSIDE>(s, at, column, channel) };
                }
            },
        );
        if whole < at.channels.end {
            let rest =
                Part { channels: whole..at.channels.end, taps: at.taps.clone(), line: at.line };
            // SAFETY: as above, for the channels that are left.
            unsafe { self.channels::<S::Narrow, M, K, STEP, INSIDE>(s.narrow(), &rest, column) };
        }
    }

    /// `M` pixels and a vector of channels.
    ///
    /// # Safety
    /// As for [`pixels`](Self::pixels); the channels exist.
    #[inline(always)]
    unsafe fn tile<
        S: Simd,
        const M: usize,
        const K: usize,
        const STEP: usize,
        const INSIDE: bool,
    >(
        &mut self,
        s: S,
        at: &Part,
        column: usize,
        channel: usize,
    ) {
        let (w, width, line) = (self.window, self.width, at.line);
        // SAFETY: the caller guarantees that the line, the pixels, the channels and the taps exist, so that
        // bias, weights and input are read inside the slices that `depthwise` measured, and the
        // place is the block's.
        unsafe {
            let mut sum = [s.load(self.bias.as_ptr().add(channel)); M];
            let left = (column * w.stride[1]) as isize - w.before[1];
            for tap_row in at.taps.clone() {
                let y = (line * w.stride[0] + tap_row * w.dilation[0])
                    .wrapping_add_signed(-w.before[0]);
                let row = self.x.as_ptr().add(y * w.input[1] * width + channel);
                let weights = self.taps.as_ptr().add(tap_row * w.kernel[1] * width + channel);
                if K == 0 {
                    self.add_taps(s, &mut sum, row, left, weights);
                } else {
                    self.add_row::<S, M, K, STEP, INSIDE>(s, &mut sum, row, left, weights);
                }
            }
            // No `map`, which would be a call for other instructions than these.
            let mut y = [[sum[0]]; M];
            for (y, sum) in y.iter_mut().zip(sum) {
                *y = [sum];
            }
            let place = Place {
                to: self.block.at(line, column * width + channel),
                sums: self.block.sum_at(channel),
                row: line * w.output[1] + column,
                column: channel,
                width,
            };
            self.epilogue.finish(s, y, place);
        }
    }

    /// Adds what `K` taps see of a line of the input: each element is loaded once for all of the
    /// pixels that it is under a tap of. The first tap of the first pixel is `left` in the line.
    ///
    /// # Safety
    /// `row` is a vector of channels of a line, `weights` of its taps; with `INSIDE` all taps are
    /// inside the line.
    #[inline(always)]
    unsafe fn add_row<
        S: Simd,
        const M: usize,
        const K: usize,
        const STEP: usize,
        const INSIDE: bool,
    >(
        &self,
        s: S,
        sum: &mut [S::Vector; M],
        row: *const f32,
        left: isize,
        weights: *const f32,
    ) {
        let (input, width) = (self.window.input[1], self.width);
        let from = row.wrapping_offset(left * width as isize);
        // SAFETY: the caller guarantees that `row` and `weights` have vectors for each pixel and tap that is
        // read: the taps inside the line are selected here, or are all inside.
        unsafe {
            let mut weight = [s.splat(0.0); K];
            for (tap, weight) in weight.iter_mut().enumerate() {
                *weight = s.load(weights.add(tap * width));
            }
            unrolled!(|j| {
                let is_inside = INSIDE || (left.wrapping_add(j as isize) as usize) < input;
                if j < (M - 1) * STEP + K && is_inside {
                    let x = s.load(from.wrapping_add(j * width));
                    for (tap, &weight) in weight.iter().enumerate() {
                        if tap <= j && (j - tap).is_multiple_of(STEP) && (j - tap) / STEP < M {
                            let sum = &mut sum[(j - tap) / STEP];
                            *sum = s.mul_add(x, weight, *sum);
                        }
                    }
                }
            });
        }
    }

    /// Adds what any number of taps see of a line of the input, tap by tap.
    ///
    /// # Safety
    /// As for [`add_row`](Self::add_row).
    #[inline(always)]
    unsafe fn add_taps<S: Simd, const M: usize>(
        &self,
        s: S,
        sum: &mut [S::Vector; M],
        row: *const f32,
        left: isize,
        weights: *const f32,
    ) {
        let (w, width) = (self.window, self.width);
        for tap in 0..w.kernel[1] {
            for (m, sum) in sum.iter_mut().enumerate() {
                let x = left.wrapping_add((m * w.stride[1] + tap * w.dilation[1]) as isize);
                if (x as usize) < w.input[1] {
                    // SAFETY: the caller guarantees vectors of the line and of the weights; the tap is inside
                    // the line.
                    let (x, weight) = unsafe {
                        (s.load(row.add(x as usize * width)), s.load(weights.add(tap * width)))
                    };
                    *sum = s.mul_add(x, weight, *sum);
                }
            }
        }
    }
}
