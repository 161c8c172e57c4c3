//! From a network as read to a network as run.
//!
//! [`pipeline`] has all passes in order. [`rewrite`] has those that make a graph an equal one that
//! says what it means, [`recognise`] those that find dynamic activations, [`lower`] what makes a
//! plan of it.

mod lower;
mod pipeline;
mod prepared;
mod recognise;
mod report;
mod rewrite;
mod static_activations;

pub use lower::lower;
pub use pipeline::{Options, optimise};
pub use prepared::{PREPARATION, Packs, Prepared, pack, prepare};
pub use recognise::Unrecognised;
pub use report::{DynamicActivation, Report};
pub use rewrite::{FixedBatch, free_batch};
pub use static_activations::StaticActivation;
