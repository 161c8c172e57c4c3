//! The instruction sets, one file each. A type per instruction set implements [`Simd`](super::Simd);
//! its values are made by detection alone, and so prove that the processor has the instructions.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(super) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(super) use avx512::Avx512;
#[cfg(target_arch = "aarch64")]
pub(super) use neon::Neon;
pub(super) use portable::Portable;

/// Defines `has_features` and `call_with_features` from one list, so that the features that are
/// detected are those that code is compiled for. `$is_detected` is the standard library's macro.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! features {
    ($is_detected:ident: $($feature:tt)+) => {
        /// Returns whether the processor has all features of this instruction set.
        fn has_features() -> bool {
            $(std::arch::$is_detected!($feature))&&+
        }

        /// Calls `f`, compiled for the features of this instruction set. Not inlined, so that `f`
        /// is optimised as a function of its own.
        $(#[target_feature(enable = $feature)])+
        #[inline(never)]
        fn call_with_features<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use features;
