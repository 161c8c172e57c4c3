//! Running a plan.
//!
//! `runner` is what a session holds. It has `batch` run the first steps image by image and
//! `executor` run the others; `options` may end a run early, `outputs` reads the results, `watch` is who
//! is told about the steps, and `spans` tells the crate `tracing`.

mod batch;
mod executor;
mod options;
mod outputs;
mod runner;
mod spans;
mod watch;

pub use options::{CancelToken, RunOptions};
pub use outputs::Outputs;
pub use runner::Runner;
pub use watch::{StepTime, Watch};
