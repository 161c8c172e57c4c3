//! Lowered networks, and how they run.
//!
//! A [`Plan`] is a list of [`Step`]s over numbered values, its slots. Most steps compute a
//! [`Primitive`]: an operation with its packed weights and its fused epilogue. Primitives read and
//! write *maps*: feature maps in one arena, NHWC, with the channels of a pixel padded to whole
//! vectors. In the graph a map is `[N,C,H,W]`, or has its channels last, as tokens `[N,L,C]` do.
//! Operators for which there is no primitive run on tensors, by a [`TensorOperation`] if their
//! elements are f32, otherwise through the reference executor.
//!
//! A [`Placement`] says how large each map is and where it lies in the arena, for inputs of given
//! shapes. A [`Runner`] owns the threads and the arenas of one caller.
//!
//! | module | contents |
//! |---|---|
//! | `tuning` | the sizes of the pieces that work is cut into |
//! | `map`, `levels`, `input` | maps, and what a caller passes for an input |
//! | `threads` | the threads of a run |
//! | `steps` | the primitives, one kind per file |
//! | `plan` | plans |
//! | `memory` | the arena: what lies where, and what a batch needs |
//! | `run` | the runner |
//!
//! Each module imports only modules above it in this table.

mod input;
mod levels;
mod map;
mod memory;
#[allow(clippy::module_inception)] // The folder is about plans, the file defines one.
mod plan;
mod run;
mod steps;
mod threads;
mod tuning;

pub use input::Input;
pub use levels::Levels;
pub use map::{Extent, MapShape, MapView, default_layout};
pub use memory::{Placement, planned_bytes};
pub use plan::{Plan, Slot, SlotInfo, SlotKind, Step, StepKind};
pub use run::{CancelToken, Outputs, RunOptions, Runner, StepTime, Watch};
pub use steps::{
    Arguments, Arithmetic, AttentionPrimitive, ChannelsPrimitive, CoefficientsPrimitive,
    ConvPrimitive, DepthwisePrimitive, DynamicConvPrimitive, Elementwise, ExpandPrimitive,
    GatePrimitive, GlobalAveragePrimitive, GlobalNormPrimitive, GroupCoefficientsPrimitive,
    GroupedPrimitive, HeadsPrimitive, Inputs, InterleavePrimitive, InterpolatePrimitive, LOGITS,
    LayerNormPrimitive, LinesPrimitive, LocalResponsePrimitive, MOST_INPUTS, MatrixProduct,
    Movement, Normalisation, PackPrimitive, PerPlane, PixelsPrimitive, PlanePrimitive,
    PoolPrimitive, Positions, Primitive, Reduction, RowsPrimitive, SUMS, SamplePrimitive, Sampling,
    ScoreBias, ShiftMaxPrimitive, StepEpilogue, TensorInputs, TensorOperation, TransformPrimitive,
    View, WindowShape, WinogradPrimitive,
};
pub use threads::{Logits, MOST_THREADS, Team, Workers};
