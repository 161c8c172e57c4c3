//! From a network as read to a network as run.
//!
//! `pipeline` has all passes in order. `rewrite` has those that make a graph an equal one that
//! says what it means, `recognise` those that find dynamic activations, `lower` what makes a
//! plan of it, with the weights that `pack` packs. `tuning` has the thresholds.

mod lower;
mod pack;
mod pipeline;
mod recognise;
mod report;
mod rewrite;
mod static_activations;
#[cfg(test)]
mod tests;
mod tuning;

pub use pipeline::{Compiled, Options, compile, optimise, prepare};
pub use recognise::Unrecognised;
pub use report::{DynamicActivation, Report};
pub use rewrite::FixedBatch;
pub use static_activations::StaticActivation;
