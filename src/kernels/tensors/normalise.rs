//! Normalisation by mean and standard deviation.

use super::vectors::{inlined, sum};
use crate::simd::{Isa, Simd, Vectorised};

/// The factors and summands that normalised elements are given.
#[derive(Clone, Copy, Debug)]
pub struct Scaling<'a> {
    /// A factor per run of elements.
    pub scale: Option<&'a [f32]>,
    /// A summand per run of elements.
    pub bias: Option<&'a [f32]>,
    /// The length of a run. After as many runs as there are factors the first one follows again.
    pub run: usize,
}

/// Subtracts from every group of `size` elements of `x` their mean, divides by the square root of
/// their variance plus `epsilon`, and applies `scaling`.
///
/// # Panics
/// Panics if the length of `x` is not a multiple of `size`, or `size` not a multiple of the length of a
/// run or of that of all runs.
pub fn normalise(isa: Isa, x: &mut [f32], size: usize, epsilon: f32, scaling: Scaling) {
    if x.is_empty() {
        return;
    }
    assert!(size > 0 && x.len().is_multiple_of(size), "groups of {size} elements");
    let runs = x.len() / scaling.run;
    for numbers in [scaling.scale, scaling.bias].into_iter().flatten() {
        assert!(!numbers.is_empty() && runs.is_multiple_of(numbers.len()), "a number per run");
    }
    assert!(size.is_multiple_of(scaling.run), "whole runs in a group");
    isa.run_narrow(Normalise { x, size, epsilon, scaling });
}

struct Normalise<'a> {
    x: &'a mut [f32],
    size: usize,
    epsilon: f32,
    scaling: Scaling<'a>,
}

impl Vectorised for Normalise<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Normalise { x, size, epsilon, scaling: Scaling { scale, bias, run } } = self;
        let whole_rows = |numbers: Option<&[f32]>| numbers.is_none_or(|n| n.len() == size);
        let by_element = run == 1 && whole_rows(scale) && whole_rows(bias);
        for (number, group) in x.chunks_exact_mut(size).enumerate() {
            let mean = (inlined!(sum(s, group, 0.0), |x| x) / size as f64) as f32;
            let of = s.splat(mean);
            let squares = inlined!(sum(s, group, mean), |x| {
                let distance = s.sub(x, of);
                s.mul(distance, distance)
            });
            let variance = squares / size as f64;
            let factor = (1.0 / (variance + f64::from(epsilon)).sqrt()) as f32;
            if by_element {
                scale_elements(group, mean, factor, scale, bias);
                continue;
            }
            let first = number * (size / run);
            for (i, elements) in group.chunks_exact_mut(run).enumerate() {
                let of = |numbers: Option<&[f32]>, none: f32| {
                    numbers.map_or(none, |numbers| numbers[(first + i) % numbers.len()])
                };
                let (factor, offset) = (factor * of(scale, 1.0), of(bias, 0.0));
                for x in elements {
                    *x = (*x - mean) * factor + offset;
                }
            }
        }
    }
}

/// Normalises a group that has a factor and a summand per element, if it has any.
#[inline(always)]
fn scale_elements(
    group: &mut [f32],
    mean: f32,
    factor: f32,
    scale: Option<&[f32]>,
    bias: Option<&[f32]>,
) {
    match (scale, bias) {
        (Some(scale), Some(bias)) => {
            for ((x, scale), bias) in group.iter_mut().zip(scale).zip(bias) {
                *x = (*x - mean) * factor * scale + bias;
            }
        }
        (Some(scale), None) => {
            for (x, scale) in group.iter_mut().zip(scale) {
                *x = (*x - mean) * factor * scale;
            }
        }
        (None, Some(bias)) => {
            for (x, bias) in group.iter_mut().zip(bias) {
                *x = (*x - mean) * factor + bias;
            }
        }
        (None, None) => {
            for x in group {
                *x = (*x - mean) * factor;
            }
        }
    }
}
