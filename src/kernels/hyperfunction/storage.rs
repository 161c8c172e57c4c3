//! The types in which the weights of the second layer are stored.

use half::f16;

use super::super::packing::Unaligned;
use crate::simd::LANES;
use crate::tensor::DType;

/// The largest root mean square of rounding errors, as a share of the mean magnitude of the weights. A mean
/// square of the weights would hide that a few large ones make the steps too coarse for all others.
///
/// With errors of this size in every hyperfunction, the outputs of the compared networks move by less than
/// 1e-4 of their largest. Half precision has errors of twice this size. With normally distributed weights,
/// 16-bit integers with a factor per hidden unit have a third of it.
const MOST_ROUNDING: f64 = 1e-4;

/// The largest relative difference between a weight that was computed from an integer of eight bits and
/// the product of the integer with the factor that is derived from the largest weight: three roundings.
const ROUNDINGS: f32 = 2.0 * f32::EPSILON;

/// Returns the type in which a layer of `hidden` units stores `weights [outputs][hidden]`: integers of eight
/// bits or half precision if that is exact, 16-bit integers if the weights `may_round` and are little
/// changed by it, or else single precision.
pub fn storage(weights: &[Unaligned], hidden: usize, may_round: bool) -> DType {
    if are_eight_bits(weights, hidden) {
        DType::I8
    } else if are_half(weights) {
        DType::F16
    } else if may_round && round_well(weights, hidden) {
        DType::I16
    } else {
        DType::F32
    }
}

/// Returns whether no weight is infinite or NaN.
pub fn are_finite(weights: &[Unaligned]) -> bool {
    // Chunks without an early exit inside, so that the loop over a chunk is vectorised.
    let is_finite = |&w: &Unaligned| f32::from_ne_bytes(w).is_finite();
    weights.chunks(1024).all(|chunk| chunk.iter().fold(true, |all, w| all & is_finite(w)))
}

/// Returns whether half precision represents all weights exactly.
fn are_half(weights: &[Unaligned]) -> bool {
    let mut weights = weights.iter().map(|&w| f32::from_ne_bytes(w));
    weights.all(|w| f16::from_f32(w).to_f32() == w)
}

/// Returns whether the weights of each output are the products of integers of eight bits and one factor,
/// of which the largest integer is 127.
fn are_eight_bits(weights: &[Unaligned], hidden: usize) -> bool {
    weights.chunks_exact(hidden.max(1)).all(|weights| {
        let (factor, inverse) = output_factor(weights);
        weights.iter().all(|&w| {
            let w = f32::from_ne_bytes(w);
            (as_i8(w, inverse) * factor - w).abs() <= ROUNDINGS * w.abs()
        })
    })
}

/// Returns the factor from integers of eight bits to the weights of an output, and its inverse.
pub(super) fn output_factor(weights: &[Unaligned]) -> (f32, f32) {
    let largest = weights.iter().fold(0.0f32, |most, &w| most.max(f32::from_ne_bytes(w).abs()));
    let factor = largest / f32::from(i8::MAX);
    (factor, 1.0 / factor.max(f32::MIN_POSITIVE))
}

/// Returns a weight as an integer of eight bits.
pub(super) fn as_i8(weight: f32, inverse: f32) -> f32 {
    (weight * inverse).round_ties_even().clamp(i8::MIN.into(), i8::MAX.into())
}

/// Returns whether rounding to 16-bit integers changes `weights [outputs][hidden]` by at most
/// [`MOST_ROUNDING`].
fn round_well(weights: &[Unaligned], hidden: usize) -> bool {
    let magnitudes = weights.chunks(1024).map(|chunk| f64::from(sum_of_magnitudes(chunk)));
    let mean = magnitudes.sum::<f64>() / weights.len() as f64;
    // The error of rounding to multiples of a step is uniformly distributed over the step.
    let steps = unit_factors(weights, hidden).into_iter().map(f64::from);
    let error = steps.map(|step| step * step / 12.0).sum::<f64>() / hidden as f64;
    mean.is_finite() && error.sqrt() <= MOST_ROUNDING * mean
}

fn sum_of_magnitudes(weights: &[Unaligned]) -> f32 {
    // Partial sums, so that the loop is vectorised.
    let mut sums = [0.0; LANES];
    let mut lines = weights.chunks_exact(LANES);
    for line in &mut lines {
        for (sum, &w) in sums.iter_mut().zip(line) {
            *sum += f32::from_ne_bytes(w).abs();
        }
    }
    let rest = lines.remainder().iter().map(|&w| f32::from_ne_bytes(w).abs());
    sums.into_iter().chain(rest).sum()
}

/// Returns for each hidden unit the factor from 16-bit integers to weights. `weights` is
/// `[outputs][hidden]`.
pub(super) fn unit_factors(weights: &[Unaligned], hidden: usize) -> Vec<f32> {
    let mut largest = vec![0.0f32; hidden];
    for weights in weights.chunks_exact(hidden.max(1)) {
        for (largest, &w) in largest.iter_mut().zip(weights) {
            *largest = largest.max(f32::from_ne_bytes(w).abs());
        }
    }
    largest.into_iter().map(|largest| largest / f32::from(i16::MAX)).collect()
}
