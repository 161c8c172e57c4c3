//! The memory of a run: where each map lies for inputs of given shapes.

mod arrange;
mod bound;
mod division;
mod state;

pub use bound::Bound;
pub use division::Batching;
pub(super) use division::MOST_SPLIT_INPUTS;
pub(super) use state::Memory;
pub use state::{State, planned_bytes};

/// What is said of sizes that no memory holds.
const NO_MEMORY: &str = "the network needs too much memory for such inputs";
