//! Shape inference: the type of every value, with free sizes as polynomials over symbols, and the
//! elements of small integer tensors from which shapes are computed.
//!
//! A symbol stands for a size of at least 1. A size that depends on data gets a symbol of its own
//! (`?1`, `?2` and so on), which may stand for 0. If the number of axes depends on data, the type
//! of the value is unknown, as are the types that depend on it; that is no error.

mod contents;
mod context;
mod create;
mod dynamic;
mod elementwise;
mod fresh;
mod indexing;
mod inference;
mod normalisation;
mod pieces;
mod products;
mod reduce;
mod resample;
mod rules;
mod sizes;
#[cfg(test)]
mod tests;
mod types;
mod views;
mod windows;

pub(crate) use inference::Inference;
pub use inference::infer;
pub(crate) use sizes::may_equal;
pub use types::Types;
