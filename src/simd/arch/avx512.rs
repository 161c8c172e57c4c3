//! AVX-512F with DQ and VL, which servers have since 2017 (Intel), and all processors of AMD since 2022.

use std::arch::x86_64::*;

use half::f16;

use super::avx2::Avx2;
use super::features::features;
use crate::simd::{LANES, Sealed, Simd};

/// Proof that the processor has AVX-512F, DQ and VL, and the features of [`Avx2`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512(Avx2);

impl Avx512 {
    /// Returns the proof, if the processor has the features.
    pub fn detect() -> Option<Self> {
        Avx2::detect().filter(|_| has_features()).map(Avx512)
    }
}

// Those of `Avx2` are among them: its methods are inlined into what is compiled for these.
features!(is_x86_feature_detected: "avx512f" "avx512dq" "avx512vl" "avx2" "fma" "f16c");

/// Calls intrinsics that need the features of which `Avx512` is the proof.
macro_rules! proven {
    ($call:expr) => {
        // SAFETY: a value of `Avx512` exists only where `detect` found all features of the list
        // above, among them those of this intrinsic or function.
        unsafe { $call }
    };
}

impl Sealed for Avx512 {}

impl Simd for Avx512 {
    const WIDTH: usize = 2 * LANES;
    const TILE_ROWS: usize = 12;
    type Vector = __m512;
    type Narrow = Avx2;

    #[inline(always)]
    fn narrow(self) -> Avx2 {
        self.0
    }

    #[inline(always)]
    fn vectorise<R>(self, f: impl FnOnce() -> R) -> R {
        proven!(call_with_features(f))
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        proven!(_mm512_set1_ps(x))
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        // SAFETY: `self` proves that the processor has the instructions; the caller guarantees
        // that a vector is readable at `from`. No alignment is needed.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: __m512) {
        // SAFETY: `self` proves that the processor has the instructions; the caller guarantees
        // that a vector is writable at `to`. No alignment is needed.
        unsafe { _mm512_storeu_ps(to, x) }
    }

    #[inline(always)]
    fn prefetch(self, from: *const f32) {
        proven!(_mm_prefetch::<_MM_HINT_T0>(from.cast()));
    }

    #[inline(always)]
    fn prefetch_l2(self, from: *const f32) {
        proven!(_mm_prefetch::<_MM_HINT_T1>(from.cast()));
    }

    #[inline(always)]
    unsafe fn load_f16(self, from: *const f16) -> __m512 {
        // SAFETY: `self` proves that the processor has the instructions; the caller guarantees
        // that a vector of halves is readable at `from`. No alignment is needed.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }

    #[inline(always)]
    unsafe fn load_i16(self, from: *const i16) -> __m512 {
        // SAFETY: `self` proves that the processor has the instructions; the caller guarantees
        // that a vector of integers is readable at `from`. No alignment is needed.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(_mm256_loadu_si256(from.cast()))) }
    }

    #[inline(always)]
    unsafe fn load_i8(self, from: *const i8) -> __m512 {
        // SAFETY: `self` proves that the processor has the instructions; the caller guarantees
        // that a vector of integers is readable at `from`. No alignment is needed.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        proven!(_mm512_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        proven!(_mm512_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        proven!(_mm512_mul_ps(a, b))
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        proven!(_mm512_div_ps(a, b))
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        proven!(_mm512_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // The instruction returns `b` if either operand is NaN.
        proven!(_mm512_mask_max_ps(a, _mm512_cmp_ps_mask::<_CMP_ORD_Q>(a, a), a, b))
    }

    #[inline(always)]
    fn at_least(self, x: __m512, low: __m512) -> __m512 {
        proven!(_mm512_max_ps(low, x))
    }

    #[inline(always)]
    fn at_most(self, x: __m512, high: __m512) -> __m512 {
        proven!(_mm512_min_ps(high, x))
    }

    #[inline(always)]
    fn round(self, x: __m512) -> __m512 {
        proven!(_mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x))
    }

    #[inline(always)]
    fn scale(self, x: __m512, n: __m512) -> __m512 {
        proven!(_mm512_scalef_ps(x, n))
    }

    #[inline(always)]
    fn permute(self, x: __m512, from: &[u32; LANES]) -> __m512 {
        proven!({
            // The instruction selects from all sixteen lanes.
            let from = _mm512_broadcast_i32x8(_mm256_loadu_si256(from.as_ptr().cast()));
            let of_upper_half = _mm512_set1_epi32(LANES as i32);
            let from = _mm512_mask_or_epi32(from, 0xff00, from, of_upper_half);
            _mm512_permutexvar_ps(from, x)
        })
    }

    #[inline(always)]
    fn sum(self, x: __m512) -> f32 {
        let halves = proven!((_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x)));
        self.0.sum(self.0.add(halves.0, halves.1))
    }
}
