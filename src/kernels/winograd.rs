//! Convolution with 3x3 kernels and stride 1 by Winograd's minimal filtering algorithm F(4x4, 3x3)
//! (Lavin and Gray, arXiv 1509.09308), which needs a quarter of the multiplications.
//!
//! An output tile of 4x4 pixels is `A' ((G g G') * (B' d B)) A`, where `d` is an input tile of 6x6 pixels
//! and `g` the kernel. The elementwise product `*`, summed over input channels, is one matrix product for
//! each of the 36 places of a tile. The results are about two bits less exact than those of the direct
//! algorithm.
#![allow(unsafe_code)]

use std::ops::Range;

use super::Window;
use super::block::Block;
use super::epilogue::Epilogue;
use super::fits::{assert_rows_fit, assert_whole_panels, input_len};
use super::packing::{PartSize, Unaligned, fill_bias, pack_alone};
use super::place::Place;
use super::product::{OUTSIDE, Packed, Rows, panel_columns, product};
use super::sizes::product_of;
use crate::simd::{Isa, LANES, Simd, Vectorised, padded};
use crate::tensor::{Aligned, Numbers, Tensor};

/// The size of an output tile along each axis, in pixels.
pub const TILE: usize = 4;

/// The size of an input tile along each axis, in pixels.
const PATCH: usize = TILE + 2;

/// The number of places of an input tile.
const PLACES: usize = PATCH * PATCH;

/// Elements between the matrices of two places, so that equal rows of the matrices do not map to the
/// same cache set.
const GAP: usize = 16;

/// Transformed weights: a matrix `[outputs][channels]` for each place.
pub struct WinogradWeights {
    /// Each starts at a multiple of [`UNIT`] elements.
    places: Vec<Packed>,
    bias: Numbers<f32>,
    channels: usize,
}

/// Elements of type f32 per cache line.
const UNIT: usize = 16;

/// The largest number of columns of a panel.
const MOST_COLUMNS: usize = 24;

/// The number of taps of a kernel.
const TAPS: usize = 9;

