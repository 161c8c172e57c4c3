//! What an instruction set can do with vectors of f32.

use half::f16;

/// The number of f32 in a narrow vector. Channels are padded to a multiple of it.
pub const LANES: usize = 8;

/// The most f32 in a vector of an instruction set.
pub const MOST_LANES: usize = 2 * LANES;

/// Returns `channels` rounded up to a multiple of [`LANES`].
pub const fn padded(channels: usize) -> usize {
    channels.next_multiple_of(LANES)
}

/// Implemented by the types of this room only. A value of a type that implements [`Simd`] proves that
/// the processor has the instructions, which no other code can establish.
#[allow(unnameable_types)] // Code outside of this room cannot name it, and so cannot implement it.
pub trait Sealed {}

/// Operations on vectors of [`WIDTH`](Self::WIDTH) f32. A value of a type that implements the trait
/// proves that the processor has the instructions.
///
/// Methods are inlined into their callers, so that a computation is fast only inside a function that is
/// compiled for the instruction set. [`Isa::run`](super::Isa::run) starts it in one.
pub trait Simd: Sealed + Copy + Send + Sync {
    /// The number of f32 in a vector: a multiple of [`LANES`].
    const WIDTH: usize;
    /// The rows of a register tile of a matrix product, which is two vectors wide.
    const TILE_ROWS: usize;
    /// The most pixels of a register tile of a depthwise convolution. With 7 pixels, five weights and
    /// one element, all of 16 registers are used, and the maps of networks for 224x224 pixels are
    /// multiples of 7 wide. Instruction sets with fewer registers have 4.
    const TILE_PIXELS: usize = 7;
    /// A vector of `WIDTH` f32.
    type Vector: Copy;
    /// The same instruction set on vectors of [`LANES`].
    type Narrow: Simd<Narrow = Self::Narrow>;

    /// Returns the same instruction set on vectors of [`LANES`].
    fn narrow(self) -> Self::Narrow;

    /// Calls `f` in a function that is compiled for this instruction set and not inlined into the
    /// caller.
    ///
    /// A kernel that consists of several such functions compiles much faster than one that the compiler
    /// optimises as a whole.
    fn vectorise<R>(self, f: impl FnOnce() -> R) -> R;

    /// Returns a vector with `x` in every lane.
    fn splat(self, x: f32) -> Self::Vector;
    /// Loads a vector.
    ///
    /// # Safety
    /// `WIDTH` f32 must be readable at `from`. No alignment is needed.
    unsafe fn load(self, from: *const f32) -> Self::Vector;
    /// Stores a vector.
    ///
    /// # Safety
    /// `WIDTH` f32 must be writable at `to`. No alignment is needed.
    unsafe fn store(self, to: *mut f32, x: Self::Vector);
    /// Prefetches the cache line at `from`, which may be any address.
    fn prefetch(self, _from: *const f32) {}
    /// Prefetches the cache line at `from` to the second cache only.
    #[inline(always)]
    fn prefetch_l2(self, _from: *const f32) {}
    /// Loads half-precision numbers and widens them.
    ///
    /// # Safety
    /// `WIDTH` halves must be readable at `from`. No alignment is needed.
    unsafe fn load_f16(self, from: *const f16) -> Self::Vector;
    /// Loads a vector of 16-bit integers and converts them to f32, which is exact.
    ///
    /// # Safety
    /// `WIDTH` integers must be readable at `from`. No alignment is needed.
    unsafe fn load_i16(self, from: *const i16) -> Self::Vector;
    /// Loads a vector of integers of eight bits and converts them to f32, which is exact.
    ///
    /// # Safety
    /// `WIDTH` integers must be readable at `from`. No alignment is needed.
    unsafe fn load_i8(self, from: *const i8) -> Self::Vector;
    /// Returns `a + b`.
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Returns `a - b`.
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Returns `a * b`.
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Returns `a / b`.
    fn div(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Returns `a * b + c`, rounded once if the instruction set has a fused multiply-add.
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// Returns the larger of two numbers, or NaN if either is NaN.
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Returns the larger of `x` and `low`, or NaN if `x` is NaN. `low` must not be NaN.
    fn at_least(self, x: Self::Vector, low: Self::Vector) -> Self::Vector;
    /// Returns the smaller of `x` and `high`, or NaN if `x` is NaN. `high` must not be NaN.
    fn at_most(self, x: Self::Vector, high: Self::Vector) -> Self::Vector;
    /// Returns the nearest integer; ties go to the even one.
    fn round(self, x: Self::Vector) -> Self::Vector;
    /// Returns `x * 2^n` for integers `n`, where `x` and the result are normal numbers. If `n` is NaN, the
    /// result is NaN where `x` is.
    fn scale(self, x: Self::Vector, n: Self::Vector) -> Self::Vector;
    /// Permutes the lanes of each [`LANES`] of a vector alike: lane `i` of the result is lane `from[i]`.
    /// Lanes for which that is not below [`LANES`] have unspecified values.
    fn permute(self, x: Self::Vector, from: &[u32; LANES]) -> Self::Vector;
    /// Returns the sum of all lanes, in the same order on every instruction set:
    /// `((0+4)+(2+6)) + ((1+5)+(3+7))`. Of sixteen lanes, the upper eight are first added to the lower
    /// eight.
    fn sum(self, x: Self::Vector) -> f32;
    /// Transposes a tile of [`LANES`] rows of [`LANES`] numbers. The distance between rows is `from_row`
    /// numbers in the source and `to_row` numbers in the result.
    ///
    /// # Safety
    /// The rows must be readable at `from` and writable at `to`, and must not overlap. `to` must be
    /// aligned for f32; `from` need not be.
    #[inline(always)]
    unsafe fn transpose(self, from: *const f32, from_row: usize, to: *mut f32, to_row: usize) {
        for i in 0..LANES {
            for j in 0..LANES {
                // SAFETY: number `j` of row `i` is readable, and number `i` of row `j` is writable,
                // as the caller guarantees for all rows.
                unsafe { *to.add(j * to_row + i) = from.add(i * from_row + j).read_unaligned() };
            }
        }
    }
}

/// A computation that is written once for all instruction sets.
pub trait Vectorised {
    /// The result.
    type Output;
    /// Computes with `simd`. Implementations are `#[inline(always)]`, so that they are compiled for the
    /// instruction set of the function that they are inlined into.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}
