//! What the dynamic activations of a network do with photos, as figures and as a page of pictures.

mod chart;
mod explainer;
mod freeze;
mod page;
mod photos;
mod picture;
mod probe;
mod statistics;
mod tables;

pub use explainer::Explainer;
pub use statistics::{BINS, Figures, Histogram, Parameter, Summary};
