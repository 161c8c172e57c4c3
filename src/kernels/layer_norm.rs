//! Layer normalisation of each pixel over its channels:
//! `y = (x - mean) / sqrt(variance + epsilon) * scale + bias`.
//!
//! Ba et al., *Layer Normalization*, arXiv 1607.06450. The variance is the mean of the squared
//! deviations from the mean, in a second pass over the channels, which is as exact for channels
//! whose mean is large.
#![allow(unsafe_code)]

use super::block::Block;
use super::sizes::product_of;
use crate::simd::{Isa, Simd, Vectorised, padded};

/// What the normalised channels are multiplied by, and what is added to them.
#[derive(Clone, Copy)]
pub struct Affine<'a> {
    /// A factor per channel, padded.
    pub scale: &'a [f32],
    /// A summand per channel, padded.
    pub bias: &'a [f32],
    /// The number of channels, without padding.
    pub channels: usize,
    /// What is added to the variance.
    pub epsilon: f32,
}

/// Normalises the rows of `x` that `block` covers, each of them one pixel, and writes the results to
/// `block`. Without `x`, the rows of the block are normalised in place.
///
/// # Panics
/// Panics if `x` has fewer rows than the block needs, if the block does not consist of whole rows, or
/// if these do not have the channels of `affine`.
pub fn layer_norm(isa: Isa, x: Option<&[f32]>, affine: &Affine, block: &mut Block) {
    let width = block.width();
    assert!(x.is_none_or(|x| x.len() >= product_of([block.rows().end, width])));
    assert_eq!(block.columns().len(), width, "the block does not consist of whole rows");
    assert!(affine.channels > 0 && padded(affine.channels) == width, "channels of a row");
    assert!(affine.scale.len() == width && affine.bias.len() == width, "a factor for every column");
    isa.run_narrow(LayerNorm { x, affine, block });
}

struct LayerNorm<'a, 'b, 'c> {
    x: Option<&'a [f32]>,
    affine: &'a Affine<'a>,
    block: &'c mut Block<'b>,
}

impl Vectorised for LayerNorm<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let LayerNorm { x, affine, block } = self;
        let width = block.width();
        for row in block.rows() {
            let y = block.row(row);
            if let Some(x) = x {
                y.copy_from_slice(&x[row * width..][..width]);
            }
            normalise(s, y, affine);
        }
    }
}

/// Normalises a row in place.
#[inline(always)]
fn normalise<S: Simd>(s: S, row: &mut [f32], affine: &Affine) {
    let count = affine.channels as f32;
    row[affine.channels..].fill(0.0);
    let mean = sum_of_powers::<S, false>(s, row, 0.0) / count;
    // The padding does not deviate from the mean.
    row[affine.channels..].fill(mean);
    let variance = sum_of_powers::<S, true>(s, row, mean) / count;
    let factor = 1.0 / (variance + affine.epsilon).sqrt();
    let whole = row.len() - row.len() % S::WIDTH;
    let (wide, narrow) = row.split_at_mut(whole);
    let (scales, biases) = (affine.scale.split_at(whole), affine.bias.split_at(whole));
    scale_and_shift(s, wide, mean, factor, scales.0, biases.0);
    scale_and_shift(s.narrow(), narrow, mean, factor, scales.1, biases.1);
}

/// Returns the sum of the deviations from `mean`, or of their squares. The length of the row is a
/// multiple of [`LANES`](crate::simd::LANES).
#[inline(always)]
fn sum_of_powers<S: Simd, const SQUARED: bool>(s: S, row: &[f32], mean: f32) -> f32 {
    let whole = row.len() - row.len() % S::WIDTH;
    let (wide, narrow) = row.split_at(whole);
    sum_of_vectors::<S, SQUARED>(s, wide, mean)
        + sum_of_vectors::<S::Narrow, SQUARED>(s.narrow(), narrow, mean)
}

/// As [`sum_of_powers`], for a row of whole vectors.
#[inline(always)]
fn sum_of_vectors<S: Simd, const SQUARED: bool>(s: S, row: &[f32], mean: f32) -> f32 {
    let mean = s.splat(mean);
    let mut sums = [s.splat(0.0); 2];
    for (i, x) in row.chunks_exact(S::WIDTH).enumerate() {
        // SAFETY: a chunk has the elements of a vector.
        let deviation = unsafe { s.sub(s.load(x.as_ptr()), mean) };
        let sum = &mut sums[i % 2];
        *sum = if SQUARED { s.mul_add(deviation, deviation, *sum) } else { s.add(*sum, deviation) };
    }
    s.sum(s.add(sums[0], sums[1]))
}

