//! The steps that kernels compute: how each checks its shapes and cuts its work into blocks.

mod conv;
mod dynamic;
mod epilogue;
mod expand;
mod io;
mod kernel;
mod pool;
mod transform;
mod window;
mod winograd;

pub use conv::{ConvStep, DepthwiseStep};
pub use dynamic::{AttentionStep, CoefficientsStep};
pub use epilogue::Fused;
pub use expand::ExpandStep;
pub use io::{Io, MOST_INPUTS, MOST_OUTPUTS};
pub use kernel::Kernel;
pub use pool::{GlobalAverageStep, PoolStep};
pub use transform::TransformStep;
pub use window::WindowShape;
pub use winograd::WinogradStep;
