//! Dynamic Shift-Max: `y[c] = max over k of (a[k,c] * x[c] + s[k,c] * x[source[c]])`.
//!
//! A NaN in any piece makes the result NaN, as in PyTorch's `torch.max`.
#![allow(unsafe_code)]

use super::block::Block;
use super::sizes::product_of;
use crate::simd::{Isa, LANES, Simd, Vectorised};

/// What the function reads beside the map.
#[derive(Clone, Copy)]
pub struct Shift<'a> {
    /// For every channel, padding included, the channel that is read as well.
    pub source: &'a [usize],
    /// The number of pieces.
    pub k: usize,
    /// `[2K][width]`: all factors of the channels, then all of the other ones.
    pub coefficients: &'a [f32],
    /// Whether all channels share the first coefficient of each row; rows then have [`LANES`]
    /// elements.
    pub shared: bool,
}

/// Computes the rows of `block` from those of `x`, one image of equal size.
///
/// # Panics
/// Panics if the block does not consist of whole rows, `x` has fewer rows, a source is no channel of a
/// row, or the coefficients do not fit.
pub fn shift_max(isa: Isa, x: &[f32], shift: Shift, block: &mut Block) {
    let width = block.width();
    assert_eq!(block.columns().len(), width, "the block does not consist of whole rows");
    assert!(x.len() >= product_of([block.rows().end, width]), "the map has too few rows");
    assert!(
        shift.source.len() == width && shift.source.iter().all(|&source| source < width),
        "a source is no channel of the map"
    );
    let row = if shift.shared { LANES } else { width };
    let fits = shift.k > 0 && shift.coefficients.len() == product_of([shift.k, 2, row]);
    assert!(fits && width.is_multiple_of(LANES), "the coefficients do not fit");
    isa.run_narrow(ShiftMax { x, shift, block });
}

struct ShiftMax<'a, 'b, 'c> {
    x: &'a [f32],
    shift: Shift<'a>,
    block: &'c mut Block<'b>,
}

impl Vectorised for ShiftMax<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let ShiftMax { x, shift: Shift { source, k, coefficients, shared }, block } = self;
        let width = block.width();
        let step = if shared { LANES } else { width };
        for row in block.rows() {
            let x = &x[row * width..][..width];
            let (to, _) = block.row(row).as_chunks_mut::<LANES>();
            let (own, _) = x.as_chunks::<LANES>();
            let (sources, _) = source.as_chunks::<LANES>();
            for (v, ((to, own), sources)) in to.iter_mut().zip(own).zip(sources).enumerate() {
                let other = sources.map(|source| x[source]);
                // SAFETY: both are arrays of as many elements as a narrow vector has.
                let (own, other) = unsafe { (s.load(own.as_ptr()), s.load(other.as_ptr())) };
                let coefficient = |j: usize| {
                    let at = if shared { j * step } else { j * step + v * LANES };
                    let row = &coefficients[at..][..LANES];
                    // SAFETY: the slice has as many elements as a narrow vector.
                    if shared { s.splat(row[0]) } else { unsafe { s.load(row.as_ptr()) } }
                };
                let piece = |j| s.mul_add(own, coefficient(j), s.mul(other, coefficient(k + j)));
                let largest = (1..k).fold(piece(0), |largest, j| s.max(largest, piece(j)));
                // SAFETY: `to` is an array of as many elements as a narrow vector has.
                unsafe { s.store(to.as_mut_ptr(), largest) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_gives_the_definition() {
        for (channels, rows, k) in [(1, 1, 1), (3, 5, 2), (17, 4, 2), (24, 7, 3)] {
            let width = usize::next_multiple_of(channels, LANES);
            let wave = |count: usize, step: f32| -> Vec<f32> {
                (0..count).map(|i| (i as f32 * step).sin()).collect()
            };
            let x = wave(rows * width, 0.7);
            let source: Vec<usize> =
                (0..width).map(|c| if c < channels { (c * 5 + 2) % channels } else { c }).collect();
            for shared in [false, true] {
                let step = if shared { LANES } else { width };
                let coefficients = wave(2 * k * step, 0.31);
                let shift = Shift { source: &source, k, coefficients: &coefficients, shared };
                for isa in Isa::available() {
                    let mut y = vec![f32::NAN; rows * width];
                    shift_max(isa, &x, shift, &mut Block::whole(&mut y, width));
                    for (i, &y) in y.iter().enumerate() {
                        let (row, c) = (i / width, i % width);
                        let of = |j: usize| {
                            let at = if shared { j * step } else { j * step + c };
                            f64::from(coefficients[at])
                        };
                        let (own, other) = (x[i], x[row * width + source[c]]);
                        let piece = |j| of(j) * f64::from(own) + of(k + j) * f64::from(other);
                        let want = (0..k).map(piece).fold(f64::NEG_INFINITY, f64::max);
                        assert!((f64::from(y) - want).abs() < 1e-6, "{isa:?} {channels} {i}");
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "no channel of the map")]
    fn a_source_that_a_pixel_does_not_have() {
        let shift = Shift { source: &[8; 8], k: 1, coefficients: &[0.0; 16], shared: false };
        shift_max(Isa::get(), &[0.0; 8], shift, &mut Block::whole(&mut [0.0; 8], 8));
    }
}
