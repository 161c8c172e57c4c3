//! Vectors of f32: one trait over the instruction sets.
//!
//! A kernel is written once, generic over [`Simd`], as an implementation of [`Vectorised`].
//! [`Isa::run`] runs it compiled for an instruction set. Feature maps and packed weights are padded to
//! multiples of eight lanes everywhere. AVX-512 has sixteen lanes: kernels that are bound by arithmetic
//! advance by [`Simd::WIDTH`] and compute the remainder with [`Simd::narrow`]; all others run through
//! [`Isa::run_narrow`], on vectors of eight. No lane depends on another, so both give the same results.
//!
//! | module | contents |
//! |---|---|
//! | `vector` | the trait, and what a vectorised computation is |
//! | `arch` | the instruction sets, one file each |
//! | `wider` | a vector and a narrow one as a single vector |
//! | `isa` | which instruction sets the processor has, and running with one |
//! | `math` | exponential and sigmoid functions of vectors |
//! | `peak` | the rate of multiply-adds that a processor reaches |
#![allow(unsafe_code)]

mod arch;
mod isa;
mod math;
mod peak;
mod vector;
mod wider;

pub use isa::{Isa, unavailable_choice};
pub use math::{erf, exp, sigmoid, tanh, times_sigmoid};
pub use peak::peak;
use vector::Sealed;
pub use vector::{LANES, MOST_LANES, Simd, Vectorised, padded};
pub use wider::Wider;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