/// Returns the factor of each tap of a kernel in each place of its transform `G g G'`.
fn transform_factors() -> [[f64; TAPS]; PLACES] {
    /// The matrix G of the paper.
    const G: [[f64; 3]; PATCH] = [
        [1.0 / 4.0, 0.0, 0.0],
        [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
        [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
        [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
        [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
        [0.0, 0.0, 1.0],
    ];
    let factor = |at: usize, tap: usize| G[at / PATCH][tap / 3] * G[at % PATCH][tap % 3];
    std::array::from_fn(|at| std::array::from_fn(|tap| factor(at, tap)))
}

impl WinogradWeights {
    /// Transforms and packs `weight [outputs][channels][3][3]` and `bias [outputs]`.
    ///
    /// # Panics
    /// Panics if a length does not match these shapes.
    pub fn new(weight: &[f32], bias: Option<&[f32]>, outputs: usize, channels: usize) -> Self {
        let parts = pack_alone(Self::sizes(outputs, channels), |parts| {
            Self::pack(bytemuck::cast_slice(weight), bias, outputs, channels, parts);
        });
        Self::from_parts(&parts, outputs, channels).expect("the parts have the sizes of the layer")
    }

    /// Returns the sizes of the parts of a layer.
    pub fn sizes(outputs: usize, channels: usize) -> Vec<PartSize> {
        let place = (padded(outputs) * channels).next_multiple_of(UNIT);
        vec![PartSize::f32(PLACES * place), PartSize::f32(padded(outputs))]
    }

    /// Transforms `weight [outputs][channels][3][3]` and packs it, with `bias [outputs]`, into `parts`,
    /// which have the [sizes](Self::sizes) of the layer and are zeros.
    ///
    /// # Panics
    /// Panics if a length does not match these shapes.
    pub fn pack(
        weight: &[Unaligned],
        bias: Option<&[f32]>,
        outputs: usize,
        channels: usize,
        parts: &mut [&mut [u8]],
    ) {
        assert_eq!(weight.len(), outputs * channels * TAPS);
        let places = bytemuck::cast_slice_mut(parts[0]);
        Isa::get().run(Transform { weight, outputs, channels, places });
        fill_bias(bias, parts[1]);
    }

    /// Returns weights that were packed earlier; `None` if `parts` do not have the types and sizes of
    /// the layer.
    pub fn from_parts(parts: &[Tensor], outputs: usize, channels: usize) -> Option<Self> {
        let [weight, bias] = parts else { return None };
        Self::from_numbers(weight.to_numbers()?, bias.to_numbers()?, outputs, channels)
    }

    fn from_numbers(
        weight: Numbers<f32>,
        bias: Numbers<f32>,
        outputs: usize,
        channels: usize,
    ) -> Option<Self> {
        let size = padded(outputs).checked_mul(channels)?;
        let distance = size.checked_next_multiple_of(UNIT)?;
        if Some(weight.len()) != distance.checked_mul(PLACES) || bias.len() != padded(outputs) {
            return None;
        }
        let no_bias: Numbers<f32> = Aligned::zeroed(bias.len()).into();
        let place = |at: usize| Packed::of(weight.slice(at..at + size), no_bias.clone(), channels);
        let places = (0..PLACES).map(|i| place(i * distance)).collect::<Option<_>>()?;
        Some(WinogradWeights { places, bias, channels })
    }

    /// Returns the number of input channels.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Returns the number of output channels, padded to a multiple of eight.
    pub fn width(&self) -> usize {
        self.bias.len()
    }

    /// Returns the size of the transformed weights, in bytes.
    pub fn bytes(&self) -> usize {
        4 * self.bias.len() + self.places.iter().map(Packed::bytes).sum::<usize>()
    }

    /// Returns the size of the workspace for blocks of `lines` lines of `columns` pixels, in elements.
    pub fn workspace(&self, lines: usize, columns: usize) -> usize {
        // A size that overflows saturates; allocating it fails.
        let tiles = lines.div_ceil(TILE).saturating_mul(columns.div_ceil(TILE));
        let matrices = tiles.saturating_mul(padded(self.channels) + self.width());
        matrices.saturating_add(2 * GAP).saturating_mul(PLACES).saturating_add(tiles)
    }
}

/// Computes `G g G'` for each kernel `g` of `weight [outputs][channels][TAPS]`.
struct Transform<'a> {
    weight: &'a [Unaligned],
    outputs: usize,
    channels: usize,
    /// The result, laid out as in [`WinogradWeights`]; zeros at first.
    places: &'a mut [f32],
}

impl Vectorised for Transform<'_> {
    type Output = ();

    // The instruction set decides only how the compiler vectorises the loops over outputs. The sums, in
    // f64, are the same on each.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Transform { weight, outputs, channels, places } = self;
        let factors = transform_factors();
        let width = padded(outputs);
        let distance = (width * channels).next_multiple_of(UNIT);
        let mut column = 0;
        while column < width {
            let columns = panel_columns(column, width);
            let filled = columns.min(outputs - column);
            for channel in 0..channels {
                let mut taps = [[[0.0f64; LANES]; TAPS]; MOST_COLUMNS / LANES];
                for c in 0..filled {
                    let window = ((column + c) * channels + channel) * TAPS;
                    let window = &weight[window..][..TAPS];
                    for (to, &tap) in taps[c / LANES].iter_mut().zip(window) {
                        to[c % LANES] = f64::from(f32::from_ne_bytes(tap));
                    }
                }
                let first = column * channels + channel * columns;
                for (place, factors) in places.chunks_exact_mut(distance).zip(&factors) {
                    let line = &mut place[first..][..filled];
                    for (to, taps) in line.chunks_mut(LANES).zip(&taps) {
                        let mut sums = [-0.0f64; LANES];
                        for (taps, factor) in taps.iter().zip(factors) {
                            for (sum, tap) in sums.iter_mut().zip(taps) {
                                *sum += factor * tap;
                            }
                        }
                        let mut rounded = [0.0f32; LANES];
                        for (to, sum) in rounded.iter_mut().zip(sums) {
                            *to = sum as f32;
                        }
                        to.copy_from_slice(&rounded[..to.len()]);
                    }
                }
            }
            column += columns;
        }
    }
}

/// Computes the pixels and output channels that `block` covers, from one image
/// `x [input height][input width][padded channels]`.
///
/// A row of the block is one output pixel. The rows are whole lines of the output. `work` has
/// [`WinogradWeights::workspace`] elements.
///
/// # Panics
/// Panics if the window is not 3x3 with stride 1 and dilation 1, if the shapes of `x`, the weights, the
/// window, the epilogue and the block do not match, if the block does not consist of whole lines and
/// whole panels, or if the workspace is too small.
pub fn winograd(
    isa: Isa,
    x: &[f32],
    weights: &WinogradWeights,
    window: &Window,
    epilogue: &Epilogue,
    block: &mut Block,
    work: &mut [f32],
) {
    let depth = padded(weights.channels);
    let columns = window.output[1];
    assert_eq!((window.kernel, window.stride, window.dilation), ([3, 3], [1, 1], [1, 1]));
    let bias = &*weights.bias;
    assert_eq!(x.len(), input_len(window, depth));
    assert_eq!(block.width(), bias.len());
    assert_whole_panels(block);
    assert_rows_fit(block, epilogue);
    let lines = block.rows().start / columns..block.rows().end / columns;
    assert_eq!(block.rows(), lines.start * columns..lines.end * columns);
    assert!(lines.end <= window.output[0]);
    let across = columns.div_ceil(TILE);
    let tiles = lines.len().div_ceil(TILE) * across;
    let width = block.width();
    assert!(product_of([tiles, depth]) < OUTSIDE as usize, "the block has too many tiles");
    // The matrices come first, because a workspace starts on a cache line.
    let (patches, work) = work.split_at_mut(PLACES * (tiles * depth + GAP));
    let (results, offsets) = work.split_at_mut(PLACES * (tiles * width + GAP));
    let offsets: &mut [u32] = bytemuck::cast_slice_mut(&mut offsets[..tiles]);
    for (tile, offset) in offsets.iter_mut().enumerate() {
        *offset = (tile * depth) as u32;
    }
    let grid = Grid { window, lines, across, tiles };
    isa.run(Spread { x, depth, grid: &grid, patches });
    let matrices = patches.chunks_exact(tiles * depth + GAP);
    let of_places =
        matrices.zip(results.chunks_exact_mut(tiles * width + GAP)).zip(&weights.places);
    for (place, ((matrix, results), packed)) in of_places.enumerate() {
        let after =
            weights.places.get(place + 1).map(|next| next.panels_from(block.columns().start));
        let rows = Rows { base: matrix, offsets, depth: packed.length(), step: 1 };
        let mut part =
            Block::whole(&mut results[..tiles * width], width).with_columns(block.columns());
        product(isa, rows, packed, after.unwrap_or_default(), &Epilogue::NONE, &mut part);
    }
    isa.run(Collect { results, bias, grid: &grid, epilogue, block });
}

/// The tiles of a block, in row-major order.
struct Grid<'a> {
    window: &'a Window,
    /// The lines of the output that the block covers.
    lines: Range<usize>,
    /// The number of tiles per line of tiles.
    across: usize,
    tiles: usize,
}

