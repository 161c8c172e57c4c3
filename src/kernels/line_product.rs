//! The convolution of one line of a map of few channels, such as the photo that a network begins with.
//!
//! The lines that the window sees are copied once, with their padding. Neighbouring positions of a tile
//! then read elements that are a constant distance apart, at addresses that need no table.
#![allow(unsafe_code)]

use std::ops::Range;

use super::Window;
use super::block::Block;
use super::epilogue::Epilogue;
use super::fits::{assert_rows_fit, assert_whole_panels};
use super::place::Place;
use super::product::{PackedView, Tile, Tiles, each_tile, most_rows};
use super::sizes::product_of;
use crate::simd::{Isa, Simd, Vectorised};

/// The longest distance of neighbouring positions for which there are tiles.
const MOST_STRIDE: usize = 2;

/// Computes the first positions of `block`, as many as make up whole register tiles, if the block is a part
/// of one line of the output. Returns their number, which is 0 for windows with dilations, and with strides
/// that are larger or skip elements.
///
/// `x [channels][input]` is one image. `work` has an element for each that the positions see.
///
/// # Panics
/// Panics if image, window, weights, epilogue and block do not agree.
pub(super) fn line_product(
    isa: Isa,
    x: &[f32],
    window: &Window,
    weights: PackedView,
    epilogue: &Epilogue,
    block: &mut Block,
    work: &mut [f32],
) -> usize {
    let taps = product_of(window.kernel);
    let channels = weights.length().checked_div(taps).unwrap_or(0);
    assert_eq!(weights.length(), product_of([channels, taps]));
    assert_eq!(x.len(), product_of([channels, product_of(window.input)]));
    assert_eq!(weights.width(), block.width());
    assert_whole_panels(block);
    assert_rows_fit(block, epilogue);
    let (rows, columns) = (block.rows(), window.output[1]);
    let line = rows.start / columns.max(1);
    let is_one_line = rows.end <= (line + 1) * columns;
    // Without skipped elements, the lines are at most as long as what the positions see one by one.
    let is_plain = window.dilation == [1, 1]
        && (1..=MOST_STRIDE.min(window.kernel[1])).contains(&window.stride[1]);
    if !is_one_line || !is_plain || block.columns() != (0..block.width()) {
        return 0;
    }
    let positions = rows.start - line * columns..rows.end - line * columns;
    let width = (positions.len() - 1) * window.stride[1] + window.kernel[1];
    let lines = &mut work[..product_of([width, channels, window.kernel[0]])];
    for (tap, lines) in lines.chunks_exact_mut((width * channels).max(1)).enumerate() {
        copy_line(x, window, [line, positions.start], tap, lines, width);
    }
    isa.run(Run { lines, width, channels, window, weights, epilogue, block, whole: 0 })
}

/// Copies what line `tap` of the window sees from the position `[line, column]` of the output on: `width`
/// elements of each channel, with zeros outside of the image.
fn copy_line(
    x: &[f32],
    window: &Window,
    [line, column]: [usize; 2],
    tap: usize,
    to: &mut [f32],
    width: usize,
) {
    let [height, columns] = window.input;
    let left = (column * window.stride[1]) as isize - window.before[1];
    // The part of a line that lies in the image.
    let start = left.clamp(0, columns as isize) as usize;
    let end = (left + width as isize).clamp(start as isize, columns as isize) as usize;
    let inside = (start as isize - left).clamp(0, width as isize) as usize;
    let inside = inside..inside + (end - start);
    let Some(y) = window.source(0, line, tap) else { return to.fill(0.0) };
    for (channel, to) in to.chunks_exact_mut(width).enumerate() {
        let from = &x[(channel * height + y) * columns..][start..end];
        to[..inside.start].fill(0.0);
        to[inside.clone()].copy_from_slice(from);
        to[inside.end..].fill(0.0);
    }
}

struct Run<'a, 'b, 'c> {
    /// `[lines of the window][channels][width]`
    lines: &'a [f32],
    width: usize,
    channels: usize,
    window: &'a Window,
    weights: PackedView<'a>,
    epilogue: &'a Epilogue<'a>,
    block: &'c mut Block<'b>,
    /// The positions that whole tiles compute.
    whole: usize,
}

