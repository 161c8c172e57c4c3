//! How a command ended.

/// The outcome of a command that did not end with an error. It decides the exit code.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Exit code 0.
    Success,
    /// Exit code 1: part of the work failed.
    Partial,
    /// Exit code 128 + the number of the signal that stopped the work.
    Stopped(u8),
}