impl Grid<'_> {
    /// Returns the line and the column of the first output pixel of a tile.
    fn corner(&self, tile: usize) -> (usize, usize) {
        (self.lines.start + tile / self.across * TILE, tile % self.across * TILE)
    }
}

/// Transforms input tiles to `B' d B`. `patches` holds a matrix `[tiles][depth]` for each place, each
/// followed by [`GAP`] elements.
struct Spread<'a, 'b> {
    x: &'a [f32],
    depth: usize,
    grid: &'a Grid<'a>,
    patches: &'b mut [f32],
}

impl Vectorised for Spread<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let whole = self.depth / S::WIDTH * S::WIDTH;
        let [height, width] = self.grid.window.input;
        let [above, left] = self.grid.window.before;
        let distance = self.grid.tiles * self.depth + GAP;
        for tile in 0..self.grid.tiles {
            let (line, column) = self.grid.corner(tile);
            // The offset of each pixel of the tile in `x`; `None` for pixels in the padding.
            let mut pixels = [None; PLACES];
            for (place, pixel) in pixels.iter_mut().enumerate() {
                let y = (line + place / PATCH).wrapping_add_signed(-above);
                let x = (column + place % PATCH).wrapping_add_signed(-left);
                if y < height && x < width {
                    *pixel = Some((y * width + x) * self.depth);
                }
            }
            let to = &mut self.patches[tile * self.depth..];
            // SAFETY: the pixels lie in the image, and each has `depth` channels. The last place of the
            // tile ends `(PLACES - 1) * distance + depth` elements after the start of `to`, which is
            // inside `patches`.
            unsafe {
                let mut channel = 0;
                while channel < whole {
                    spread(s, self.x, &pixels, channel, to, distance);
                    channel += S::WIDTH;
                }
                if channel < self.depth {
                    spread(s.narrow(), self.x, &pixels, channel, to, distance);
                }
            }
        }
    }
}

