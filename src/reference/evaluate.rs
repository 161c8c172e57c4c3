//! One operator: from its attributes and inputs to the function that computes it.

use super::inputs::Inputs;
use super::{
    convolution, dynamic, elementwise, indexing, linear, movement, normalise, pool, reduce, resize,
    sampling,
};
use crate::error::{Error, Result};
use crate::graph::Op;
use crate::tensor::{DType, Tensor};

/// Applies one operator to `inputs`, of which an absent optional one is `None`, and returns its
/// first `outputs` outputs.
///
/// # Errors
/// [`Shape`](crate::ErrorKind::Shape) if the inputs do not fit the operator or each other,
/// [`Unsupported`](crate::ErrorKind::Unsupported) if the
/// operator is not implemented for their element type.
pub fn evaluate(op: &Op, inputs: &[Option<&Tensor>], outputs: usize) -> Result<Vec<Tensor>> {
    let inputs = Inputs(inputs);
    let x = inputs.optional(0);
    let first = || inputs.required(0);
    let second = || inputs.required(1);
    let output = match op {
        Op::Conv(conv) => convolution::conv(conv, first()?, second()?, inputs.optional(2)),
        Op::ConvTranspose(conv) => {
            convolution::conv_transpose(conv, first()?, second()?, inputs.optional(2))
        }
        Op::DeformConv(op) => sampling::deform_conv(op, &inputs),
        Op::DeformedWindows(op) => sampling::deformed_windows(op, &inputs),
        Op::GridSample(op) => sampling::grid_sample(op, first()?, second()?),
        Op::RoiAlign(op) => sampling::roi_align(op, &inputs),
        Op::Gemm(gemm) => linear::gemm(gemm, first()?, second()?, inputs.optional(2)),
        Op::MatMul => linear::matmul(first()?, second()?),
        Op::BatchNormalization { epsilon } => normalise::batch(&inputs, *epsilon),
        Op::InstanceNormalization { epsilon } => normalise::instance(&inputs, *epsilon),
        Op::GroupNormalization { num_groups, epsilon } => {
            normalise::groups(&inputs, Some(*num_groups), *epsilon)
        }
        Op::GroupCoefficients { num_groups, epsilon } => {
            normalise::coefficients(&inputs, *num_groups, *epsilon)
        }
        Op::Lrn(op) => normalise::local_response(op, first()?),
        Op::LayerNormalization { axis, epsilon } => normalise::layer(&inputs, *axis, *epsilon),
        Op::Softmax(softmax) => normalise::softmax(softmax, first()?, false),
        Op::LogSoftmax(softmax) => normalise::softmax(softmax, first()?, true),
        Op::Unary(unary) => elementwise::unary(*unary, first()?),
        Op::Clip => elementwise::clip(first()?, inputs.optional(1), inputs.optional(2)),
        Op::PRelu => elementwise::prelu(first()?, second()?),
        Op::Binary(binary) => elementwise::binary(*binary, first()?, second()?),
        Op::Variadic(variadic) => elementwise::variadic(*variadic, inputs.0),
        Op::Where => elementwise::select(first()?, second()?, inputs.required(2)?),
        Op::Cast { to } => first()?.cast(*to),
        Op::Pool(attributes) => return pool::pool(attributes, first()?),
        Op::GlobalPool(kind) => pool::global(*kind, first()?),
        Op::Reduce(reduce) => reduce::reduce(reduce, first()?, inputs.integers(1)?),
        Op::ArgMax(arg_max) => reduce::arg_max(arg_max, first()?),
        Op::CumSum(op) => indexing::cum_sum(op, first()?, second()?),
        Op::TopK(op) => return indexing::top_k(op, first()?, second()?),
        Op::NonZero => indexing::non_zero(first()?),
        Op::NonMaxSuppression(op) => indexing::non_max_suppression(op, &inputs),
        Op::Resize(resize) => resize::resize(resize, &inputs),
        Op::Hyperfunction(op) => dynamic::hyperfunction(op, &inputs),
        Op::DynamicConv(op) => {
            convolution::dynamic_conv(op, first()?, second()?, inputs.optional(2))
        }
        Op::MaxAffine(op) => dynamic::max_affine(op, &inputs),
        Op::ChannelActivation(op) => dynamic::channel_activation(*op, &inputs),
        Op::ShiftMax(op) => dynamic::shift_max(op, &inputs),
        Op::SpatialAttention(op) => dynamic::spatial_attention(op, first()?),
        Op::Split { axis } => {
            return movement::split(first()?, *axis, inputs.integers(1)?, outputs);
        }
        Op::Dropout => return dropout(&inputs, outputs),
        Op::Identity => first().cloned(),
        Op::Concat { axis } => movement::concat(inputs.0, *axis),
        Op::Slice => movement::slice(&inputs),
        Op::Gather { axis } => movement::gather(first()?, second()?, *axis),
        Op::GatherElements { axis } => indexing::gather_elements(first()?, second()?, *axis),
        Op::GatherNd { batch_dims } => indexing::gather_nd(first()?, second()?, *batch_dims),
        Op::ScatterElements { axis, reduction } => {
            indexing::scatter_elements(&inputs, *axis, *reduction)
        }
        Op::ScatterNd { reduction } => indexing::scatter_nd(&inputs, *reduction),
        Op::Reshape { allow_zero } => {
            movement::reshape(first()?, &second()?.to_i64s()?, *allow_zero)
        }
        Op::Flatten { axis } => movement::flatten(first()?, *axis),
        Op::Squeeze => movement::squeeze(first()?, inputs.integers(1)?),
        Op::Unsqueeze => movement::unsqueeze(first()?, &second()?.to_i64s()?),
        Op::Expand => movement::expand(first()?, &second()?.to_i64s()?),
        Op::Tile => movement::tile(first()?, &second()?.to_i64s()?),
        Op::Transpose { perm } => movement::transpose(first()?, perm),
        Op::Pad { mode } => movement::pad(&inputs, *mode),
        Op::DepthToSpace { block, order } => movement::depth_to_space(first()?, *block, *order),
        Op::Interleave(op) => movement::interleave(inputs.0, op),
        Op::ConstantOfShape { value } => movement::constant_of_shape(first()?, *value),
        Op::Range => movement::range(first()?, second()?, inputs.required(2)?),
        Op::Shape { start, end } => movement::shape_of(first()?, *start, *end),
        Op::Size => Ok(Tensor::scalar(x.map_or(0, |x| x.len() as i64))),
    };
    Ok(vec![output?])
}

/// Returns whether the ratio of a dropout, which is 0.5 by default, is 0.
fn drops_nothing(inputs: &Inputs) -> Result<bool> {
    let Some(ratio) = inputs.optional(1) else { return Ok(false) };
    Ok(ratio.cast(DType::F64)?.as_slice::<f64>()?.iter().all(|&ratio| ratio == 0.0))
}

fn dropout(inputs: &Inputs, outputs: usize) -> Result<Vec<Tensor>> {
    let x = inputs.required(0)?;
    if let Some(training) = inputs.optional(2)
        && training.to_bools()?.contains(&true)
        && !drops_nothing(inputs)?
    {
        return Err(Error::unsupported(
            "dropout in training mode; export the network for inference",
        ));
    }
    let mut results = vec![x.clone()];
    if outputs > 1 {
        results.push(Tensor::from_bools(x.shape(), std::iter::repeat_n(true, x.len()))?);
    }
    Ok(results)
}
