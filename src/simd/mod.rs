//! The instruction set that kernels run on.

/// The name of the instruction set that kernels use on this machine.
pub fn isa() -> &'static str {
    "portable"
}
