//! Dynamic Shift-Max: `y[c] = max over k of (a[k,c] * x[c] + s[k,c] * x[source[c]])`.
//!
//! A NaN in any piece makes the result NaN, as in PyTorch's `torch.max`.
#![allow(unsafe_code)]

use super::block::Block;
use super::channels::{ChannelTable, pieces};
use super::sizes::product_of;
use crate::simd::{Isa, LANES, Simd, Vectorised};

/// The most pieces of a function.
const MOST_PIECES: usize = 8;

/// What the function reads beside the map.
#[derive(Clone, Copy)]
pub struct Shift<'a> {
    /// The channel of each result: the identity, or a permutation of the results.
    pub own: &'a ChannelTable,
    /// The channel that is read as well for each result.
    pub other: &'a ChannelTable,
    /// The number of pieces, at most 8.
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
/// Panics if the block does not consist of whole rows, `x` has fewer rows, a table reads a channel that
/// a row does not have, or the coefficients do not fit.
pub fn shift_max(isa: Isa, x: &[f32], shift: Shift, block: &mut Block) {
    let width = block.width();
    assert_eq!(block.columns().len(), width, "the block does not consist of whole rows");
    assert!(x.len() >= product_of([block.rows().end, width]), "the map has too few rows");
    for table in [shift.own, shift.other] {
        let fits = table.width() == width && table.reach() <= width;
        assert!(fits, "a source is no channel of the map");
    }
    let row = if shift.shared { LANES } else { width };
    let fits = (1..=MOST_PIECES).contains(&shift.k)
        && shift.coefficients.len() == product_of([shift.k, 2, row]);
    assert!(fits, "the coefficients do not fit");
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
        let ShiftMax { x, shift: Shift { own, other, k, coefficients, shared }, block } = self;
        let width = block.width();
        let vectors = || own.vectors().iter().zip(other.vectors()).enumerate();
        for rows in pieces(block) {
            for (v, (own, other)) in vectors() {
                let mut factors = [s.splat(0.0); 2 * MOST_PIECES];
                for (j, factor) in factors[..2 * k].iter_mut().enumerate() {
                    *factor = if shared {
                        s.splat(coefficients[j * LANES])
                    } else {
                        // SAFETY: the row has as many coefficients as a row of the map, up to which
                        // the table reaches.
                        unsafe { own.load(s, coefficients[j * width..][..width].as_ptr()) }
                    };
                }
                for row in rows.clone() {
                    let pixel = x[row * width..][..width].as_ptr();
                    // SAFETY: both tables reach up to the elements of a row, as `shift_max` checks.
                    let (own, other) = unsafe { (own.load(s, pixel), other.load(s, pixel)) };
                    let piece = |j| s.mul_add(own, factors[j], s.mul(other, factors[k + j]));
                    let largest = (1..k).fold(piece(0), |largest, j| s.max(largest, piece(j)));
                    let to = &mut block.row(row)[v * LANES..][..LANES];
                    // SAFETY: `to` has as many elements as a narrow vector.
                    unsafe { s.store(to.as_mut_ptr(), largest) };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_gives_the_definition() {
        for (channels, rows, k) in [(1, 1, 1), (3, 5, 2), (17, 4, 2), (24, 7, 3), (40, 130, 8)] {
            let width = usize::next_multiple_of(channels, LANES);
            let wave = |count: usize, step: f32| -> Vec<f32> {
                (0..count).map(|i| (i as f32 * step).sin()).collect()
            };
            let x = wave(rows * width, 0.7);
            let identity: Vec<usize> = (0..channels).collect();
            let reversed: Vec<usize> = (0..channels).rev().collect();
            for (own, shared) in [(&identity, false), (&identity, true), (&reversed, false)] {
                let other: Vec<usize> = own.iter().map(|c| (c * 5 + 2) % channels).collect();
                let tables = [ChannelTable::new(own), ChannelTable::new(&other)];
                let step = if shared { LANES } else { width };
                let coefficients = wave(2 * k * step, 0.31);
                let [first, second] = &tables;
                let coefficients = &coefficients;
                let shift = Shift { own: first, other: second, k, coefficients, shared };
                for isa in Isa::available() {
                    let mut y = vec![f32::NAN; rows * width];
                    shift_max(isa, &x, shift, &mut Block::whole(&mut y, width));
                    for (i, &y) in y.iter().enumerate().filter(|(i, _)| i % width < channels) {
                        let (row, c) = (i / width, i % width);
                        let of = |j: usize| {
                            let at = if shared { j * step } else { j * step + own[c] };
                            f64::from(coefficients[at])
                        };
                        let (own, other) = (x[row * width + own[c]], x[row * width + other[c]]);
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
        let (own, other) = (ChannelTable::new(&[0]), ChannelTable::new(&[8]));
        let coefficients = &[0.0; 16];
        let shift = Shift { own: &own, other: &other, k: 1, coefficients, shared: false };
        shift_max(Isa::get(), &[0.0; 8], shift, &mut Block::whole(&mut [0.0; 8], 8));
    }
}
