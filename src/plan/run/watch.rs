//! Who is told about the steps of a run.

use std::time::{Duration, Instant};

use crate::tensor::Tensor;

/// An observer of the steps of a run.
pub enum Watch<'a> {
    /// No observer.
    Nobody,
    /// Is called with the time of every step.
    Times(&'a mut dyn FnMut(StepTime)),
    /// Is called with the name and the tensor of every value that is not fused away.
    Values(&'a mut dyn FnMut(&str, &Tensor)),
}

/// When a step of a run began, and how long it took.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StepTime {
    /// The name of the network's node that the step was lowered from.
    pub name: String,
    /// The operators that the step computes, joined by `+`.
    pub op: String,
    /// What computes it, as `dyrelu inspect --plan` names it.
    pub kernel: &'static str,
    /// When it began.
    pub start: Instant,
    /// Wall time.
    pub duration: Duration,
    /// Multiply-adds, counted for the direct algorithm.
    pub macs: usize,
    /// Bytes of the packed weights.
    pub weight_bytes: usize,
}
