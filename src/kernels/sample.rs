//! Sampling of a map: every pixel of the result is a weighted sum of pixels, as in resizing and
//! padding.
#![allow(unsafe_code)]

use super::block::Block;
use super::sizes::product_of;
use crate::simd::{Isa, LANES, Simd, Vectorised};

/// For every position of an axis of the result, the positions of the map that it is a weighted sum of.
/// A position without any lies outside the map.
#[derive(Clone, Debug, Default)]
pub struct Taps {
    /// The first tap of every output position, and the number of taps.
    starts: Vec<usize>,
    /// The position of each tap in the input.
    places: Vec<usize>,
    weights: Vec<f32>,
    /// The positions of the input.
    input: usize,
}

impl Taps {
    /// Returns the taps of an axis of `input` positions, from those of each output position.
    ///
    /// # Panics
    /// Panics if a position of a tap lies outside the axis.
    pub fn new(input: usize, outputs: impl Iterator<Item = Vec<(usize, f32)>>) -> Self {
        let mut taps = Taps { starts: vec![0], input, ..Taps::default() };
        for output in outputs {
            assert!(output.iter().all(|&(place, _)| place < input));
            taps.places.extend(output.iter().map(|tap| tap.0));
            taps.weights.extend(output.iter().map(|tap| tap.1));
            taps.starts.push(taps.places.len());
        }
        taps
    }

    /// Returns the number of output positions.
    pub fn outputs(&self) -> usize {
        self.starts.len() - 1
    }

    fn of(&self, output: usize) -> (&[usize], &[f32]) {
        let range = self.starts[output]..self.starts[output + 1];
        (&self.places[range.clone()], &self.weights[range])
    }
}

/// Samples an image `x [lines][columns][width]`, NHWC, and writes the lines of the result that `block`
/// covers. A row of the block is a line of pixels of `width` elements, a multiple of eight. Pixels
/// outside the image have the value `outside`.
///
/// # Panics
/// Panics if image, taps and block do not agree.
pub fn sample(
    isa: Isa,
    x: &[f32],
    [lines, columns]: [&Taps; 2],
    width: usize,
    outside: f32,
    block: &mut Block,
) {
    assert_eq!(x.len(), product_of([lines.input, columns.input, width]));
    assert_eq!(block.width(), product_of([columns.outputs(), width]));
    assert!(block.rows().end <= lines.outputs() && width.is_multiple_of(LANES));
    isa.run_narrow(Sample { x, lines, columns, width, outside, block });
}

struct Sample<'a, 'b, 'c> {
    x: &'a [f32],
    lines: &'a Taps,
    columns: &'a Taps,
    width: usize,
    outside: f32,
    block: &'c mut Block<'b>,
}

impl Vectorised for Sample<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Sample { x, lines, columns, width, outside, block } = self;
        for line in block.rows() {
            let down = lines.of(line);
            for (column, to) in block.row(line).chunks_exact_mut(width).enumerate() {
                let place = |line: usize, column: usize| (line * columns.input + column) * width;
                match (down, columns.of(column)) {
                    ((&[], _), _) | (_, (&[], _)) => to.fill(outside),
                    ((&[line], &[1.0]), (&[column], &[1.0])) => {
                        to.copy_from_slice(&x[place(line, column)..][..width]);
                    }
                    ((&[above, below], &[a, b]), (&[left, right], &[c, d])) => {
                        let corners =
                            [(above, left), (above, right), (below, left), (below, right)];
                        let places = corners.map(|(line, column)| place(line, column));
                        four(s, x, places, [a * c, a * d, b * c, b * d], to);
                    }
                    (down, across) => any(s, x, down, across, columns.input, to),
                }
            }
        }
    }
}

/// Computes the weighted sum of the pixels of `x` that begin at four places.
#[inline(always)]
fn four<S: Simd>(s: S, x: &[f32], places: [usize; 4], weights: [f32; 4], to: &mut [f32]) {
    let len = to.len();
    assert!(len.is_multiple_of(LANES) && S::WIDTH == LANES);
    assert!(places.iter().all(|&place| place + len <= x.len()));
    let weights = weights.map(|weight| s.splat(weight));
    for at in (0..len).step_by(LANES) {
        // SAFETY: `x` has `len` elements at every place and `to` has `len`, a multiple of eight, as
        // asserted above.
        unsafe {
            let load = |i: usize| s.load(x.as_ptr().add(places[i] + at));
            let mut sum = s.mul(weights[0], load(0));
            for (i, &weight) in weights.iter().enumerate().skip(1) {
                sum = s.mul_add(weight, load(i), sum);
            }
            s.store(to.as_mut_ptr().add(at), sum);
        }
    }
}

/// Computes the weighted sum of the pixels of `x` in the lines `down` and the columns `across`.
#[inline(always)]
fn any<S: Simd>(
    s: S,
    x: &[f32],
    down: (&[usize], &[f32]),
    across: (&[usize], &[f32]),
    columns: usize,
    to: &mut [f32],
) {
    let len = to.len();
    for at in (0..len).step_by(LANES) {
        let mut sum = s.splat(0.0);
        for (&line, &a) in down.0.iter().zip(down.1) {
            for (&column, &b) in across.0.iter().zip(across.1) {
                let from = &x[(line * columns + column) * len + at..][..LANES];
                // SAFETY: `run_narrow` runs with vectors of eight elements, and the slice has eight.
                let x = unsafe { s.load(from.as_ptr()) };
                sum = s.mul_add(s.splat(a * b), x, sum);
            }
        }
        let to = &mut to[at..][..LANES];
        // SAFETY: as above.
        unsafe { s.store(to.as_mut_ptr(), sum) };
    }
}
