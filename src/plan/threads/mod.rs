//! The threads of a run. They are met here and nowhere below.

mod crew;
mod share;
mod sync;
mod team;

pub use share::compute_blocks;
pub use team::Team;