impl Vectorised for Run<'_, '_, '_> {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) -> usize {
        // All tiles leave the same positions over: those of the highest one do.
        let height = most_rows::<S, 2>();
        self.whole = self.block.rows().len() / height * height;
        let (width, length) = (self.weights.width(), self.weights.length());
        each_tile(s, [width, length], 0..width, &mut self);
        self.whole
    }
}

impl Tiles for Run<'_, '_, '_> {
    #[inline(always)]
    fn tiles<S: Simd, const V: usize>(&mut self, s: S, at: Tile) {
        match self.window.stride[1] {
            1 => self.rows::<S, V, 1>(s, 0..self.whole, at),
            _ => self.rows::<S, V, MOST_STRIDE>(s, 0..self.whole, at),
        }
    }
}

impl Run<'_, '_, '_> {
    fn rows<S: Simd, const V: usize, const STRIDE: usize>(
        &mut self,
        s: S,
        rows: Range<usize>,
        at: Tile,
    ) {
        /// A match with the height of the tiles of this instruction set. Three vectors take two tiles.
        macro_rules! tiles {
            ($($height:literal)*) => {
                match const { height::<S, V>() } {
                    $($height if const { height::<S, V>() == $height } => {
                        self.tiles_of_height::<S, $height, V, STRIDE>(s, rows, at);
                    })*
                    _ => unreachable!("a tile of no known height"),
                }
            };
        }
        tiles!(2 3 6 12)
    }

    /// Computes tiles of `M` rows, as a function of its own.
    fn tiles_of_height<S: Simd, const M: usize, const V: usize, const STRIDE: usize>(
        &mut self,
        s: S,
        rows: Range<usize>,
        at: Tile,
    ) {
        s.vectorise(
            #[inline(always)]
            || {
                for row in rows.step_by(M) {
                    // SAFETY: the block has these rows and columns, the lines reach as far as the window does
                    // for each of them, and the epilogue fits, as `line_product` asserted.
                    unsafe {
                        let y = self.tile::<S, M, V, STRIDE>(s, row, at);
                        let row = self.block.rows().start + row;
                        self.epilogue.finish(s, y, Place::in_block(self.block, row, at.column));
                    }
                }
            },
        );
    }

    /// Returns the products of `M` positions from `row` on, with the bias.
    ///
    /// # Safety
    /// The lines have what the window sees at these positions; the weights have the columns.
    #[inline(always)]
    unsafe fn tile<S: Simd, const M: usize, const V: usize, const STRIDE: usize>(
        &self,
        s: S,
        row: usize,
        at: Tile,
    ) -> [[S::Vector; V]; M] {
        let Run { width, channels, .. } = *self;
        let [lines, taps] = self.window.kernel;
        let PackedView { panels, bias, .. } = self.weights;
        // SAFETY: as the caller guarantees; a panel has a line of weights for each element that a position
        // sees.
        unsafe {
            let mut first = [s.splat(0.0); V];
            for (v, of_bias) in first.iter_mut().enumerate() {
                *of_bias = s.load(bias.as_ptr().add(at.column + v * S::WIDTH));
            }
            let mut sums = [first; M];
            let mut weights = panels.as_ptr().add(at.weights);
            for line in 0..lines {
                let from = self.lines.as_ptr().add(line * channels * width + row * STRIDE);
                for tap in 0..taps {
                    for channel in 0..channels {
                        let x = from.add(channel * width + tap);
                        let mut w = [s.splat(0.0); V];
                        for (v, w) in w.iter_mut().enumerate() {
                            *w = s.load(weights.add(v * at.apart));
                        }
                        for (m, sums) in sums.iter_mut().enumerate() {
                            let x = s.splat(*x.add(m * STRIDE));
                            for (sum, &w) in sums.iter_mut().zip(&w) {
                                *sum = s.mul_add(x, w, *sum);
                            }
                        }
                        weights = weights.add(at.step);
                    }
                }
            }
            sums
        }
    }
}

/// The height of a tile of `V` vectors: a divisor of that of two.
const fn height<S: Simd, const V: usize>() -> usize {
    match V {
        3 if S::TILE_ROWS >= 6 => S::TILE_ROWS / 2,
        _ => S::TILE_ROWS,
    }
}
