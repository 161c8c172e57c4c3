//! Depthwise convolution in NHWC: vectors run over channels, for every kernel size and stride.
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

/// Packed weights `[taps][width]` and biases `[width]`, where `width` is the number of channels padded
/// to a multiple of eight. The padding is zeros.
pub struct DepthwiseWeights {
    taps: Numbers<f32>,
    bias: Numbers<f32>,
}

impl DepthwiseWeights {
    /// Packs `weight [channels][taps]` and `bias [channels]`.
    ///
    /// # Panics
    /// Panics if a length does not match these shapes.
    pub fn new(weight: &[f32], bias: Option<&[f32]>, channels: usize) -> Self {
        let taps = weight.len() / channels.max(1);
        let parts = pack_alone(Self::sizes(channels, taps), |parts| {
            Self::pack(bytemuck::cast_slice(weight), bias, channels, parts);
        });
        Self::from_parts(&parts, channels, taps).expect("the parts have the sizes of the layer")
    }

    /// Returns the sizes of the parts of a layer.
    pub fn sizes(channels: usize, taps: usize) -> Vec<PartSize> {
        let width = padded(channels);
        vec![PartSize::f32(taps * width), PartSize::f32(width)]
    }

    /// Packs `weight [channels][taps]` and `bias [channels]` into `parts`, which have the
    /// [sizes](Self::sizes) of the layer and are zeros.
    ///
    /// # Panics
    /// Panics if a length does not match these shapes.
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

    /// Returns weights that were packed earlier; `None` if `parts` do not have the types and sizes of
    /// the layer.
    pub fn from_parts(parts: &[Tensor], channels: usize, taps: usize) -> Option<Self> {
        let [weight, bias] = parts else { return None };
        let (weight, bias) = (weight.to_numbers()?, bias.to_numbers()?);
        let width = padded(channels);
        let fits = Some(weight.len()) == width.checked_mul(taps) && bias.len() == width;
        fits.then_some(DepthwiseWeights { taps: weight, bias })
    }

    /// Returns the size of the packed weights, in bytes.
    pub fn bytes(&self) -> usize {
        4 * (self.taps.len() + self.bias.len())
    }
}

/// Computes the lines of the output that `block` covers, from one image
/// `x [input height][input width][width]`.
///
/// A row of the block is a line of output pixels of `width` padded channels each. A row of the maps of
/// the epilogue is one pixel.
///
/// # Panics
/// Panics if the shapes of `x`, the weights, the window, the epilogue and the block do not match, or if
/// the block does not consist of whole lines.
pub fn depthwise(
    isa: Isa,
    x: &[f32],
    weights: &DepthwiseWeights,
    window: &Window,
    epilogue: &Epilogue,
    block: &mut Block,
) {
    let DepthwiseWeights { taps, bias } = weights;
    depthwise_with(isa, x, (taps, bias), window, epilogue, block);
}

