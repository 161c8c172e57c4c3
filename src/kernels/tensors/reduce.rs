//! Sums and maxima along an axis.

use super::vectors::{inlined, load_up_to, maximum, store_up_to, sum};
use crate::simd::{Isa, Simd, Vectorised};

/// What a reduction computes from the elements of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// Their sum.
    Sum,
    /// The sum of their squares.
    SumOfSquares,
    /// The sum of their absolute values.
    SumOfMagnitudes,
    /// The largest one, NaN if one is NaN, and minus infinity if there is none.
    Maximum,
    /// The smallest one, NaN if one is NaN, and infinity if there is none.
    Minimum,
}

/// Reduces every line of `x`, a tensor `[outer][size][inner]`, along its second axis. `y` is
/// `[outer][inner]`.
///
/// # Panics
/// Panics if `x` does not have as many elements.
pub fn reduce(isa: Isa, reduction: Reduction, x: &[f32], size: usize, inner: usize, y: &mut [f32]) {
    assert_eq!(Some(x.len()), y.len().checked_mul(size), "{size} elements per line");
    if !y.is_empty() {
        assert!(inner > 0 && y.len().is_multiple_of(inner), "whole rows of {inner}");
        isa.run_narrow(Reduce { reduction, x, size, inner, y });
    }
}

/// Lines that are added up before their sum is added to that of the others, so that the error of a long
/// sum grows slowly.
const BLOCK: usize = 128;

struct Reduce<'a> {
    reduction: Reduction,
    x: &'a [f32],
    size: usize,
    inner: usize,
    y: &'a mut [f32],
}

impl Vectorised for Reduce<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.reduction {
            Reduction::Sum => inlined!(sums(s, self), |x| x),
            Reduction::SumOfSquares => inlined!(sums(s, self), |x| s.mul(x, x)),
            Reduction::SumOfMagnitudes => inlined!(sums(s, self), |x| s.max(x, negative(s, x))),
            Reduction::Maximum => inlined!(maxima(s, self, 1.0), |x| x),
            Reduction::Minimum => inlined!(maxima(s, self, -1.0), |x| negative(s, x)),
        }
    }
}

#[inline(always)]
fn negative<S: Simd>(s: S, x: S::Vector) -> S::Vector {
    s.sub(s.splat(0.0), x)
}

/// Computes the sum of the terms of every line.
#[inline(always)]
fn sums<S: Simd>(s: S, reduce: Reduce, term: impl Fn(S::Vector) -> S::Vector) {
    let Reduce { x, size, inner, y, .. } = reduce;
    for (outer, y) in y.chunks_exact_mut(inner).enumerate() {
        let x = &x[outer * size * inner..][..size * inner];
        match inner {
            1 => y[0] = sum(s, x, 0.0, &term) as f32,
            _ => inlined!(columns(s, x, y, 0.0, &term), |a, b| s.add(a, b)),
        }
    }
}

/// Computes the largest term of every line, times `sign`.
#[inline(always)]
fn maxima<S: Simd>(s: S, reduce: Reduce, sign: f32, term: impl Fn(S::Vector) -> S::Vector) {
    let Reduce { x, size, inner, y, .. } = reduce;
    for (outer, y) in y.chunks_exact_mut(inner).enumerate() {
        let x = &x[outer * size * inner..][..size * inner];
        match inner {
            1 => y[0] = maximum(s, x, &term),
            _ => inlined!(columns(s, x, y, f32::NEG_INFINITY, &term), |a, b| s.max(a, b)),
        }
        for y in y {
            *y *= sign;
        }
    }
}

/// Folds the terms of every column of `x`, whose rows are as long as `y`, from `start` on.
#[inline(always)]
fn columns<S: Simd>(
    s: S,
    x: &[f32],
    y: &mut [f32],
    start: f32,
    term: &impl Fn(S::Vector) -> S::Vector,
    fold: impl Fn(S::Vector, S::Vector) -> S::Vector,
) {
    let inner = y.len();
    for (i, y) in y.chunks_mut(S::WIDTH).enumerate() {
        let (first, width) = (i * S::WIDTH, y.len());
        let mut total = s.splat(start);
        for block in x.chunks(BLOCK * inner) {
            let mut part = s.splat(start);
            for row in block.chunks_exact(inner) {
                part = fold(part, term(load_up_to(s, &row[first..][..width])));
            }
            total = fold(total, part);
        }
        store_up_to(s, y, total);
    }
}
