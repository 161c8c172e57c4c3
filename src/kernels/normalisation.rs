//! The statistics of a normalisation over groups of channels.
#![allow(unsafe_code)]

use super::pool::scaled_sum;
use crate::simd::{Isa, LANES, Simd, Vectorised};

/// A normalisation over groups of channels, with a scale and an offset for every channel.
#[derive(Clone, Copy)]
pub struct Normalisation<'a> {
    /// The number of groups.
    pub groups: usize,
    /// Added to the variance.
    pub epsilon: f32,
    /// The scale of every channel.
    pub scale: &'a [f32],
    /// The offset of every channel.
    pub bias: &'a [f32],
}

/// Computes the slopes and the offsets by which the normalisation changes the channels of an image `x
/// [pixels][width]`, NHWC. `y` has a row of `width` elements for each.
///
/// # Panics
/// Panics if `x` and `y` do not have rows of a multiple of eight elements, or if the channels do not
/// form the groups.
pub fn group_coefficients(isa: Isa, x: &[f32], norm: Normalisation, y: &mut [f32]) {
    let Normalisation { groups, epsilon, scale, bias } = norm;
    let (width, channels) = (y.len() / 2, scale.len());
    assert!(width > 0 && y.len() == 2 * width && width.is_multiple_of(LANES));
    assert!(x.len().is_multiple_of(width) && bias.len() == channels && channels <= width);
    assert!(groups > 0 && channels.is_multiple_of(groups) && channels > 0);
    let depth = channels / groups;
    let factor = 1.0 / (x.len() / width) as f32;
    let (means, squares) = y.split_at_mut(width);
    scaled_sum(isa, x, factor, means);
    mean_of_groups(&mut means[..channels], depth);
    isa.run_narrow(SquaredDeviations { x, means, squares, factor });
    mean_of_groups(&mut squares[..channels], depth);
    for c in 0..channels {
        let (mean, variance) = (f64::from(means[c]), f64::from(squares[c]));
        let slope = f64::from(scale[c]) / (variance + f64::from(epsilon)).sqrt();
        means[c] = slope as f32;
        squares[c] = (f64::from(bias[c]) - mean * slope) as f32;
    }
}

/// Replaces the numbers of every `depth` channels by their mean.
fn mean_of_groups(numbers: &mut [f32], depth: usize) {
    for group in numbers.chunks_exact_mut(depth) {
        let sum: f64 = group.iter().map(|&x| f64::from(x)).sum();
        group.fill((sum / depth as f64) as f32);
    }
}

struct SquaredDeviations<'a> {
    x: &'a [f32],
    means: &'a [f32],
    squares: &'a mut [f32],
    factor: f32,
}

impl Vectorised for SquaredDeviations<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let SquaredDeviations { x, means, squares, factor } = self;
        let width = means.len();
        assert!(squares.len() == width && width.is_multiple_of(LANES) && S::WIDTH == LANES);
        for column in (0..width).step_by(LANES) {
            // SAFETY: `means`, `squares` and every row of `x` have `width` elements, a multiple of eight,
            // as asserted above; `chunks_exact` gives whole rows only.
            unsafe {
                let mean = s.load(means.as_ptr().add(column));
                let mut total = s.splat(0.0);
                // As in `scaled_sum`, each run of 256 rows has a sum of its own.
                for run in x.chunks(width * 256) {
                    let mut sum = s.splat(0.0);
                    for row in run.chunks_exact(width) {
                        let deviation = s.sub(s.load(row.as_ptr().add(column)), mean);
                        sum = s.mul_add(deviation, deviation, sum);
                    }
                    total = s.add(total, sum);
                }
                s.store(squares.as_mut_ptr().add(column), s.mul(total, s.splat(factor)));
            }
        }
    }
}
