//! The max-affine function `y = max over k of (a_k x + b_k)` of dynamic ReLUs, on maps without padding,
//! for [`DynamicRelu`](crate::DynamicRelu). In a network it is an [epilogue](super::epilogue).
//!
//! A NaN in any piece makes the result NaN, as in PyTorch's `torch.max`.
#![allow(unsafe_code)]

use crate::simd::{Isa, LANES, Simd, Vectorised};

/// The largest number of pieces, K, that the functions of this module accept.
pub const MOST_PIECES: usize = 8;

/// Applies the function in place to `x [channels][plane]`, one image in NCHW. The slopes `a` and the
/// intercepts `b` are `[K][channels]`.
///
/// # Panics
/// Panics if a length does not match these shapes, or if K is not from 1 to [`MOST_PIECES`].
pub fn max_affine_nchw(isa: Isa, x: &mut [f32], plane: usize, a: &[f32], b: &[f32]) {
    let channels = x.len().checked_div(plane).unwrap_or(0);
    check(x.len(), channels * plane, channels, a, b);
    let data = x.as_mut_ptr();
    isa.run_narrow(Nchw { from: data, to: data, channels, plane, a, b });
}

/// As [`max_affine_nchw`], but writes the result to `y`.
///
/// # Panics
/// Panics as [`max_affine_nchw`] does, and if `x` and `y` differ in length.
pub fn max_affine_nchw_into(
    isa: Isa,
    x: &[f32],
    y: &mut [f32],
    plane: usize,
    a: &[f32],
    b: &[f32],
) {
    let channels = x.len().checked_div(plane).unwrap_or(0);
    check(x.len(), channels * plane, channels, a, b);
    assert_eq!(x.len(), y.len());
    isa.run_narrow(Nchw { from: x.as_ptr(), to: y.as_mut_ptr(), channels, plane, a, b });
}

/// Applies the function in place to `x [pixels][channels]`, one image in NHWC without padding. The
/// slopes `a` and the intercepts `b` are `[K][channels]`.
///
/// # Panics
/// Panics if a length does not match these shapes, or if K is not from 1 to [`MOST_PIECES`].
pub fn max_affine_nhwc(isa: Isa, x: &mut [f32], channels: usize, a: &[f32], b: &[f32]) {
    let rows = x.len().checked_div(channels).unwrap_or(0);
    check(x.len(), rows * channels, channels, a, b);
    let data = x.as_mut_ptr();
    isa.run_narrow(Nhwc { from: data, to: data, rows, channels, a, b });
}

/// As [`max_affine_nhwc`], but writes the result to `y`.
///
/// # Panics
/// Panics as [`max_affine_nhwc`] does, and if `x` and `y` differ in length.
pub fn max_affine_nhwc_into(
    isa: Isa,
    x: &[f32],
    y: &mut [f32],
    channels: usize,
    a: &[f32],
    b: &[f32],
) {
    let rows = x.len().checked_div(channels).unwrap_or(0);
    check(x.len(), rows * channels, channels, a, b);
    assert_eq!(x.len(), y.len());
    isa.run_narrow(Nhwc { from: x.as_ptr(), to: y.as_mut_ptr(), rows, channels, a, b });
}

fn check(len: usize, whole: usize, channels: usize, a: &[f32], b: &[f32]) {
    assert_eq!(len, whole, "the map does not consist of whole planes or pixels");
    assert_eq!(a.len(), b.len(), "slopes and intercepts differ in number");
    let k = a.len().checked_div(channels).unwrap_or(1);
    assert!(channels == 0 || a.len() == k * channels, "the slopes are not [K][channels]");
    assert!((1..=MOST_PIECES).contains(&k), "K is not from 1 to {MOST_PIECES}");
}

/// Returns `max over k of (a_k x + b_k)` for a vector.
#[inline(always)]
fn pieces<S: Simd, const K: usize>(
    s: S,
    x: S::Vector,
    a: &[S::Vector; K],
    b: &[S::Vector; K],
) -> S::Vector {
    let mut largest = s.mul_add(x, a[0], b[0]);
    for k in 1..K {
        largest = s.max(largest, s.mul_add(x, a[k], b[k]));
    }
    largest
}

