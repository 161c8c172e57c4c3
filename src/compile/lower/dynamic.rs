//! Chooses the kernels of convolutions with weights per image.

use super::choose;
use super::network::Network;
use crate::compile::pack::{Form, Layer};
use crate::graph::{DynamicConv, Gemm, Node, NodeId, Op, ValueId, geometry};
use crate::kernels::dynamic_conv::Kernel;
use crate::plan::WindowShape;
use crate::simd::padded;
use crate::tensor::DType;

/// A convolution with weights per image. Its kernel applies an epilogue.
pub(super) struct Dynamic<'g> {
    pub kernel: Kernel,
    pub window: WindowShape,
    /// `[padded outputs]`
    pub bias: Vec<f32>,
    /// `[N, outputs]`, in place of `bias`.
    pub image_bias: Option<ValueId>,
    pub weights: ImageWeights<'g>,
}

/// Where the weights of an image come from.
pub(super) enum ImageWeights<'g> {
    /// The matrix `[N, weights]`, to be packed in each run.
    Computed(ValueId),
    /// A mixture of experts that are packed by themselves.
    Mixture {
        /// The node that mixes.
        node: NodeId,
        /// The experts.
        layer: Layer<'g>,
        /// The shares of the experts, `[N, experts]`.
        shares: ValueId,
    },
}

/// Returns the convolution with weights per image that `node` is, if there is a kernel for it.
pub(super) fn dynamic<'g>(net: &Network<'g>, node: &'g Node) -> Option<Dynamic<'g>> {
    let Op::DynamicConv(op) = &node.op else { return None };
    let (x, weights) = (node.input(0)?, node.input(1)?);
    if !net.maps.is_nchw(x) || !net.maps.is_nchw(node.output()) || net.graph.constant(x).is_some() {
        return None;
    }
    let kernel = kernel(op, net.maps.channels(x)?)?;
    if net.maps.channels(weights)? != kernel.weights() || net.graph.constant(weights).is_some() {
        return None;
    }
    let mut bias = vec![0.0; padded(op.outputs)];
    let is_constant = |value: &ValueId| net.graph.constant(*value).is_some();
    let image_bias = node.input(2).filter(|value| !is_constant(value));
    let is_row = |bias| {
        let is_matrix = net.maps.dims(bias).is_some_and(|dims| dims.len() == 2);
        is_matrix && net.maps.channels(bias) == Some(op.outputs)
    };
    if !image_bias.is_none_or(is_row) {
        return None;
    }
    if let Some(value) = node.input(2).filter(is_constant) {
        let constant =
            net.graph.constant(value).filter(|b| geometry::is_row(b.shape()))?.as_f32().ok()?;
        bias.get_mut(..op.outputs)?.copy_from_slice(constant.get(..op.outputs)?);
    }
    let mixed = mixture(net, weights, node.output(), kernel);
    let weights = mixed.unwrap_or(ImageWeights::Computed(weights));
    let window = choose::window(&op.conv, op.kernel);
    Some(Dynamic { kernel, window, bias, image_bias, weights })
}

fn kernel(op: &DynamicConv, channels: usize) -> Option<Kernel> {
    let (outputs, groups) = (op.outputs, op.conv.groups);
    let taps = op.kernel[0].checked_mul(op.kernel[1]).filter(|&taps| taps > 0)?;
    if outputs == 0 || channels == 0 {
        return None;
    }
    match groups {
        1 => Some(Kernel::Dense { outputs, channels, taps }),
        _ if groups == channels && groups == outputs => Some(Kernel::Depthwise { channels, taps }),
        _ => None,
    }
}

/// Returns `weights` as a mixture of experts, if that is what they are and nothing else reads them.
fn mixture<'g>(
    net: &Network<'g>,
    weights: ValueId,
    value: ValueId,
    kernel: Kernel,
) -> Option<ImageWeights<'g>> {
    let id = net.links.producer(weights)?;
    net.links.only_reader(weights)?;
    let node = net.graph.node(id);
    let plain = Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false };
    let shares = node.input(0).filter(|_| node.op == Op::Gemm(plain) && node.input(2).is_none())?;
    let weight = net.graph.constant(node.input(1)?).filter(|w| w.dtype() == DType::F32)?;
    let &[experts, len] = weight.shape() else { return None };
    let fits = experts > 0 && len == kernel.weights();
    if !fits || net.maps.channels(shares) != Some(experts) || net.graph.constant(shares).is_some() {
        return None;
    }
    let form = Form::Mixture { kernel, experts };
    let layer = Layer { value, form, weight, bias: None };
    Some(ImageWeights::Mixture { node: id, layer, shares })
}

/// Returns whether `node` is a mixture of experts that the convolution reading it computes itself.
pub(super) fn is_mixture(net: &Network, node: &Node) -> bool {
    if !matches!(node.op, Op::Gemm(_)) {
        return false;
    }
    let reader = net.links.only_reader(node.output()).map(|id| net.graph.node(id));
    let dynamic = reader.and_then(|reader| dynamic(net, reader));
    dynamic.is_some_and(|dynamic| matches!(dynamic.weights, ImageWeights::Mixture { .. }))
}
