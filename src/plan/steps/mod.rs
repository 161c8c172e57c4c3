//! What the steps of a plan compute: one kind of primitive per file.
//!
//! A primitive checks the shapes of its inputs, cuts its output into blocks, and has the workers
//! call a function of [`kernels`](crate::kernels) for each block. A [`MatrixProduct`] is not a
//! primitive: it computes a tensor from tensors.

mod arguments;
mod attention;
mod channels;
mod coefficients;
mod conv;
mod depthwise;
mod epilogue;
mod expand;
mod grouped;
mod interleave;
mod normalisation;
mod pool;
mod primitive;
mod product;
mod sample;
mod transform;
mod window;
mod winograd;

pub use arguments::{Arguments, Inputs, MOST_INPUTS, MOST_OUTPUTS};
pub use attention::AttentionPrimitive;
pub use channels::ChannelsPrimitive;
pub use coefficients::CoefficientsPrimitive;
pub use conv::ConvPrimitive;
pub use depthwise::DepthwisePrimitive;
pub use epilogue::StepEpilogue;
pub use expand::ExpandPrimitive;
pub use grouped::GroupedPrimitive;
pub use interleave::InterleavePrimitive;
pub use normalisation::GroupCoefficientsPrimitive;
pub use pool::{GlobalAveragePrimitive, PoolPrimitive};
pub use primitive::Primitive;
pub use product::MatrixProduct;
pub use sample::{SamplePrimitive, Sampling};
pub use transform::TransformPrimitive;
pub use window::WindowShape;
pub use winograd::WinogradPrimitive;
