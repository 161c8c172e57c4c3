//! The spatial attention of DY-ReLU-C: `pi = min(gamma * softmax(z / tau), 1)` over all positions.
#![allow(unsafe_code)]

use crate::simd::{Isa, LANES, Simd, Vectorised, exp, padded};

/// Computes the attention `pi` of one image from its logits `z`.
///
/// Both are feature maps of one channel: `[positions][8]`, with the value of a position in the first
/// of its eight elements. The other elements of `pi` become zero.
///
/// # Panics
/// Panics if the maps differ in length, or if the length is not a multiple of eight.
pub fn spatial_attention(isa: Isa, z: &[f32], pi: &mut [f32], tau: f32, gamma: f32) {
    assert!(z.len() == pi.len() && z.len().is_multiple_of(LANES));
    // The values are computed as a dense array at the start of `pi`, then spread out.
    let count = z.len() / LANES;
    for (to, z) in pi.iter_mut().zip(z.iter().step_by(LANES)) {
        *to = *z;
    }
    compact_attention(isa, &mut pi[..padded(count)], count, tau, gamma);
    // From the last to the first, so that no value is overwritten before it is read.
    for i in (0..count).rev() {
        let value = pi[i];
        let to = &mut pi[i * LANES..][..LANES];
        to.fill(0.0);
        to[0] = value;
    }
}

/// Computes the attention in place from `count` logits that lie one after another at the start of
/// `map`. The length of `map` is `count` rounded up to a multiple of eight; the elements after the
/// first `count` become zero.
///
/// # Panics
/// Panics if `map` has another length.
pub fn compact_attention(isa: Isa, map: &mut [f32], count: usize, tau: f32, gamma: f32) {
    assert_eq!(map.len(), padded(count));
    isa.run_narrow(Attention { map, count, tau, gamma });
}

struct Attention<'a> {
    map: &'a mut [f32],
    count: usize,
    tau: f32,
    gamma: f32,
}

impl Vectorised for Attention<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Attention { map, count, tau, gamma } = self;
        map[count..].fill(f32::NEG_INFINITY);
        let (vectors, _) = map.as_chunks_mut::<LANES>();
        // SAFETY: a chunk is a vector of eight elements.
        let load = |x: &[f32; LANES]| unsafe { s.load(x.as_ptr()) };
        // SAFETY: as above.
        let store = |to: &mut [f32; LANES], x| unsafe { s.store(to.as_mut_ptr(), x) };
        let mut largest = s.splat(f32::NEG_INFINITY);
        for x in &*vectors {
            largest = s.max(largest, load(x));
        }
        let mut lanes = [0.0; LANES];
        store(&mut lanes, largest);
        let largest = lanes.into_iter().fold(f32::NEG_INFINITY, |a, b| if a > b { a } else { b });
        let (largest, scale) = (s.splat(largest), s.splat(1.0 / tau));
        for x in &mut *vectors {
            let y = exp(s, s.mul(s.sub(load(x), largest), scale));
            store(x, y);
        }
        map[count..].fill(0.0);
        let mut sum = s.splat(0.0);
        for x in map.as_chunks().0 {
            sum = s.add(sum, load(x));
        }
        let factor = gamma / s.sum(sum);
        for x in &mut map[..count] {
            let value = *x * factor;
            *x = if value > 1.0 { 1.0 } else { value };
        }
    }
}
