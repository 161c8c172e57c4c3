//! The threads of a run. No room below this one starts threads or waits for them.
//!
//! `team` is where threads come from, `crew` the protocol by which they work on a step together,
//! `workers` how they divide the blocks of a map and the workspace.

mod crew;
mod sync;
mod team;
mod workers;

pub use team::{MOST_THREADS, Team};
pub use workers::{Logits, Workers};
