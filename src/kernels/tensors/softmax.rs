//! Softmax and its logarithm.

use super::vectors::{
    MOST_LANES, each_vector, inlined, load, load_up_to, maximum, store, store_up_to, sum,
};
use crate::simd::{Isa, Simd, Vectorised, exp};

/// Replaces every line of `x`, a tensor `[outer][size][inner]`, along its second axis by its softmax,
/// or by the logarithm of that.
///
/// # Panics
/// Panics if the length of `x` is not a multiple of `size * inner`.
pub fn softmax(isa: Isa, x: &mut [f32], [size, inner]: [usize; 2], logarithm: bool) {
    if x.is_empty() {
        return;
    }
    let block = size.checked_mul(inner).filter(|&block| block > 0 && x.len().is_multiple_of(block));
    assert!(block.is_some(), "whole blocks of {size} x {inner}");
    isa.run_narrow(Softmax { x, size, inner, logarithm });
}

struct Softmax<'a> {
    x: &'a mut [f32],
    size: usize,
    inner: usize,
    logarithm: bool,
}

impl Vectorised for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Softmax { x, size, inner, logarithm } = self;
        for block in x.chunks_exact_mut(size * inner) {
            match inner {
                1 => row(s, block, logarithm),
                _ => columns(s, block, inner, logarithm),
            }
        }
    }
}

/// Returns `e^x` for `x` up to 0, and exactly 0 where that is too small for a normal number: the
/// products that follow a softmax are slow on numbers that are not normal.
#[inline(always)]
fn term<S: Simd>(s: S, x: S::Vector, smallest: S::Vector) -> S::Vector {
    s.sub(exp(s, x), smallest)
}

/// Returns what [`exp`] returns for minus infinity.
#[inline(always)]
fn smallest<S: Simd>(s: S) -> S::Vector {
    exp(s, s.splat(f32::NEG_INFINITY))
}

#[inline(always)]
fn row<S: Simd>(s: S, row: &mut [f32], logarithm: bool) {
    let smallest = smallest(s);
    let largest = s.splat(inlined!(maximum(s, row), |x| x));
    if logarithm {
        let none = f32::NEG_INFINITY;
        let sum = inlined!(sum(s, row, none), |x| term(s, s.sub(x, largest), smallest));
        let logarithm = s.splat(sum.ln() as f32);
        inlined!(each_vector(s, row), |x| s.sub(s.sub(x, largest), logarithm));
        return;
    }
    inlined!(each_vector(s, row), |x| term(s, s.sub(x, largest), smallest));
    let factor = s.splat((1.0 / inlined!(sum(s, row, 0.0), |x| x)) as f32);
    inlined!(each_vector(s, row), |x| s.mul(x, factor));
}

/// Computes the softmax of each of `inner` columns of `block`, a vector of columns at a time.
#[inline(always)]
fn columns<S: Simd>(s: S, block: &mut [f32], inner: usize, logarithm: bool) {
    let smallest = smallest(s);
    for first in (0..inner).step_by(S::WIDTH) {
        let width = S::WIDTH.min(inner - first);
        let mut largest = s.splat(f32::NEG_INFINITY);
        for line in block.chunks_exact(inner) {
            largest = s.max(largest, load_up_to(s, &line[first..][..width]));
        }
        let mut sum = s.splat(0.0);
        for line in block.chunks_exact_mut(inner) {
            let line = &mut line[first..][..width];
            let shifted = s.sub(load_up_to(s, line), largest);
            let y = term(s, shifted, smallest);
            sum = s.add(sum, y);
            store_up_to(s, line, if logarithm { shifted } else { y });
        }
        if logarithm {
            let mut lanes = [1.0; MOST_LANES];
            store(s, &mut lanes, sum);
            let logarithms = load(s, &lanes.map(f32::ln));
            for line in block.chunks_exact_mut(inner) {
                let line = &mut line[first..][..width];
                store_up_to(s, line, s.sub(load_up_to(s, line), logarithms));
            }
        } else {
            let factor = s.div(s.splat(1.0), sum);
            for line in block.chunks_exact_mut(inner) {
                let line = &mut line[first..][..width];
                store_up_to(s, line, s.mul(load_up_to(s, line), factor));
            }
        }
    }
}
