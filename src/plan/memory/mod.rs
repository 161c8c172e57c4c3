//! The memory of a run.
//!
//! `arrange` finds places for maps that live at different times, `placement` sizes the maps of some
//! steps and places them, `schedule` divides a batch into the steps that run image by image and the
//! others, `buffers` allocates what a placement asks for.

mod arrange;
mod buffers;
mod placement;
mod schedule;

pub(super) use buffers::{Buffers, Converted};
pub use placement::Placement;
pub use schedule::planned_bytes;
pub(super) use schedule::{Batching, MOST_BATCHED_INPUTS, Schedule};
