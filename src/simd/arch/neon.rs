//! NEON, which every 64-bit ARM processor has. A vector of eight lanes is two registers.

use std::arch::aarch64::*;

use half::f16;

use super::features::features;
use crate::simd::{LANES, Sealed, Simd};

/// Proof that the processor has NEON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neon(());

impl Neon {
    /// Returns the proof, if the processor has NEON.
    pub fn detect() -> Option<Self> {
        has_features().then_some(Neon(()))
    }
}

features!(is_aarch64_feature_detected: "neon");

/// Applies an intrinsic of four lanes to both halves of its arguments.
macro_rules! halves {
    ($f:ident $(, $x:expr)+) => {
        // SAFETY: a value of `Neon` exists only where `detect` found the instructions.
        unsafe { [$f($($x[0]),+), $f($($x[1]),+)] }
    };
}

impl Sealed for Neon {}

impl Simd for Neon {
    const WIDTH: usize = LANES;
    const TILE_ROWS: usize = 6;
    type Vector = [float32x4_t; 2];
    type Narrow = Self;

    #[inline(always)]
    fn narrow(self) -> Self {
        self
    }

    #[inline(always)]
    fn vectorise<R>(self, f: impl FnOnce() -> R) -> R {
        // SAFETY: a value of `Neon` exists only where `detect` found the features of the list.
        unsafe { call_with_features(f) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::Vector {
        halves!(vdupq_n_f32, [x, x])
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::Vector {
        // SAFETY: `self` proves that the processor has the instructions; the caller guarantees
        // that a vector is readable at `from`. No alignment is needed.
        unsafe { [vld1q_f32(from), vld1q_f32(from.add(4))] }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: Self::Vector) {
        // SAFETY: `self` proves that the processor has the instructions; the caller guarantees
        // that a vector is writable at `to`. No alignment is needed.
        unsafe {
            vst1q_f32(to, x[0]);
            vst1q_f32(to.add(4), x[1]);
        }
    }

    #[inline(always)]
    unsafe fn load_f16(self, from: *const f16) -> Self::Vector {
        // SAFETY: `self` proves that the processor has the instructions; the caller guarantees
        // that a vector of halves is readable at `from`. No alignment is needed.
        unsafe {
            let eight = vld1q_u16(from.cast());
            let widen = |four| vcvt_f32_f16(vreinterpret_f16_u16(four));
            [widen(vget_low_u16(eight)), widen(vget_high_u16(eight))]
        }
    }

    #[inline(always)]
    unsafe fn load_i16(self, from: *const i16) -> Self::Vector {
        // SAFETY: `self` proves that the processor has the instructions; the caller guarantees
        // that a vector of integers is readable at `from`. No alignment is needed.
        unsafe {
            let eight = vld1q_s16(from);
            let widen = |four| vcvtq_f32_s32(vmovl_s16(four));
            [widen(vget_low_s16(eight)), widen(vget_high_s16(eight))]
        }
    }

    #[inline(always)]
    unsafe fn load_i8(self, from: *const i8) -> Self::Vector {
        // SAFETY: `self` proves that the processor has the instructions; the caller guarantees
        // that a vector of integers is readable at `from`. No alignment is needed.
        unsafe {
            let eight = vmovl_s8(vld1_s8(from));
            let widen = |four| vcvtq_f32_s32(vmovl_s16(four));
            [widen(vget_low_s16(eight)), widen(vget_high_s16(eight))]
        }
    }

    #[inline(always)]
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        halves!(vaddq_f32, a, b)
    }

    #[inline(always)]
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        halves!(vsubq_f32, a, b)
    }

    #[inline(always)]
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        halves!(vmulq_f32, a, b)
    }

    #[inline(always)]
    fn div(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        halves!(vdivq_f32, a, b)
    }

    #[inline(always)]
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
        halves!(vfmaq_f32, c, a, b)
    }

    #[inline(always)]
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        halves!(vmaxq_f32, a, b)
    }

    #[inline(always)]
    fn at_least(self, x: Self::Vector, low: Self::Vector) -> Self::Vector {
        halves!(vmaxq_f32, x, low)
    }

    #[inline(always)]
    fn at_most(self, x: Self::Vector, high: Self::Vector) -> Self::Vector {
        halves!(vminq_f32, x, high)
    }

    #[inline(always)]
    fn round(self, x: Self::Vector) -> Self::Vector {
        halves!(vrndnq_f32, x)
    }

    #[inline(always)]
    fn scale(self, x: Self::Vector, n: Self::Vector) -> Self::Vector {
        let half = |x, n| {
            // SAFETY: a value of `Neon` exists only where `detect` found the instructions.
            unsafe {
                let exponent = vshlq_n_s32::<23>(vcvtq_s32_f32(n));
                vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(x), exponent))
            }
        };
        [half(x[0], n[0]), half(x[1], n[1])]
    }

    #[inline(always)]
    fn permute(self, x: Self::Vector, from: &[u32; LANES]) -> Self::Vector {
        // SAFETY: a value of `Neon` exists only where `detect` found the instructions; eight numbers are
        // readable at `from`.
        unsafe {
            let table = uint8x16x2_t(vreinterpretq_u8_f32(x[0]), vreinterpretq_u8_f32(x[1]));
            let half = |first: usize| {
                // The numbers of the four bytes of each lane, the lowest first.
                let lanes = vld1q_u32(from.as_ptr().add(first));
                let bytes = vmlaq_n_u32(vdupq_n_u32(0x0302_0100), lanes, 0x0404_0404);
                vreinterpretq_f32_u8(vqtbl2q_u8(table, vreinterpretq_u8_u32(bytes)))
            };
            [half(0), half(4)]
        }
    }

    #[inline(always)]
    fn sum(self, x: Self::Vector) -> f32 {
        // SAFETY: a value of `Neon` exists only where `detect` found the instructions.
        unsafe {
            let four = vaddq_f32(x[0], x[1]);
            let two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
            vget_lane_f32::<0>(two) + vget_lane_f32::<1>(two)
        }
    }

    #[inline(always)]
    unsafe fn transpose(self, from: *const f32, from_row: usize, to: *mut f32, to_row: usize) {
        for (i, j) in [(0, 0), (0, 4), (4, 0), (4, 4)] {
            // SAFETY: `self` proves that the processor has the instructions; the caller guarantees
            // that eight rows of eight numbers are readable at `from` and writable at `to`. No
            // alignment is needed.
            unsafe {
                let row = |k: usize| vld1q_f32(from.add((i + k) * from_row + j));
                let (ac, bd) = (vzipq_f32(row(0), row(2)), vzipq_f32(row(1), row(3)));
                let (first, last) = (vzipq_f32(ac.0, bd.0), vzipq_f32(ac.1, bd.1));
                for (k, x) in [first.0, first.1, last.0, last.1].into_iter().enumerate() {
                    vst1q_f32(to.add((j + k) * to_row + i), x);
                }
            }
        }
    }
}
