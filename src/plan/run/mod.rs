//! Running a plan.

mod batch;
mod executor;

pub use executor::Watch;
