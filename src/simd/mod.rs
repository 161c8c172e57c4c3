//! Vectors of f32, one trait over the instruction sets.
//!
//! A kernel is written once, generic over [`Simd`], as an implementation of [`Vectorised`];
//! [`Isa::run`] compiles it for the instruction set that was chosen. Maps and packed weights come in
//! units of eight lanes everywhere. AVX-512 has sixteen: kernels that spend their time in
//! arithmetic count with [`Simd::WIDTH`] and take what is left over with [`Simd::narrow`]; the
//! others are run by [`Isa::run_narrow`]. No lane depends on another, so that results are the same either way.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod math;
#[cfg(target_arch = "aarch64")]
mod neon;
mod peak;
mod portable;
mod wider;

use std::sync::LazyLock;

use half::f16;

pub use math::{exp, sigmoid, tanh};
pub use peak::peak;
pub use wider::Wider;

/// The number of f32 in a narrow vector: channels are padded to a multiple of it.
pub const LANES: usize = 8;

/// `channels` rounded up to whole vectors.
pub const fn padded(channels: usize) -> usize {
    channels.next_multiple_of(LANES)
}

/// Operations on vectors of [`WIDTH`](Self::WIDTH) f32. Values of a type that implements this are proof that the
/// processor has the instructions.
///
/// Every method has to be inlined into a function that is compiled for the instruction set, which
/// [`Isa::run`] sees to.
pub trait Simd: Copy + Send + Sync {
    /// The number of f32 in a vector: a multiple of [`LANES`].
    const WIDTH: usize;
    /// Rows of a register tile of a matrix product that is two vectors wide.
    const TILE_ROWS: usize;
    /// The most pixels of a register tile of a depthwise convolution: 7, with which five weights
    /// and one element fill 16 registers, and of which the maps of networks for 224x224 pixels are
    /// multiples; or 4, where there are fewer registers.
    const TILE_PIXELS: usize = 7;
    /// `WIDTH` f32.
    type Vector: Copy;
    /// The same instructions on vectors of [`LANES`].
    type Narrow: Simd<Narrow = Self::Narrow>;

    /// Proof of the same instructions, for vectors of [`LANES`].
    fn narrow(self) -> Self::Narrow;

    /// Calls `f` as a function of its own that is compiled for this instruction set.
    ///
    /// It is never inlined into the caller: a kernel that consists of several such functions
    /// compiles much faster than one that the compiler has to optimise as a whole.
    fn vectorise<R>(self, f: impl FnOnce() -> R) -> R;

    /// `x` in every lane.
    fn splat(self, x: f32) -> Self::Vector;
    /// The f32 at `from`.
    ///
    /// # Safety
    /// They must be readable. No alignment is asked for.
    unsafe fn load(self, from: *const f32) -> Self::Vector;
    /// Writes the f32 at `to`.
    ///
    /// # Safety
    /// They must be writable. No alignment is asked for.
    unsafe fn store(self, to: *mut f32, x: Self::Vector);
    /// Asks for the cache line at `from`, which need not be readable.
    fn prefetch(self, _from: *const f32) {}
    /// The half-precision numbers at `from`, widened.
    ///
    /// # Safety
    /// They must be readable. No alignment is asked for.
    unsafe fn load_f16(self, from: *const f16) -> Self::Vector;
    /// `a + b`
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a - b`
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a * b`
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a / b`
    fn div(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a * b + c`, rounded once where the instruction set can.
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// The larger of two, NaN where either is.
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `x`, but at least `low`, which is not NaN; NaN where `x` is.
    fn at_least(self, x: Self::Vector, low: Self::Vector) -> Self::Vector;
    /// `x`, but at most `high`, which is not NaN; NaN where `x` is.
    fn at_most(self, x: Self::Vector, high: Self::Vector) -> Self::Vector;
    /// The nearest integer, ties to even.
    fn round(self, x: Self::Vector) -> Self::Vector;
    /// `2^n` for integers `n` from -126 to 127.
    fn power_of_two(self, n: Self::Vector) -> Self::Vector;
    /// The sum of all lanes, in one order on every instruction set:
    /// `((0+4)+(2+6)) + ((1+5)+(3+7))`, to which the upper eight of sixteen were added first.
    fn sum(self, x: Self::Vector) -> f32;
    /// Transposes a tile of [`LANES`] rows of as many numbers. Rows are `from_row` and `to_row`
    /// numbers apart.
    ///
    /// # Safety
    /// The rows at `from` must be readable, those at `to` writable, and not overlap. No alignment is
    /// asked for at `from`.
    #[inline(always)]
    unsafe fn transpose(self, from: *const f32, from_row: usize, to: *mut f32, to_row: usize) {
        for i in 0..LANES {
            for j in 0..LANES {
                // SAFETY: the caller's.
                unsafe { *to.add(j * to_row + i) = from.add(i * from_row + j).read_unaligned() };
            }
        }
    }
}