/// Returns `max over k of (a_k x + b_k)` for a number; `coefficient` returns `(a_k, b_k)`.
#[inline(always)]
fn scalar_pieces(x: f32, coefficient: impl Fn(usize) -> (f32, f32), k: usize) -> f32 {
    let piece = |k| {
        let (a, b) = coefficient(k);
        x.mul_add(a, b)
    };
    (1..k).map(piece).fold(piece(0), |m, p| if m > p || m.is_nan() { m } else { p })
}

/// Calls `$this.$run::<S, K>($s)` with the smallest supported K that is at least `$k`. Callees repeat
/// the last piece up to K pieces, which does not change the maximum.
macro_rules! for_k {
    ($k:expr, $this:ident.$run:ident($s:ident)) => {
        match $k {
            1 => $this.$run::<S, 1>($s),
            2 => $this.$run::<S, 2>($s),
            3 | 4 => $this.$run::<S, 4>($s),
            _ => $this.$run::<S, MOST_PIECES>($s),
        }
    };
}

/// A call in NCHW. Both pointers point to `channels * plane` elements and may be equal.
struct Nchw<'a> {
    from: *const f32,
    to: *mut f32,
    channels: usize,
    plane: usize,
    a: &'a [f32],
    b: &'a [f32],
}

impl Vectorised for Nchw<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Some(k) = self.a.len().checked_div(self.channels) else { return };
        for_k!(k, self.planes(s));
    }
}

impl Nchw<'_> {
    #[inline(always)]
    fn planes<S: Simd, const K: usize>(&self, s: S) {
        let zero = s.splat(0.0);
        let last = self.a.len() / self.channels - 1;
        for channel in 0..self.channels {
            let at = |k: usize| k.min(last) * self.channels + channel;
            let (mut a, mut b) = ([zero; K], [zero; K]);
            for k in 0..K {
                a[k] = s.splat(self.a[at(k)]);
                b[k] = s.splat(self.b[at(k)]);
            }
            let whole = self.plane / LANES * LANES;
            // SAFETY: both maps have `channels` planes.
            unsafe {
                let from = self.from.add(channel * self.plane);
                let to = self.to.add(channel * self.plane);
                for i in (0..whole).step_by(LANES) {
                    s.store(to.add(i), pieces(s, s.load(from.add(i)), &a, &b));
                }
                for i in whole..self.plane {
                    *to.add(i) = scalar_pieces(*from.add(i), |k| (self.a[at(k)], self.b[at(k)]), K);
                }
            }
        }
    }
}

/// A call in NHWC. Both pointers point to `rows * channels` elements and may be equal.
struct Nhwc<'a> {
    from: *const f32,
    to: *mut f32,
    rows: usize,
    channels: usize,
    a: &'a [f32],
    b: &'a [f32],
}

impl Vectorised for Nhwc<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Some(k) = self.a.len().checked_div(self.channels) else { return };
        for_k!(k, self.rows(s));
    }
}

