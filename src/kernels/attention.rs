//! The spatial attention of DY-ReLU-C: `pi = min(gamma * softmax(z / tau), 1)` over all positions.
#![allow(unsafe_code)]

use crate::simd::{Isa, LANES, Simd, Vectorised, exp};

/// Computes the attention of one image. Both maps have one channel: a number at the start of every
/// eight. `gamma` is the factor of the softmax.
///
/// # Panics
/// Where the maps differ in size.
pub fn spatial_attention(isa: Isa, z: &[f32], pi: &mut [f32], tau: f32, gamma: f32) {
    assert!(z.len() == pi.len() && z.len().is_multiple_of(LANES));
    isa.run_narrow(Attention { z, pi, tau, gamma });
}

struct Attention<'a> {
    z: &'a [f32],
    pi: &'a mut [f32],
    tau: f32,
    gamma: f32,
}

impl Vectorised for Attention<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Attention { z, pi, tau, gamma } = self;
        let logits = || z.iter().step_by(LANES);
        let largest = logits().fold(f32::NEG_INFINITY, |a, &b| if a > b { a } else { b });
        let (largest, scale) = (s.splat(largest), s.splat(1.0 / tau));
        let mut sum = s.splat(0.0);
        for (z, pi) in z.chunks(LANES * LANES).zip(pi.chunks_mut(LANES * LANES)) {
            let mut eight = [f32::NEG_INFINITY; LANES];
            for (out, z) in eight.iter_mut().zip(z.iter().step_by(LANES)) {
                *out = *z;
            }
            // SAFETY: the array holds eight numbers.
            let x = unsafe { s.load(eight.as_ptr()) };
            let y = exp(s, s.mul(s.sub(x, largest), scale));
            // SAFETY: the array holds eight numbers.
            unsafe { s.store(eight.as_mut_ptr(), y) };
            let count = z.len() / LANES;
            eight[count..].fill(0.0);
            // SAFETY: the array holds eight numbers.
            sum = s.add(sum, unsafe { s.load(eight.as_ptr()) });
            for (pi, e) in pi.iter_mut().step_by(LANES).zip(eight) {
                *pi = e;
            }
        }
        let factor = gamma / s.sum(sum);
        for pi in pi.chunks_exact_mut(LANES) {
            let value = pi[0] * factor;
            pi.fill(0.0);
            pi[0] = if value > 1.0 { 1.0 } else { value };
        }
    }
}