/// Transforms one vector of channels, from `channel` on, of one input tile.
///
/// # Safety
/// `x` has a vector from `channel` on at each pixel, and `to` has one at each place. The places are
/// `distance` elements apart.
#[inline(always)]
unsafe fn spread<S: Simd>(
    s: S,
    x: &[f32],
    pixels: &[Option<usize>; PLACES],
    channel: usize,
    to: &mut [f32],
    distance: usize,
) {
    let mut half = [[s.splat(0.0); PATCH]; PATCH];
    for column in 0..PATCH {
        let mut d = [s.splat(0.0); PATCH];
        for (row, d) in d.iter_mut().enumerate() {
            if let Some(pixel) = pixels[row * PATCH + column] {
                // SAFETY: the caller guarantees that `x` has a vector at the pixel.
                *d = unsafe { s.load(x.as_ptr().add(pixel + channel)) };
            }
        }
        for (half, d) in half.iter_mut().zip(times_b(s, d)) {
            half[column] = d;
        }
    }
    for (row, half) in half.into_iter().enumerate() {
        for (column, d) in times_b(s, half).into_iter().enumerate() {
            let place = row * PATCH + column;
            // SAFETY: the caller guarantees that `to` has a vector at the place.
            unsafe { s.store(to.as_mut_ptr().add(place * distance + channel), d) };
        }
    }
}

/// Returns `B' d` for a column `d` of an input tile.
#[inline(always)]
fn times_b<S: Simd>(s: S, d: [S::Vector; PATCH]) -> [S::Vector; PATCH] {
    let (four, five, two) = (s.splat(4.0), s.splat(5.0), s.splat(2.0));
    let minus = |a, b, c| s.sub(c, s.mul(a, b));
    let even = minus(four, d[2], d[4]);
    let odd = minus(four, d[1], d[3]);
    let (near, far) = (s.sub(d[4], d[2]), s.mul(two, s.sub(d[3], d[1])));
    [
        s.mul_add(four, d[0], minus(five, d[2], d[4])),
        s.add(even, odd),
        s.sub(even, odd),
        s.add(near, far),
        s.sub(near, far),
        s.mul_add(four, d[1], minus(five, d[3], d[5])),
    ]
}

/// Transforms products `m` to output pixels: `A' m A`, then adds the bias and applies the epilogue.
struct Collect<'a, 'b, 'c> {
    results: &'a [f32],
    bias: &'a [f32],
    grid: &'a Grid<'a>,
    epilogue: &'a Epilogue<'a>,
    block: &'c mut Block<'b>,
}

impl Vectorised for Collect<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let Range { start, end } = self.block.columns();
        for tile in 0..self.grid.tiles {
            let mut channel = start;
            // SAFETY: the grid has the tile, and the block contains the channels.
            unsafe {
                while channel + S::WIDTH <= end {
                    self.tile(s, tile, channel);
                    channel += S::WIDTH;
                }
                if channel < end {
                    self.tile(s.narrow(), tile, channel);
                }
            }
        }
    }
}

impl Collect<'_, '_, '_> {
    /// Computes one vector of output channels, from `channel` on, of one tile.
    ///
    /// # Safety
    /// The grid has the tile, and the block contains the channels.
    #[inline(always)]
    unsafe fn tile<S: Simd>(&mut self, s: S, tile: usize, channel: usize) {
        let width = self.block.width();
        let (line, column) = self.grid.corner(tile);
        let output = self.grid.window.output[1];
        let from = self.results[tile * width..].as_ptr();
        let distance = self.grid.tiles * width + GAP;
        let mut half = [[s.splat(0.0); PATCH]; TILE];
        for place in 0..PATCH {
            let mut m = [s.splat(0.0); PATCH];
            for (row, m) in m.iter_mut().enumerate() {
                // SAFETY: each place has a result for each tile and each channel of the block.
                *m = unsafe { s.load(from.add((row * PATCH + place) * distance + channel)) };
            }
            for (half, m) in half.iter_mut().zip(times_a(s, m)) {
                half[place] = m;
            }
        }
        // SAFETY: the bias is as wide as the block, as `winograd` asserted.
        let bias = unsafe { s.load(self.bias.as_ptr().add(channel)) };
        let lines = TILE.min(self.grid.lines.end - line);
        for (row, half) in half.into_iter().enumerate().take(lines) {
            let sums = times_a(s, half);
            // Not `map`: its closure would be compiled without the instruction set's features.
            let mut y = [[bias]; TILE];
            for (y, sum) in y.iter_mut().zip(sums) {
                *y = [s.add(sum, bias)];
            }
            let pixel = (line + row) * output + column;
            // SAFETY: `take` and the comparison below restrict the pixels to those of the block.
            unsafe {
                if column + TILE <= output {
                    self.epilogue.finish(s, y, Place::in_block(self.block, pixel, channel));
                } else {
                    for (i, y) in y.into_iter().enumerate().take(output - column) {
                        self.epilogue.finish(
                            s,
                            [y],
                            Place::in_block(self.block, pixel + i, channel),
                        );
                    }
                }
            }
        }
    }
}

