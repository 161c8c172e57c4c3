//! From an operator to the rule that infers the types of its outputs.

use super::context::{Answer, Context};
use super::{
    create, dynamic, elementwise, indexing, normalisation, pieces, products, reduce, resample,
    views, windows,
};
use crate::graph::{Op, TensorType};
use crate::tensor::DType;

/// Returns the types of the outputs of a node.
pub(super) fn types(cx: &Context) -> Answer<Vec<TensorType>> {
    let ty = match &cx.node.op {
        Op::Conv(conv) => windows::conv(cx, conv),
        Op::ConvTranspose(conv) => windows::conv_transpose(cx, conv),
        Op::DeformConv(conv) => windows::deform_conv(cx, conv),
        Op::DeformedWindows(op) => windows::deformed_windows(cx, op),
        Op::Pool(pool) => {
            let values = windows::pool(cx, pool)?;
            let positions = TensorType { dtype: DType::I64, dims: values.dims.clone() };
            return Ok(vec![values, positions]);
        }
        Op::GlobalPool(_) => windows::global_pool(cx),
        Op::Gemm(gemm) => products::gemm(cx, gemm),
        Op::MatMul => products::matmul(cx),
        Op::BatchNormalization { .. } => normalisation::batch(cx),
        Op::InstanceNormalization { .. } => normalisation::instance(cx),
        Op::LayerNormalization { axis, .. } => normalisation::layer(cx, *axis),
        Op::Lrn(lrn) => normalisation::local_response(cx, lrn),
        Op::GroupNormalization { num_groups, .. } => normalisation::group(cx, *num_groups),
        Op::Softmax(softmax) | Op::LogSoftmax(softmax) => normalisation::softmax(cx, softmax),
        Op::Unary(unary) => elementwise::unary(cx, *unary),
        Op::Clip => elementwise::clip(cx),
        Op::PRelu => elementwise::prelu(cx),
        Op::Binary(binary) => elementwise::binary(cx, *binary),
        Op::Variadic(_) => elementwise::variadic(cx),
        Op::Where => elementwise::select(cx),
        Op::Cast { to } => elementwise::cast(cx, *to),
        Op::Reduce(reduce) => reduce::reduce(cx, reduce),
        Op::ArgMax(arg_max) => reduce::arg_max(cx, arg_max),
        Op::TopK(top_k) => return indexing::top_k(cx, top_k),
        Op::CumSum(_) => indexing::cum_sum(cx),
        Op::GatherElements { axis } => indexing::gather_elements(cx, *axis),
        Op::GatherNd { batch_dims } => indexing::gather_nd(cx, *batch_dims),
        Op::ScatterElements { axis, .. } => indexing::scatter_elements(cx, *axis),
        Op::ScatterNd { .. } => indexing::scatter_nd(cx),
        Op::NonZero => indexing::non_zero(cx),
        Op::NonMaxSuppression(_) => indexing::non_max_suppression(cx),
        Op::Concat { axis } => pieces::concat(cx, *axis),
        Op::Split { axis } => return pieces::split(cx, *axis),
        Op::Slice => pieces::slice(cx),
        Op::Gather { axis } => pieces::gather(cx, *axis),
        Op::Reshape { allow_zero } => views::reshape(cx, *allow_zero),
        Op::Flatten { axis } => views::flatten(cx, *axis),
        Op::Squeeze => views::squeeze(cx),
        Op::Unsqueeze => views::unsqueeze(cx),
        Op::Transpose { perm } => views::transpose(cx, perm),
        Op::DepthToSpace { block, .. } => views::depth_to_space(cx, *block),
        Op::Interleave(interleave) => resample::interleave(cx, interleave),
        Op::Expand => resample::expand(cx),
        Op::Tile => resample::tile(cx),
        Op::Resize(resize) => resample::resize(cx, resize),
        Op::GridSample(_) => resample::grid_sample(cx),
        Op::RoiAlign(op) => resample::roi_align(cx, op),
        Op::Pad { .. } => resample::pad(cx),
        Op::Identity => cx.ty(0).cloned(),
        Op::Dropout => {
            let x = cx.ty(0)?;
            let mask = TensorType { dtype: DType::Bool, dims: x.dims.clone() };
            return Ok(vec![x.clone(), mask]);
        }
        Op::ConstantOfShape { value } => create::constant_of_shape(cx, value.dtype),
        Op::Range => create::range(cx),
        Op::Shape { start, end } => create::shape(cx, *start, *end),
        Op::Size => Ok(TensorType { dtype: DType::I64, dims: vec![] }),
        Op::Hyperfunction(hyperfunction) => dynamic::hyperfunction(cx, hyperfunction),
        Op::DynamicConv(conv) => windows::dynamic_conv(cx, conv),
        Op::MaxAffine(max_affine) => dynamic::max_affine(cx, max_affine),
        Op::ChannelActivation(activation) => dynamic::per_channel(cx, activation.rows().into()),
        Op::ShiftMax(shift_max) => dynamic::shift_max(cx, shift_max),
        Op::GroupCoefficients { num_groups, .. } => normalisation::coefficients(cx, *num_groups),
        Op::SpatialAttention(_) => dynamic::spatial_attention(cx),
    };
    Ok(vec![ty?])
}
