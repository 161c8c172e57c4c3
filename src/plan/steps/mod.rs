//! What the steps of a plan compute: one kind of primitive per file.
//!
//! A primitive checks the shapes of its inputs, cuts its output into blocks, and has the workers
//! call a function of [`kernels`](crate::kernels) for each block. A [`TensorOperation`] is not
//! a primitive: it computes tensors from tensors.

mod arguments;
mod attention;
mod channels;
mod coefficients;
mod conv;
mod depthwise;
mod dynamic_conv;
mod epilogue;
mod expand;
mod gates;
mod grouped;
mod heads;
mod interleave;
mod interpolate;
mod layer_norm;
mod lines;
mod local_response;
mod normalisation;
mod pixels;
mod plane;
mod pool;
mod primitive;
mod product;
mod rows;
mod sample;
mod shift_max;
mod tensors;
mod transform;
mod window;
mod winograd;

pub use arguments::{Arguments, FEW_INPUTS, Inputs, LOGITS, MOST_INPUTS, MOST_OUTPUTS, SUMS};
pub use attention::AttentionPrimitive;
pub use channels::ChannelsPrimitive;
pub use coefficients::CoefficientsPrimitive;
pub use conv::ConvPrimitive;
pub use depthwise::DepthwisePrimitive;
pub use dynamic_conv::{DynamicConvPrimitive, PackPrimitive};
pub use epilogue::StepEpilogue;
pub use expand::ExpandPrimitive;
pub use gates::GatePrimitive;
pub use grouped::GroupedPrimitive;
pub use heads::{HeadsPrimitive, ScoreBias};
pub use interleave::InterleavePrimitive;
pub use interpolate::{InterpolatePrimitive, Positions};
pub use layer_norm::LayerNormPrimitive;
pub use lines::LinesPrimitive;
pub use local_response::LocalResponsePrimitive;
pub use normalisation::GroupCoefficientsPrimitive;
pub use pixels::PixelsPrimitive;
pub use plane::PlanePrimitive;
pub use pool::{GlobalAveragePrimitive, GlobalNormPrimitive, PoolPrimitive};
pub use primitive::Primitive;
pub use product::MatrixProduct;
pub use rows::RowsPrimitive;
pub use sample::{SamplePrimitive, Sampling};
pub use shift_max::ShiftMaxPrimitive;
pub use tensors::{
    Arithmetic, Elementwise, Movement, Normalisation, PerPlane, Reduction, TensorInputs,
    TensorOperation, View,
};
pub use transform::TransformPrimitive;
pub use window::WindowShape;
pub use winograd::WinogradPrimitive;