impl Nhwc<'_> {
    #[inline(always)]
    fn rows<S: Simd, const K: usize>(&self, s: S) {
        // Coefficients are loaded once for two rows. More rows would be more streams than hardware
        // prefetchers follow.
        const ROWS: usize = 2;
        let whole = self.rows / ROWS * ROWS;
        // SAFETY: both maps have these rows.
        unsafe {
            (0..whole).step_by(ROWS).for_each(|row| self.tile::<S, K, ROWS>(s, row));
            (whole..self.rows).for_each(|row| self.tile::<S, K, 1>(s, row));
        }
    }

    /// Computes `R` rows from `first` on.
    ///
    /// # Safety
    /// Both maps have these rows.
    #[inline(always)]
    unsafe fn tile<S: Simd, const K: usize, const R: usize>(&self, s: S, first: usize) {
        let (channels, zero) = (self.channels, s.splat(0.0));
        let whole = channels / LANES * LANES;
        let last = self.a.len() / channels - 1;
        // SAFETY: the caller guarantees the rows of both maps; the coefficients are `[K][channels]`, as
        // `check` asserted.
        unsafe {
            let (from, to) = (self.from.add(first * channels), self.to.add(first * channels));
            for channel in (0..whole).step_by(LANES) {
                let (mut a, mut b) = ([zero; K], [zero; K]);
                for k in 0..K {
                    a[k] = s.load(self.a.as_ptr().add(k.min(last) * channels + channel));
                    b[k] = s.load(self.b.as_ptr().add(k.min(last) * channels + channel));
                }
                for row in 0..R {
                    let i = row * channels + channel;
                    s.store(to.add(i), pieces(s, s.load(from.add(i)), &a, &b));
                }
            }
            for channel in whole..channels {
                let at = |k: usize| k.min(last) * channels + channel;
                for row in 0..R {
                    let i = row * channels + channel;
                    *to.add(i) = scalar_pieces(*from.add(i), |k| (self.a[at(k)], self.b[at(k)]), K);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::guarded::Guarded;
    use super::*;

    fn naive(x: f32, a: &[f32], b: &[f32]) -> f32 {
        let pieces = || a.iter().zip(b).map(|(a, b)| x.mul_add(*a, *b));
        match pieces().any(f32::is_nan) {
            true => f32::NAN,
            false => pieces().fold(f32::NEG_INFINITY, f32::max),
        }
    }

    fn wave(len: usize, frequency: f32) -> Vec<f32> {
        (0..len).map(|i| (i as f32 * frequency).sin() * 2.0).collect()
    }

    fn every_k_and_layout_agrees_with_the_definition(isa: Isa) {
        for k in 1..=MOST_PIECES {
            for (channels, plane) in [(1, 1), (3, 35), (17, 7), (8, 16), (24, 33)] {
                let x = Guarded::from_numbers(&wave(channels * plane, 0.7));
                let (a, b) = (wave(k * channels, 1.3), wave(k * channels, 2.1));
                let column = |v: &[f32], c: usize| -> Vec<f32> {
                    (0..k).map(|k| v[k * channels + c]).collect()
                };
                let want = |i: usize, c: usize| naive(x[i], &column(&a, c), &column(&b, c));
                let nchw: Vec<f32> = (0..x.len()).map(|i| want(i, i / plane)).collect();
                let nhwc: Vec<f32> = (0..x.len()).map(|i| want(i, i % channels)).collect();
                let case = format!("{} K = {k}, {channels} channels", isa.name());
                let close = |got: &[f32], want: &[f32]| {
                    got.iter().zip(want).all(|(g, w)| (g - w).abs() <= 1e-6 * w.abs().max(1.0))
                };
                let mut y = Guarded::unwritten(x.len());
                max_affine_nchw_into(isa, &x, &mut y, plane, &a, &b);
                assert!(close(y.written(&case), &nchw), "NCHW, {case}");
                max_affine_nhwc_into(isa, &x, &mut y, channels, &a, &b);
                assert!(close(y.written(&case), &nhwc), "NHWC, {case}");
                y.copy_from_slice(&x);
                max_affine_nchw(isa, &mut y, plane, &a, &b);
                assert!(close(y.written(&case), &nchw), "NCHW in place, {case}");
                y.copy_from_slice(&x);
                max_affine_nhwc(isa, &mut y, channels, &a, &b);
                assert!(close(y.written(&case), &nhwc), "NHWC in place, {case}");
            }
        }
    }

    /// [`every_k_and_layout_agrees_with_the_definition`] on each instruction set.
    mod every_k_and_layout_agrees_with_the_definition {
        crate::simd::testing::isa_tests!(super::every_k_and_layout_agrees_with_the_definition);
    }

    fn a_nan_in_one_piece_is_a_nan(isa: Isa) {
        for (a, b) in [([0.0, 1.0], [0.0, 0.0]), ([1.0, 0.0], [0.0, 0.0])] {
            let mut x = [1.0; 11];
            x[0] = f32::INFINITY;
            x[9] = f32::INFINITY;
            x[10] = f32::NAN;
            max_affine_nchw(isa, &mut x, 11, &a, &b);
            assert!([0, 9, 10].iter().all(|&i| x[i].is_nan()), "{} {x:?}", isa.name());
            assert_eq!(x[1], 1.0);
        }
    }

    /// [`a_nan_in_one_piece_is_a_nan`] on each instruction set.
    mod a_nan_in_one_piece_is_a_nan {
        crate::simd::testing::isa_tests!(super::a_nan_in_one_piece_is_a_nan);
    }
}