/// Returns `A' m` for a column `m` of the products of a tile.
#[inline(always)]
fn times_a<S: Simd>(s: S, m: [S::Vector; PATCH]) -> [S::Vector; TILE] {
    let (two, four, eight) = (s.splat(2.0), s.splat(4.0), s.splat(8.0));
    let (sum12, difference12) = (s.add(m[1], m[2]), s.sub(m[1], m[2]));
    let (sum34, difference34) = (s.add(m[3], m[4]), s.sub(m[3], m[4]));
    [
        s.add(s.add(m[0], sum12), sum34),
        s.mul_add(two, difference34, difference12),
        s.mul_add(four, sum34, sum12),
        s.add(s.mul_add(eight, difference34, difference12), m[5]),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::activation::Activation;
    use super::super::conv::{ConvWeights, Image, conv};
    use super::super::guarded::Guarded;
    use super::super::{Blocks, Cut};
    use super::*;
    use crate::tensor::Layout;

    fn wave(len: usize, frequency: f32) -> Vec<f32> {
        (0..len).map(|i| (i as f32 * frequency).sin()).collect()
    }

    fn agrees_with_the_direct_algorithm(isa: Isa) {
        for (height, width, channels, outputs, row_blocks, column_blocks) in [
            (1, 1, 16, 8, 1, 1),
            (5, 7, 17, 24, 1, 1),
            (12, 9, 24, 33, 3, 1),
            (8, 8, 40, 48, 1, 3),
            (6, 13, 16, 40, 2, 2),
        ] {
            let window = Window {
                kernel: [3, 3],
                stride: [1, 1],
                dilation: [1, 1],
                before: [1, 2],
                input: [height, width - width.min(1)],
                output: [height, width],
            };
            let (depth, row) = (padded(channels), padded(outputs));
            let pixels = height * width;
            let x = Guarded::from_numbers(&wave(window.input[0] * window.input[1] * depth, 0.37));
            let weight = wave(outputs * channels * 9, 0.61);
            let bias = wave(outputs, 1.7);
            let after = wave(pixels * row, 0.9);
            let epilogue = Epilogue {
                activation: Activation::Clamp { low: 0.0, high: f32::INFINITY },
                after: Some(&after),
                ..Epilogue::NONE
            };
            let cut =
                Cut { images: 1, rows: pixels, width: row, row_blocks, column_blocks, row_unit: 1 };
            let direct = ConvWeights::new(&weight, Some(&bias), outputs, channels);
            let fast = WinogradWeights::new(&weight, Some(&bias), outputs, channels);
            let run = |by_winograd: bool| {
                let mut y = Guarded::unwritten(pixels * row);
                let mut sums = Guarded::unwritten(row_blocks * row);
                let blocks = Blocks::new(&mut y, cut).with_sums(&mut sums, row);
                let lines = height / row_blocks;
                let (fast_work, direct_work) =
                    (fast.workspace(lines, width), direct.workspace(pixels, false));
                let mut work = Guarded::unwritten(fast_work.max(direct_work));
                while let Some(mut block) = blocks.next() {
                    let block = &mut block;
                    if by_winograd {
                        winograd(isa, &x, &fast, &window, &epilogue, block, &mut work);
                    } else {
                        let image = Image { data: &x, layout: Layout::Nhwc };
                        conv(isa, image, &direct, &window, None, &epilogue, block, &mut work);
                    }
                }
                (y.written(isa.name()).to_vec(), sums.written(isa.name()).to_vec())
            };
            let (want, want_sums) = run(false);
            let (got, got_sums) = run(true);
            let scale = want.iter().fold(1f32, |m, x| m.max(x.abs()));
            for pixel in 0..pixels {
                for c in 0..outputs {
                    let (got, want) = (got[pixel * row + c], want[pixel * row + c]);
                    let case = format!("{height}x{width}, {channels} to {outputs}");
                    assert!(
                        (got - want).abs() <= 2e-5 * scale,
                        "expected {want}, found {got} at {pixel}, {c} of {case} on {}",
                        isa.name()
                    );
                }
            }
            for (got, want) in got_sums.iter().zip(&want_sums) {
                assert!((got - want).abs() <= 1e-4 * scale * pixels as f32);
            }
        }
    }

    /// [`agrees_with_the_direct_algorithm`] on each instruction set.
    mod agrees_with_the_direct_algorithm {
        crate::simd::testing::isa_tests!(super::agrees_with_the_direct_algorithm);
    }
}
