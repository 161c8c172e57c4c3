//! Slices of any length, taken a vector at a time.
#![allow(unsafe_code)]

use crate::simd::Simd;

/// The most elements of a vector of any instruction set.
pub(super) const MOST_LANES: usize = 16;

/// Vectors per tile: enough independent ones to hide the latency of a multiply-add.
pub(super) const TILE: usize = 4;

/// Elements that are added up in single precision before their sum is added to one in double
/// precision.
const BLOCK: usize = 1024;

/// Loads a vector from the start of `x`.
#[inline(always)]
pub(super) fn load<S: Simd>(s: S, x: &[f32]) -> S::Vector {
    assert!(x.len() >= S::WIDTH);
    // SAFETY: the slice has a vector of elements, as asserted.
    unsafe { s.load(x.as_ptr()) }
}

/// Stores a vector at the start of `to`.
#[inline(always)]
pub(super) fn store<S: Simd>(s: S, to: &mut [f32], x: S::Vector) {
    assert!(to.len() >= S::WIDTH);
    // SAFETY: the slice has room for a vector, as asserted.
    unsafe { s.store(to.as_mut_ptr(), x) }
}

/// Loads the elements of `x`, which are fewer than a vector has, followed by copies of `rest`.
#[inline(always)]
pub(super) fn load_part<S: Simd>(s: S, x: &[f32], rest: f32) -> S::Vector {
    let mut lanes = [rest; MOST_LANES];
    lanes[..x.len()].copy_from_slice(x);
    load(s, &lanes)
}

/// Stores as many elements of a vector as `to` has, which are fewer than the vector has.
#[inline(always)]
pub(super) fn store_part<S: Simd>(s: S, to: &mut [f32], x: S::Vector) {
    let mut lanes = [0.0; MOST_LANES];
    store(s, &mut lanes, x);
    to.copy_from_slice(&lanes[..to.len()]);
}

/// Applies `function` to all vectors of `x`, some at a time. The last ones may contain zeros that are
/// not of `x`.
#[inline(always)]
pub(super) fn each_tile<S: Simd>(
    s: S,
    x: &mut [f32],
    function: impl Fn(&mut [[S::Vector; 1]; TILE]),
) {
    let apply = |x: &mut [f32]| {
        let mut tile = [[s.splat(0.0)]; TILE];
        for (vector, x) in tile.iter_mut().zip(x.chunks_exact(S::WIDTH)) {
            vector[0] = load(s, x);
        }
        function(&mut tile);
        for (vector, x) in tile.iter().zip(x.chunks_exact_mut(S::WIDTH)) {
            store(s, x, vector[0]);
        }
    };
    let mut tiles = x.chunks_exact_mut(TILE * S::WIDTH);
    (&mut tiles).for_each(apply);
    let rest = tiles.into_remainder();
    if !rest.is_empty() {
        let mut padded = [0.0; TILE * MOST_LANES];
        padded[..rest.len()].copy_from_slice(rest);
        apply(&mut padded[..TILE * S::WIDTH]);
        rest.copy_from_slice(&padded[..rest.len()]);
    }
}

/// Applies `function` to every element of `x`.
#[inline(always)]
pub(super) fn each(x: &mut [f32], function: impl Fn(f32) -> f32) {
    for x in x {
        *x = function(*x);
    }
}

/// Returns the sum of `term` over `x`. The term of `rest` must be 0, unless the sum is not a finite
/// number in any case.
#[inline(always)]
pub(super) fn sum<S: Simd>(
    s: S,
    x: &[f32],
    rest: f32,
    term: impl Fn(S::Vector) -> S::Vector,
) -> f64 {
    let mut total = 0.0;
    for block in x.chunks(BLOCK) {
        let mut sums = [s.splat(0.0); TILE];
        let mut tiles = block.chunks_exact(TILE * S::WIDTH);
        for tile in &mut tiles {
            for (sum, x) in sums.iter_mut().zip(tile.chunks_exact(S::WIDTH)) {
                *sum = s.add(*sum, term(load(s, x)));
            }
        }
        let mut vectors = tiles.remainder().chunks_exact(S::WIDTH);
        for (sum, x) in sums.iter_mut().zip(&mut vectors) {
            *sum = s.add(*sum, term(load(s, x)));
        }
        let part = vectors.remainder();
        if !part.is_empty() {
            sums[TILE - 1] = s.add(sums[TILE - 1], term(load_part(s, part, rest)));
        }
        let [a, b, c, d] = sums;
        total += f64::from(s.sum(s.add(s.add(a, b), s.add(c, d))));
    }
    total
}

/// Returns the largest `term` over `x`, minus infinity if there is none, and NaN if one is NaN.
#[inline(always)]
pub(super) fn maximum<S: Simd>(s: S, x: &[f32], term: impl Fn(S::Vector) -> S::Vector) -> f32 {
    let mut largest = s.splat(f32::NEG_INFINITY);
    let mut vectors = x.chunks_exact(S::WIDTH);
    for x in &mut vectors {
        largest = s.max(largest, term(load(s, x)));
    }
    let part = vectors.remainder();
    if let Some(&first) = part.first() {
        largest = s.max(largest, term(load_part(s, part, first)));
    }
    let mut lanes = [f32::NEG_INFINITY; MOST_LANES];
    store(s, &mut lanes, largest);
    lanes.into_iter().fold(f32::NEG_INFINITY, larger)
}

/// Returns the larger of two numbers, or NaN if either is NaN.
#[inline(always)]
pub(super) fn larger(a: f32, b: f32) -> f32 {
    if a > b || a.is_nan() { a } else { b }
}