/// A computation that is written once for every instruction set.
pub trait Vectorised {
    /// What it gives.
    type Output;
    /// Computes. Has to be `#[inline(always)]`, so that it is compiled for the instruction set of
    /// the function that it is inlined into.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// An instruction set that kernels can be run with. Values exist only for those that this
/// processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Level);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
    #[cfg(target_arch = "aarch64")]
    Neon(neon::Neon),
    Portable,
}

impl Isa {
    /// The instruction sets of this processor, fastest first.
    pub fn available() -> Vec<Isa> {
        let levels = [
            #[cfg(target_arch = "x86_64")]
            avx512::Avx512::detect().map(Level::Avx512),
            #[cfg(target_arch = "x86_64")]
            avx2::Avx2::detect().map(Level::Avx2),
            #[cfg(target_arch = "aarch64")]
            neon::Neon::detect().map(Level::Neon),
            Some(Level::Portable),
        ];
        levels.into_iter().flatten().map(Isa).collect()
    }

    /// The instruction set in use: what the environment variable `DYRELU_ISA` names where this
    /// processor has it, else the fastest. Looked up once a process.
    pub fn get() -> Isa {
        static CHOSEN: LazyLock<Isa> = LazyLock::new(|| {
            let wanted = std::env::var("DYRELU_ISA").unwrap_or_default();
            let available = Isa::available();
            available.iter().find(|isa| isa.name() == wanted).copied().unwrap_or(available[0])
        });
        *CHOSEN
    }

    /// Its name: `avx512` (AVX-512F, DQ and VL), `avx2` (AVX2, FMA and F16C), `neon` or `portable`.
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(_) => "avx2",
            #[cfg(target_arch = "aarch64")]
            Level::Neon(_) => "neon",
            Level::Portable => "portable",
        }
    }

    /// Runs `computation` with these instructions on vectors of [`LANES`]: with those of AVX2 where
    /// the processor has AVX-512.
    pub fn run_narrow<C: Vectorised>(self, computation: C) -> C::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(simd) => run_with(simd.narrow(), computation),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(simd) => run_with(simd, computation),
            #[cfg(target_arch = "aarch64")]
            Level::Neon(simd) => run_with(simd, computation),
            Level::Portable => run_with(portable::Portable, computation),
        }
    }

    /// Runs `computation` with these instructions.
    pub fn run<C: Vectorised>(self, computation: C) -> C::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(simd) => run_with(simd, computation),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(simd) => run_with(simd, computation),
            #[cfg(target_arch = "aarch64")]
            Level::Neon(simd) => run_with(simd, computation),
            Level::Portable => run_with(portable::Portable, computation),
        }
    }
}

fn run_with<S: Simd, C: Vectorised>(simd: S, computation: C) -> C::Output {
    simd.vectorise(
        #[inline(always)]
        || computation.run(simd),
    )
}

/// What `DYRELU_ISA` asks for that this processor does not have.
pub fn unavailable_choice() -> Option<String> {
    let wanted = std::env::var("DYRELU_ISA").ok().filter(|w| !w.is_empty())?;
    Isa::available().iter().all(|isa| isa.name() != wanted).then_some(wanted)
}

#[cfg(test)]
mod tests;
