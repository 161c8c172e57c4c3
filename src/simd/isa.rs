//! Which instruction sets the processor has, and running computations with one of them.

use std::sync::LazyLock;

use super::arch;
use super::vector::{Simd, Vectorised};

/// An instruction set. Values exist only for those that this processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Level);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    #[cfg(target_arch = "x86_64")]
    Avx512(arch::Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(arch::Avx2),
    #[cfg(target_arch = "aarch64")]
    Neon(arch::Neon),
    Portable,
}

impl Isa {
    /// Returns the instruction sets of this processor, fastest first.
    pub fn available() -> Vec<Isa> {
        let levels = [
            #[cfg(target_arch = "x86_64")]
            arch::Avx512::detect().map(Level::Avx512),
            #[cfg(target_arch = "x86_64")]
            arch::Avx2::detect().map(Level::Avx2),
            #[cfg(target_arch = "aarch64")]
            arch::Neon::detect().map(Level::Neon),
            Some(Level::Portable),
        ];
        levels.into_iter().flatten().map(Isa).collect()
    }

    /// Returns the instruction set that the environment variable `DYRELU_ISA` names, or the fastest one
    /// if this processor does not have that. The variable is read once per process.
    pub fn get() -> Isa {
        static CHOSEN: LazyLock<Isa> = LazyLock::new(|| {
            let wanted = std::env::var("DYRELU_ISA").unwrap_or_default();
            let available = Isa::available();
            available.iter().find(|isa| isa.name() == wanted).copied().unwrap_or(available[0])
        });
        *CHOSEN
    }

    /// Returns the name: `avx512` (AVX-512F, DQ and VL), `avx2` (AVX2, FMA and F16C), `neon` or `portable`.
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

    /// Runs `computation` on vectors of [`LANES`](super::LANES). With AVX-512, these are the vectors of
    /// AVX2.
    pub fn run_narrow<C: Vectorised>(self, computation: C) -> C::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(simd) => run_with(simd.narrow(), computation),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(simd) => run_with(simd, computation),
            #[cfg(target_arch = "aarch64")]
            Level::Neon(simd) => run_with(simd, computation),
            Level::Portable => run_with(arch::Portable, computation),
        }
    }

    /// Runs `computation` on the vectors of this instruction set.
    pub fn run<C: Vectorised>(self, computation: C) -> C::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(simd) => run_with(simd, computation),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(simd) => run_with(simd, computation),
            #[cfg(target_arch = "aarch64")]
            Level::Neon(simd) => run_with(simd, computation),
            Level::Portable => run_with(arch::Portable, computation),
        }
    }
}

fn run_with<S: Simd, C: Vectorised>(simd: S, computation: C) -> C::Output {
    simd.vectorise(
        #[inline(always)]
        || computation.run(simd),
    )
}

/// Returns the value of `DYRELU_ISA` if this processor has no such instruction set.
pub fn unavailable_choice() -> Option<String> {
    let wanted = std::env::var("DYRELU_ISA").ok().filter(|w| !w.is_empty())?;
    Isa::available().iter().all(|isa| isa.name() != wanted).then_some(wanted)
}
