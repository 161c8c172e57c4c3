//! A vector and a narrow one as a single vector, for maps whose channels are not a multiple of sixteen.

use half::f16;

use super::vector::{LANES, Sealed, Simd};

/// The instruction set `S` on vectors of `S::WIDTH + LANES`.
#[derive(Clone, Copy)]
pub struct Wider<S>(pub S);

/// Applies an operation to both vectors.
macro_rules! both {
    ($self:ident.$op:ident($($x:ident),*)) => {
        ($self.0.$op($($x.0),*), $self.0.narrow().$op($($x.1),*))
    };
}

impl<S: Simd> Sealed for Wider<S> {}

impl<S: Simd> Simd for Wider<S> {
    const WIDTH: usize = S::WIDTH + LANES;
    const TILE_ROWS: usize = S::TILE_ROWS;
    const TILE_PIXELS: usize = S::TILE_PIXELS;
    type Vector = (S::Vector, <S::Narrow as Simd>::Vector);
    type Narrow = S::Narrow;

    #[inline(always)]
    fn narrow(self) -> S::Narrow {
        self.0.narrow()
    }

    #[inline(always)]
    fn vectorise<R>(self, f: impl FnOnce() -> R) -> R {
        self.0.vectorise(f)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::Vector {
        (self.0.splat(x), self.narrow().splat(x))
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::Vector {
        // SAFETY: `S::WIDTH + LANES` f32 are readable at `from`, as the caller guarantees: those of the
        // first vector, then those of the narrow one.
        unsafe { (self.0.load(from), self.narrow().load(from.add(S::WIDTH))) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: Self::Vector) {
        // SAFETY: `S::WIDTH + LANES` f32 are writable at `to`, as the caller guarantees: those of the first
        // vector, then those of the narrow one.
        unsafe {
            self.0.store(to, x.0);
            self.narrow().store(to.add(S::WIDTH), x.1);
        }
    }

    #[inline(always)]
    fn prefetch(self, from: *const f32) {
        self.0.prefetch(from);
    }

    #[inline(always)]
    fn prefetch_l2(self, from: *const f32) {
        self.0.prefetch_l2(from);
    }

    #[inline(always)]
    unsafe fn load_f16(self, from: *const f16) -> Self::Vector {
        // SAFETY: `S::WIDTH + LANES` halves are readable at `from`, as the caller guarantees: those of the
        // first vector, then those of the narrow one.
        unsafe { (self.0.load_f16(from), self.narrow().load_f16(from.add(S::WIDTH))) }
    }

    #[inline(always)]
    unsafe fn load_i16(self, from: *const i16) -> Self::Vector {
        // SAFETY: `S::WIDTH + LANES` integers are readable at `from`, as the caller guarantees: those of
        // the first vector, then those of the narrow one.
        unsafe { (self.0.load_i16(from), self.narrow().load_i16(from.add(S::WIDTH))) }
    }

    #[inline(always)]
    unsafe fn load_i8(self, from: *const i8) -> Self::Vector {
        // SAFETY: `S::WIDTH + LANES` integers are readable at `from`, as the caller guarantees: those of
        // the first vector, then those of the narrow one.
        unsafe { (self.0.load_i8(from), self.narrow().load_i8(from.add(S::WIDTH))) }
    }

    #[inline(always)]
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        both!(self.add(a, b))
    }

    #[inline(always)]
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        both!(self.sub(a, b))
    }

    #[inline(always)]
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        both!(self.mul(a, b))
    }

    #[inline(always)]
    fn div(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        both!(self.div(a, b))
    }

    #[inline(always)]
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
        both!(self.mul_add(a, b, c))
    }

    #[inline(always)]
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        both!(self.max(a, b))
    }

    #[inline(always)]
    fn at_least(self, x: Self::Vector, low: Self::Vector) -> Self::Vector {
        both!(self.at_least(x, low))
    }

    #[inline(always)]
    fn at_most(self, x: Self::Vector, high: Self::Vector) -> Self::Vector {
        both!(self.at_most(x, high))
    }

    #[inline(always)]
    fn round(self, x: Self::Vector) -> Self::Vector {
        both!(self.round(x))
    }

    #[inline(always)]
    fn scale(self, x: Self::Vector, n: Self::Vector) -> Self::Vector {
        both!(self.scale(x, n))
    }

    #[inline(always)]
    fn permute(self, x: Self::Vector, from: &[u32; LANES]) -> Self::Vector {
        (self.0.permute(x.0, from), self.narrow().permute(x.1, from))
    }

    #[inline(always)]
    fn sum(self, x: Self::Vector) -> f32 {
        self.0.sum(x.0) + self.narrow().sum(x.1)
    }
}
