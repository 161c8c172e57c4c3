//! Tests on every instruction set, by name.

use std::io::Write;

use super::Isa;

/// Names instruction sets, separated by commas, on which tests must not be skipped.
const REQUIRED: &str = "DYRELU_REQUIRE_ISA";

fn required() -> Vec<String> {
    let names = std::env::var(REQUIRED).unwrap_or_default();
    names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_string).collect()
}

/// Runs `test` on the instruction set `name`, or reports that it is skipped.
///
/// # Panics
/// Panics if the processor does not have an instruction set that must not be skipped.
pub(crate) fn run_on(name: &str, test: impl FnOnce(Isa)) {
    match Isa::available().into_iter().find(|isa| isa.name() == name) {
        Some(isa) => test(isa),
        None => {
            let is_required = required().iter().any(|required| required == name);
            assert!(!is_required, "{REQUIRED} names {name}, which this processor does not have");
            // Written past the test harness, which would show it only if the test failed.
            let test = std::thread::current().name().unwrap_or_default().to_string();
            let _ = writeln!(std::io::stderr(), "skipped {test}: the processor has no {name}");
        }
    }
}

/// Defines a test per instruction set of the target, `portable`, `avx2` and so on, which calls each of
/// the given functions with that [`Isa`].
macro_rules! isa_tests {
    ($($test:path),+ $(,)?) => {
        $crate::simd::testing::isa_tests! { @named portable: $($test),+ }
        #[cfg(target_arch = "x86_64")]
        $crate::simd::testing::isa_tests! { @named avx2: $($test),+ }
        #[cfg(target_arch = "x86_64")]
        $crate::simd::testing::isa_tests! { @named avx512: $($test),+ }
        #[cfg(target_arch = "aarch64")]
        $crate::simd::testing::isa_tests! { @named neon: $($test),+ }
    };
    (@named $name:ident: $($test:path),+) => {
        #[test]
        fn $name() {
            $crate::simd::testing::run_on(stringify!($name), |isa| {
                $($test(isa);)+
            });
        }
    };
}
pub(crate) use isa_tests;

#[test]
fn required_instruction_sets_are_available() {
    let available: Vec<_> = Isa::available().into_iter().map(Isa::name).collect();
    for name in required() {
        let is_available = available.contains(&name.as_str());
        assert!(is_available, "{REQUIRED} names {name:?}, the processor has {available:?}");
    }
}