/// Computes `(x - mean) * factor * scale + bias` in place, for a row of whole vectors.
#[inline(always)]
fn scale_and_shift<S: Simd>(
    s: S,
    row: &mut [f32],
    mean: f32,
    factor: f32,
    scale: &[f32],
    bias: &[f32],
) {
    let (mean, factor) = (s.splat(mean), s.splat(factor));
    let affine = scale.chunks_exact(S::WIDTH).zip(bias.chunks_exact(S::WIDTH));
    for (x, (scale, bias)) in row.chunks_exact_mut(S::WIDTH).zip(affine) {
        // SAFETY: the chunks have the elements of a vector each.
        unsafe {
            let standard = s.mul(s.sub(s.load(x.as_ptr()), mean), factor);
            let y = s.mul_add(standard, s.load(scale.as_ptr()), s.load(bias.as_ptr()));
            s.store(x.as_mut_ptr(), y);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::guarded::Guarded;
    use crate::simd::testing::isa_tests;

    isa_tests!(rows_of_awkward_widths, what_is_not_a_number_stays_in_its_row);

    fn wave(len: usize, frequency: f32) -> Vec<f32> {
        (0..len).map(|i| 3.0 + (i as f32 * frequency).sin()).collect()
    }

    /// Rows with a padding that must not affect results.
    fn padded_rows(rows: &[f32], channels: usize) -> Vec<f32> {
        let padding = vec![777.0; padded(channels) - channels];
        rows.chunks_exact(channels).flat_map(|row| row.iter().chain(&padding)).copied().collect()
    }

    fn affine<'a>(scale: &'a [f32], bias: &'a [f32], channels: usize) -> Affine<'a> {
        Affine { scale, bias, channels, epsilon: 1e-3 }
    }

    fn rows_of_awkward_widths(isa: Isa) {
        for (rows, channels) in [(1, 1), (3, 3), (2, 8), (5, 17), (4, 40), (3, 48), (1, 1000)] {
            let x = wave(rows * channels, 0.37);
            let [scale, bias] = [0.6, 0.9].map(|f| padded_rows(&wave(channels, f), channels));
            let affine = affine(&scale, &bias, channels);
            let (map, width) = (padded_rows(&x, channels), padded(channels));
            let mut y = Guarded::unwritten(map.len());
            layer_norm(isa, Some(&map), &affine, &mut Block::whole(&mut y, width));
            let mut in_place = Guarded::from_numbers(&map);
            layer_norm(isa, None, &affine, &mut Block::whole(&mut in_place, width));
            let case = format!("{rows}x{channels} on {}", isa.name());
            for (row, x) in x.chunks_exact(channels).enumerate() {
                let x: Vec<f64> = x.iter().map(|&x| x.into()).collect();
                let mean = x.iter().sum::<f64>() / channels as f64;
                let squares: f64 = x.iter().map(|x| (x - mean) * (x - mean)).sum();
                let factor = (squares / channels as f64 + 1e-3).sqrt().recip();
                for (c, x) in x.iter().enumerate() {
                    let expected = (x - mean) * factor * f64::from(scale[c]) + f64::from(bias[c]);
                    for y in [y.written(&case), in_place.written(&case)] {
                        let found = f64::from(y[row * width + c]);
                        let close = (found - expected).abs() <= 2e-5 * expected.abs().max(1.0);
                        assert!(close, "expected {expected}, found {found}: {case}");
                    }
                }
            }
        }
    }

    fn what_is_not_a_number_stays_in_its_row(isa: Isa) {
        let ones = [1.0; 16];
        for bad in [f32::NAN, f32::INFINITY] {
            let mut x = wave(3 * 16, 0.37);
            x[16 + 3] = bad;
            let mut y = [0.0; 3 * 16];
            let mut block = Block::whole(&mut y, 16);
            layer_norm(isa, Some(&x), &affine(&ones, &ones, 16), &mut block);
            for (row, y) in y.chunks_exact(16).enumerate() {
                assert!(y.iter().all(|y| y.is_nan() == (row == 1)), "{bad} in row {row}: {y:?}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "channels of a row")]
    fn a_row_without_the_channels_is_refused() {
        let numbers = [0.0; 16];
        let affine = affine(&numbers, &numbers, 16);
        layer_norm(Isa::get(), None, &affine, &mut Block::whole(&mut [0.0; 8], 8));
    }
}
