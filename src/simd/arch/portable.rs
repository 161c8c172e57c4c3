//! Vectors of the `wide` crate, for any processor.

use half::f16;
use wide::f32x8;

use crate::simd::{LANES, Sealed, Simd};

/// The instructions that every processor of the target has, which need no proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portable;

impl Sealed for Portable {}

impl Simd for Portable {
    const WIDTH: usize = LANES;
    const TILE_ROWS: usize = 2;
    const TILE_PIXELS: usize = 4;
    type Vector = f32x8;
    type Narrow = Self;

    #[inline(always)]
    fn narrow(self) -> Self {
        self
    }

    #[inline(never)]
    fn vectorise<R>(self, f: impl FnOnce() -> R) -> R {
        f()
    }

    #[inline(always)]
    fn splat(self, x: f32) -> f32x8 {
        f32x8::splat(x)
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> f32x8 {
        // SAFETY: the caller guarantees that eight f32 are readable at `from`, at any alignment.
        f32x8::new(unsafe { from.cast::<[f32; 8]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: f32x8) {
        // SAFETY: the caller guarantees that eight f32 are writable at `to`, at any alignment.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(x.to_array()) }
    }

    #[inline(always)]
    unsafe fn load_f16(self, from: *const f16) -> f32x8 {
        // SAFETY: the caller guarantees that eight halves are readable at `from`, at any alignment.
        f32x8::new(unsafe { from.cast::<[f16; 8]>().read_unaligned() }.map(f16::to_f32))
    }

    #[inline(always)]
    unsafe fn load_i16(self, from: *const i16) -> f32x8 {
        // SAFETY: the caller guarantees that eight integers are readable at `from`, at any alignment.
        f32x8::new(unsafe { from.cast::<[i16; 8]>().read_unaligned() }.map(f32::from))
    }

    #[inline(always)]
    unsafe fn load_i8(self, from: *const i8) -> f32x8 {
        // SAFETY: the caller guarantees that eight integers are readable at `from`, at any alignment.
        f32x8::new(unsafe { from.cast::<[i8; 8]>().read_unaligned() }.map(f32::from))
    }

    #[inline(always)]
    fn add(self, a: f32x8, b: f32x8) -> f32x8 {
        a + b
    }

    #[inline(always)]
    fn sub(self, a: f32x8, b: f32x8) -> f32x8 {
        a - b
    }

    #[inline(always)]
    fn mul(self, a: f32x8, b: f32x8) -> f32x8 {
        a * b
    }

    #[inline(always)]
    fn div(self, a: f32x8, b: f32x8) -> f32x8 {
        a / b
    }

    #[inline(always)]
    fn mul_add(self, a: f32x8, b: f32x8, c: f32x8) -> f32x8 {
        a.mul_add(b, c)
    }

    #[inline(always)]
    fn max(self, a: f32x8, b: f32x8) -> f32x8 {
        b.is_nan().select(b, a.is_nan().select(a, a.fast_max(b)))
    }

    #[inline(always)]
    fn at_least(self, x: f32x8, low: f32x8) -> f32x8 {
        x.is_nan().select(x, x.fast_max(low))
    }

    #[inline(always)]
    fn at_most(self, x: f32x8, high: f32x8) -> f32x8 {
        x.is_nan().select(x, x.fast_min(high))
    }

    #[inline(always)]
    fn round(self, x: f32x8) -> f32x8 {
        x.round()
    }

    #[inline(always)]
    fn scale(self, x: f32x8, n: f32x8) -> f32x8 {
        let (x, n) = (x.to_array(), n.to_array());
        let scaled =
            |i: usize| f32::from_bits(x[i].to_bits().wrapping_add((n[i] as i32 as u32) << 23));
        f32x8::new(std::array::from_fn(scaled))
    }

    #[inline(always)]
    fn permute(self, x: f32x8, from: &[u32; LANES]) -> f32x8 {
        let x = x.to_array();
        f32x8::new(from.map(|lane| x[lane as usize % LANES]))
    }

    #[inline(always)]
    fn sum(self, x: f32x8) -> f32 {
        let [a, b, c, d, e, f, g, h] = x.to_array();
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    }
}