/// As [`depthwise`], with `taps [taps][width]` and `bias [width]` that need not belong to a layer.
///
/// # Panics
/// As for [`depthwise`].
pub(super) fn depthwise_with(
    isa: Isa,
    x: &[f32],
    (taps, bias): (&[f32], &[f32]),
    window: &Window,
    epilogue: &Epilogue,
    block: &mut Block,
) {
    let width = bias.len();
    let pixels = window.output[0] * window.output[1];
    assert_eq!(x.len(), input_len(window, width));
    assert_eq!(bias.len(), width);
    assert_eq!(taps.len(), product_of([window.kernel[0], window.kernel[1], width]));
    assert_eq!(block.width(), product_of([window.output[1], width]));
    assert!(block.rows().end <= window.output[0] && block.columns().len() == block.width());
    assert!(epilogue.fits(pixels, width), "the epilogue does not fit the image");
    assert!(block.sums_len().is_none_or(|sums| sums == width), "sums are not one per channel");
    let call = Call { x, taps, bias, window, epilogue, block, width };
    match (window.kernel[1], window.stride[1], window.dilation[1]) {
        (1, 1, 1) => isa.run(Depthwise::<1, 1>(call)),
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

/// A call with a kernel of `K` columns, a horizontal stride of `STEP` and no dilation; zeros stand for
/// any sizes.
struct Depthwise<'a, 'b, 'c, const K: usize, const STEP: usize>(Call<'a, 'b, 'c>);

/// Channels that are computed for all lines before the next ones: three lines of this many channels
/// stay in the L1 cache, where lines of all channels would not.
const CHANNELS: usize = 64;

/// Some channels of a line of the output, and the rows of the kernel that lie inside the input.
struct Part {
    line: usize,
    taps: Range<usize>,
    channels: Range<usize>,
}

/// Runs a block for each input column under the taps of a tile: up to `(7 - 1) * 2 + 5` times.
///
/// The iterations are written out because the compiler does not unroll a loop of this length and would
/// keep the sums in memory.
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

/// As above, but as a loop: written out, unoptimised code would need too much stack.
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

/// Returns the rows of the kernel that lie inside the input at an output line.
fn taps_inside(w: &Window, line: usize) -> std::ops::Range<usize> {
    let first = (0..w.kernel[0]).position(|tap| w.source(0, line, tap).is_some());
    let Some(first) = first else { return 0..0 };
    let count = (first..w.kernel[0]).take_while(|&tap| w.source(0, line, tap).is_some()).count();
    first..first + count
}

impl Call<'_, '_, '_> {
    /// Computes all lines. The pixels of a line are distributed evenly over its tiles: 20 pixels are two
    /// tiles of seven and one of six.
    #[inline(always)]
    fn lines<S: Simd, const K: usize, const STEP: usize>(&mut self, s: S) {
        let w = self.window;
        let inside = w.inside(1, 0).start..w.inside(1, w.kernel[1] - 1).end;
        let count = w.output[1];
        let tiles = count.div_ceil(S::TILE_PIXELS);
        let long = count.div_ceil(tiles.max(1));
        let long_tiles = count - tiles * long.saturating_sub(1);
        for first in (0..self.width).step_by(CHANNELS) {
            let channels = first..self.width.min(first + CHANNELS);
            for line in self.block.rows() {
                let part = Part { line, taps: taps_inside(w, line), channels: channels.clone() };
                let start = |tile| tile * long - usize::saturating_sub(tile, long_tiles);
                for tile in 0..tiles {
                    let columns = start(tile)..start(tile + 1);
                    // SAFETY: the block contains the line and the columns, and `taps` are inside. With
                    // `INSIDE` the columns of all taps are inside too; otherwise each is checked.
                    unsafe {
                        if const { K == 0 } {
                            // Which columns are inside depends on the tap, so that each is checked.
                            self.pixels::<S, K, STEP, false>(s, &part, columns);
                        } else if inside.start <= columns.start && columns.end <= inside.end {
                            self.pixels::<S, K, STEP, true>(s, &part, columns);
                        } else {
                            self.pixels::<S, K, STEP, false>(s, &part, columns);
                        }
                    }
                }
            }
        }
    }

    /// Computes all channels of `part` for a tile of pixels of its line.
    ///
    /// # Safety
    /// The block contains the line, the columns and the channels, and the rows of the kernel in
    /// `part.taps` are inside the input. With `INSIDE`, so are all input columns under the taps.
    #[inline(always)]
    unsafe fn pixels<S: Simd, const K: usize, const STEP: usize, const INSIDE: bool>(
        &mut self,
        s: S,
        part: &Part,
        columns: Range<usize>,
    ) {
        /// Calls the function for the number of pixels, of those that the instruction set supports.
        macro_rules! tile {
            ($($pixels:literal)*) => {
                match columns.len() {
                    // SAFETY: as the caller guarantees.
                    $($pixels if const { $pixels <= S::TILE_PIXELS } => unsafe {
                        self.channels::<S, $pixels, K, STEP, INSIDE>(s, part, columns.start);
                    })*
                    pixels => unreachable!("a tile of {pixels} pixels"),
                }
            };
        }
        tile!(1 2 3 4 5 6 7)
    }

    /// Computes all channels of `part` for `M` pixels of its line from `column` on. Not inlined, so that
    /// each number of pixels is a function of its own.
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
        part: &Part,
        column: usize,
    ) {
        let whole = part.channels.end - part.channels.len() % S::WIDTH;
        s.vectorise(
            #[inline(always)]
            || {
                for channel in (part.channels.start..whole).step_by(S::WIDTH) {
                    // SAFETY: the caller guarantees the pixels and the taps; the loop stays inside the
                    // channels of the part.
                    unsafe { self.tile::<S, M, K, STEP, INSIDE>(s, part, column, channel) };
                }
            },
        );
        if whole < part.channels.end {
            let rest = Part {
                channels: whole..part.channels.end,
                taps: part.taps.clone(),
                line: part.line,
            };
            // SAFETY: as above, for the remaining channels.
            unsafe { self.channels::<S::Narrow, M, K, STEP, INSIDE>(s.narrow(), &rest, column) };
        }
    }

    /// Computes one vector of channels, from `channel` on, of `M` pixels from `column` on.
    ///
    /// # Safety
    /// As for [`pixels`](Self::pixels), and the part contains the channels.
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
        part: &Part,
        column: usize,
        channel: usize,
    ) {
        let (w, width, line) = (self.window, self.width, part.line);
        // SAFETY: the caller guarantees the line, the pixels, the channels and the taps. Bias, weights and
        // input are therefore read inside slices whose lengths `depthwise` asserted, and the place lies
        // in the block.
        unsafe {
            let mut sum = [s.load(self.bias.as_ptr().add(channel)); M];
            let left = (column * w.stride[1]) as isize - w.before[1];
            for tap_row in part.taps.clone() {
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
            // Not `map`: its closure would be compiled without the instruction set's features.
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

    /// Adds the products of one row of `K` taps. Each input element is loaded once for all of the pixels
    /// that use it. `left` is the input column under the first tap of the first pixel.
    ///
    /// # Safety
    /// `row` points to a vector of channels of the first pixel of an input line, and `weights` to the
    /// same channels of a row of taps. With `INSIDE`, all input columns under the taps are inside.
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
        // SAFETY: the caller guarantees `row` and `weights`. Only input columns inside the line are read:
        // the caller guarantees it for all, or each is checked here.
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

    /// Adds the products of one row of any number of taps, tap by tap. The weights of a tap are loaded
    /// once for all pixels.
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
            // SAFETY: the caller guarantees `weights` of as many taps.
            let weight = unsafe { s.load(weights.add(tap * width)) };
            for (m, sum) in sum.iter_mut().enumerate() {
                let x =
                    left.wrapping_add((m * w.stride[1] + tap * w.dilation[1]) as isize) as usize;
                if x < w.input[1] {
                    // SAFETY: the caller guarantees `row`; column `x` is inside the line.
                    let x = unsafe { s.load(row.add(x * width)) };
                    *sum = s.mul_add(x, weight, *sum);
                }
            }
        }
    }
}
