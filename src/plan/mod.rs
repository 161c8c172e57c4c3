//! What a plan is, and how its steps run.
//!
//! A plan is a network lowered to steps over slots. The values that kernels read and write are maps
//! in one arena, whose layout is [bound](Bound) once for the shapes of the inputs; the few values
//! that only the general operators know are tensors.

mod extent;
mod input;
mod memory;
#[allow(clippy::module_inception)] // The folder is about plans, the file says what one is.
mod plan;
mod run;
mod steps;
mod threads;
mod tuning;

pub use extent::{Extent, View};
pub use input::Input;
pub use memory::{Batching, Bound, State, planned_bytes};
pub use plan::{Home, Plan, Slot, SlotInfo, Step, StepTime, Work};
pub use run::Watch;
pub use steps::{
    AttentionStep, CoefficientsStep, ConvStep, DepthwiseStep, ExpandStep, Fused, GlobalAverageStep,
    Io, Kernel, MOST_INPUTS, MOST_OUTPUTS, PoolStep, TransformStep, WindowShape, WinogradStep,
};
pub use threads::Team;
