//! Detection and compilation of an instruction set, from one list of features.

/// Defines `has_features` and `call_with_features` from one list, so that the features that are
/// detected are those that code is compiled for. `$is_detected` is the standard library's macro.
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
pub(super) use features;
