//! The spatial attention of DY-ReLU-C: `pi = min(gamma * softmax(z / tau), 1)` over all positions.
#![allow(unsafe_code)]

use crate::simd::{Isa, MOST_LANES, Simd, Vectorised, exp, padded};

/// Computes the attention in place from `count` logits that lie one after another at the start of
/// `map`. The length of `map` is `count` rounded up to a multiple of eight; the elements after the
/// first `count` become zero.
///
/// # Panics
/// Panics if `map` has another length.
pub fn spatial_attention(isa: Isa, map: &mut [f32], count: usize, tau: f32, gamma: f32) {
    assert_eq!(map.len(), padded(count));
    isa.run(Attention { map, count, tau, gamma });
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
        let (vectors, rest) = map.split_at_mut(map.len() - map.len() % S::WIDTH);
        let parts = [largest(s, vectors), largest(s.narrow(), rest)];
        let largest = parts.into_iter().fold(f32::NEG_INFINITY, |a, b| if a > b { a } else { b });
        exponentials(s, vectors, largest, 1.0 / tau);
        exponentials(s.narrow(), rest, largest, 1.0 / tau);
        map[count..].fill(0.0);
        // A sum over vectors of eight is the same on every processor.
        let factor = gamma / sum(s.narrow(), map);
        for x in &mut map[..count] {
            let value = *x * factor;
            *x = if value > 1.0 { 1.0 } else { value };
        }
    }
}

/// Returns the largest of the numbers, which are whole vectors.
#[inline(always)]
fn largest<S: Simd>(s: S, numbers: &[f32]) -> f32 {
    const { assert!(S::WIDTH <= MOST_LANES) };
    let mut largest = s.splat(f32::NEG_INFINITY);
    let mut lanes = [f32::NEG_INFINITY; MOST_LANES];
    // SAFETY: a chunk is a whole vector, and `lanes` has room for one.
    unsafe {
        for vector in numbers.chunks_exact(S::WIDTH) {
            largest = s.max(largest, s.load(vector.as_ptr()));
        }
        s.store(lanes.as_mut_ptr(), largest);
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, |a, b| if a > b { a } else { b })
}

/// Replaces each number z by `exp((z - largest) * scale)`. The numbers are whole vectors.
#[inline(always)]
fn exponentials<S: Simd>(s: S, numbers: &mut [f32], largest: f32, scale: f32) {
    let (largest, scale) = (s.splat(largest), s.splat(scale));
    for vector in numbers.chunks_exact_mut(S::WIDTH) {
        // SAFETY: a chunk is a whole vector.
        unsafe {
            let z = s.load(vector.as_ptr());
            s.store(vector.as_mut_ptr(), exp(s, s.mul(s.sub(z, largest), scale)));
        }
    }
}

/// Returns the sum of the numbers, which are whole vectors.
#[inline(always)]
fn sum<S: Simd>(s: S, numbers: &[f32]) -> f32 {
    let mut sum = s.splat(0.0);
    for vector in numbers.chunks_exact(S::WIDTH) {
        // SAFETY: a chunk is a whole vector.
        sum = s.add(sum, unsafe { s.load(vector.as_ptr()) });
    }
    s.sum(sum)
}
