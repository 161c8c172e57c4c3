//! Compiles the graph of a network to a plan.
//!
//! `pipeline` lists all passes in order. The passes in `rewrite` replace parts of the graph by equal
//! ones that are simpler or faster. Those in `recognise` find dynamic activations. `lower` chooses
//! kernels and builds the plan, whose weights `pack` packs. `tuning` has the thresholds. `eight_bits`
//! rounds the weights of a graph that is to be stored.

mod eight_bits;
mod lower;
mod options;
mod pack;
mod pipeline;
mod recognise;
mod report;
mod rewrite;
mod static_activations;
#[cfg(test)]
mod tests;
mod tuning;

pub use eight_bits::weights_in_eight_bits;
pub use options::Options;
pub use pipeline::{Compiled, compile, optimise, prepare};
pub use recognise::Unrecognised;
pub use report::{DynamicActivation, Report};
pub use rewrite::FixedBatch;
pub use static_activations::StaticActivation;
