//! AVX2 with FMA and F16C, which x86 processors have since 2013 (Intel) or 2015 (AMD).

use std::arch::x86_64::*;

use half::f16;

use super::features::features;
use crate::simd::{LANES, Sealed, Simd};

/// Proof that the processor has AVX2, FMA and F16C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx2(());

impl Avx2 {
    /// Returns the proof, if the processor has the features.
    pub fn detect() -> Option<Self> {
        has_features().then_some(Avx2(()))
    }
}

features!(is_x86_feature_detected: "avx2" "fma" "f16c");

/// Calls intrinsics that need the features of which `Avx2` is the proof.
macro_rules! proven {
    ($call:expr) => {
        // SAFETY: a value of `Avx2` exists only where `detect` found all features of the list
        // above, among them those of this intrinsic or function.
        unsafe { $call }
    };
}

impl Sealed for Avx2 {}

impl Simd for Avx2 {
    const WIDTH: usize = LANES;
    const TILE_ROWS: usize = 6;
    type Vector = __m256;
    type Narrow = Self;

    #[inline(always)]
    fn narrow(self) -> Self {
        self
    }

    #[inline(always)]
    fn vectorise<R>(self, f: impl FnOnce() -> R) -> R {
        proven!(call_with_features(f))
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        proven!(_mm256_set1_ps(x))
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m256 {
        // SAFETY: `self` proves that the processor has the instructions; the caller guarantees
        // that a vector is readable at `from`. No alignment is needed.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: __m256) {
        // SAFETY: `self` proves that the processor has the instructions; the caller guarantees
        // that a vector is writable at `to`. No alignment is needed.
        unsafe { _mm256_storeu_ps(to, x) }
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
    unsafe fn load_f16(self, from: *const f16) -> __m256 {
        // SAFETY: `self` proves that the processor has the instructions; the caller guarantees
        // that a vector of halves is readable at `from`. No alignment is needed.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
    }

    #[inline(always)]
    unsafe fn load_i16(self, from: *const i16) -> __m256 {
        // SAFETY: `self` proves that the processor has the instructions; the caller guarantees
        // that a vector of integers is readable at `from`. No alignment is needed.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm_loadu_si128(from.cast()))) }
    }

    #[inline(always)]
    unsafe fn load_i8(self, from: *const i8) -> __m256 {
        // SAFETY: `self` proves that the processor has the instructions; the caller guarantees
        // that a vector of integers is readable at `from`. No alignment is needed.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast()))) }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        proven!(_mm256_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        proven!(_mm256_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        proven!(_mm256_mul_ps(a, b))
    }

    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        proven!(_mm256_div_ps(a, b))
    }

    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        proven!(_mm256_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        // The instruction returns `b` if either operand is NaN. Where `a` is NaN, all bits of the
        // comparison are set, which is a NaN. A blend would take two operations on some processors.
        let unordered = proven!(_mm256_cmp_ps::<_CMP_UNORD_Q>(a, a));
        proven!(_mm256_or_ps(_mm256_max_ps(a, b), unordered))
    }

    #[inline(always)]
    fn at_least(self, x: __m256, low: __m256) -> __m256 {
        proven!(_mm256_max_ps(low, x))
    }

    #[inline(always)]
    fn at_most(self, x: __m256, high: __m256) -> __m256 {
        proven!(_mm256_min_ps(high, x))
    }

    #[inline(always)]
    fn round(self, x: __m256) -> __m256 {
        proven!(_mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x))
    }

    #[inline(always)]
    fn scale(self, x: __m256, n: __m256) -> __m256 {
        proven!({
            let exponent = _mm256_slli_epi32::<23>(_mm256_cvtps_epi32(n));
            _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), exponent))
        })
    }

    #[inline(always)]
    fn permute(self, x: __m256, from: &[u32; LANES]) -> __m256 {
        proven!(_mm256_permutevar8x32_ps(x, _mm256_loadu_si256(from.as_ptr().cast())))
    }

    #[inline(always)]
    fn sum(self, x: __m256) -> f32 {
        proven!({
            let four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        })
    }

    #[inline(always)]
    unsafe fn transpose(self, from: *const f32, from_row: usize, to: *mut f32, to_row: usize) {
        // SAFETY: `self` proves that the processor has the instructions; the caller guarantees
        // that eight rows of eight numbers are readable at `from` and writable at `to`. No
        // alignment is needed.
        unsafe {
            // Four numbers of a row, and next to them those of the row four below.
            let rows = |i: usize, j: usize| {
                let four = |i: usize| _mm_loadu_ps(from.add(i * from_row + j));
                _mm256_set_m128(four(i + 4), four(i))
            };
            for j in [0, 4] {
                let [a, b, c, d] = [rows(0, j), rows(1, j), rows(2, j), rows(3, j)];
                let (ab, cd) = (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d));
                let to = to.add(j * to_row);
                self.store(to, _mm256_shuffle_ps::<0b01_00_01_00>(ab, cd));
                self.store(to.add(to_row), _mm256_shuffle_ps::<0b11_10_11_10>(ab, cd));
                let (ab, cd) = (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d));
                self.store(to.add(2 * to_row), _mm256_shuffle_ps::<0b01_00_01_00>(ab, cd));
                self.store(to.add(3 * to_row), _mm256_shuffle_ps::<0b11_10_11_10>(ab, cd));
            }
        }
    }
}
