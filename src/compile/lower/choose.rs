//! Chooses the kernel of a node, before any weights are packed.

use std::borrow::Cow;

use super::network::Network;
use crate::compile::pack::{Form, Layer};
use crate::compile::tuning::{JOINED_STEP, WINOGRAD_CHANNELS, WINOGRAD_SIDE};
use crate::graph::geometry::is_row;
use crate::graph::predicates::all_ones;
use crate::graph::{
    Conv, Dim, HiddenActivation, Node, Op, Padding, Pool, PoolKind, ReduceKind, SpatialAttention,
    ValueId,
};
use crate::kernels::conv::gathers;
use crate::kernels::epilogue::Activation;
use crate::kernels::grouped::Groups;
use crate::kernels::pool::Pooling;
use crate::plan::{
    AttentionPrimitive, GlobalAveragePrimitive, GroupCoefficientsPrimitive, MatrixProduct,
    PoolPrimitive, Primitive, WindowShape,
};
use crate::tensor::{DType, Tensor};

/// A convolution or a fully connected layer. Its kernel applies an epilogue.
pub(super) struct Convolution<'g> {
    pub layer: Layer<'g>,
    pub window: WindowShape,
    /// Whether input and output have one pixel per image.
    pub vectors: bool,
}

impl Convolution<'_> {
    /// Whether the kernel can read an NCHW input of the network without conversion.
    pub fn reads_nchw(&self) -> bool {
        let gathers = matches!(self.layer.form, Form::Dense { channels, .. } if gathers(channels));
        gathers && !self.vectors
    }

    /// Whether the kernel can apply an epilogue to rows of its input as it reads them.
    pub fn takes_prologue(&self) -> bool {
        let Form::Dense { channels, .. } = self.layer.form else { return false };
        !self.vectors && !gathers(channels) && self.window.is_pointwise()
    }

    /// Whether one step can compute this convolution line by line, as input of `second`.
    pub fn can_expand(&self, second: &Self) -> bool {
        let (Form::Dense { .. }, Form::Depthwise { .. }) = (self.layer.form, second.layer.form)
        else {
            return false;
        };
        let mut steps = second.window.strides.iter().chain(&second.window.dilations);
        // The workspace for lines between the two is sized by the output, which is too small if the
        // window crops the input.
        let crops = match &second.window.padding {
            Padding::Explicit(pads) => pads.iter().any(|&pad| pad < 0),
            Padding::SameUpper | Padding::SameLower => false,
        };
        !self.vectors && !crops && steps.all(|&step| step <= JOINED_STEP)
    }
}

/// The layers of a hyperfunction. Without a first layer the second one reads the context.
pub(super) struct Hyper<'g> {
    pub first: Option<(Layer<'g>, Option<Activation>)>,
    pub second: Layer<'g>,
    pub context: ValueId,
    /// The number of inputs of the second layer.
    pub hidden: usize,
}

/// Returns the convolution or fully connected layer that `node` is, if there is a kernel for it.
pub(super) fn convolution<'g>(net: &Network<'g>, node: &'g Node) -> Option<Convolution<'g>> {
    if !matches!(node.op, Op::Conv(_) | Op::Gemm(_)) {
        return None;
    }
    let (graph, maps) = (net.graph, &net.maps);
    let (x, value) = (node.input(0)?, node.output());
    let is_map = maps.is_feature_map(x) && maps.is_feature_map(value);
    if !is_map || graph.constant(x).is_some() {
        return None;
    }
    // Only type and shape are looked at, since the weights may have been packed earlier.
    let weight = graph.constant(node.input(1)?);
    let weight = weight.filter(|w| w.dtype() == DType::F32 && !w.is_empty())?;
    let bias = match node.input(2) {
        Some(id) => Some(graph.constant(id).filter(|b| is_row(b.shape()))?.as_f32().ok()?),
        None => None,
    };
    let form = match (&node.op, weight.shape()) {
        (Op::Conv(conv), &[outputs, depth, height, width]) => {
            let (channels, taps) = (maps.channels(x)?, height * width);
            let suits_winograd = net.options.winograd
                && depth == channels
                && suits_winograd(net, node, conv, weight);
            if suits_winograd {
                Form::Winograd { outputs, channels }
            } else if conv.groups == 1 && depth == channels {
                Form::Dense { outputs, channels, taps, transposed: false }
            } else if conv.groups == channels && outputs == channels && depth == 1 {
                Form::Depthwise { channels, taps }
            } else if conv.groups > 1
                && depth.checked_mul(conv.groups) == Some(channels)
                && outputs.is_multiple_of(conv.groups)
                && taps > 0
            {
                let outputs = outputs / conv.groups;
                Form::Grouped(Groups { count: conv.groups, outputs, channels: depth, taps })
            } else {
                return None;
            }
        }
        (Op::Gemm(gemm), &[rows, columns]) => {
            let plain = !gemm.trans_a && gemm.alpha == 1.0 && gemm.beta == 1.0;
            let (outputs, channels) = if gemm.trans_b { (rows, columns) } else { (columns, rows) };
            let fits = plain && maps.dims(x)?.len() == 2 && maps.channels(x)? == channels;
            if !fits {
                return None;
            }
            Form::Dense { outputs, channels, taps: 1, transposed: !gemm.trans_b }
        }
        _ => return None,
    };
    let bias = match (bias, form) {
        // A fully connected layer may have one bias for all outputs.
        (Some(&[bias]), Form::Dense { outputs, .. }) if matches!(node.op, Op::Gemm(_)) => {
            Some(Cow::Owned(vec![bias; outputs]))
        }
        (Some(bias), _) => {
            let fits = bias.len() == outputs(form);
            Some(Cow::Borrowed(bias)).filter(|_| fits).map(Some)?
        }
        (None, _) => None,
    };
    let (window, vectors) = match &node.op {
        Op::Conv(conv) => {
            let window = window(conv, weight);
            let vectors = window.is_pointwise() && maps.is_vectors(x) && maps.is_vectors(value);
            (window, vectors)
        }
        _ => (WindowShape::pointwise(), true),
    };
    Some(Convolution { layer: Layer { value, form, weight, bias }, window, vectors })
}

fn outputs(form: Form) -> usize {
    match form {
        Form::Dense { outputs, .. } | Form::Winograd { outputs, .. } => outputs,
        Form::Hidden { outputs, .. } => outputs,
        Form::Grouped(groups) => groups.count * groups.outputs,
        Form::Depthwise { channels, .. } | Form::Coefficients { channels, .. } => channels,
    }
}

/// Returns the window of a convolution with `weight [outputs][depth][height][width]`.
fn window(conv: &Conv, weight: &Tensor) -> WindowShape {
    WindowShape {
        kernel: [weight.shape()[2], weight.shape()[3]],
        strides: conv.strides.clone(),
        dilations: conv.dilations.clone(),
        padding: conv.padding.clone(),
        ceil_mode: false,
    }
}

/// Whether Winograd's algorithm applies to a convolution and is expected to be faster.
fn suits_winograd(net: &Network, node: &Node, conv: &Conv, weight: &Tensor) -> bool {
    let maps = &net.maps;
    let plain = conv.groups == 1 && all_ones(&conv.strides) && all_ones(&conv.dilations);
    let wide =
        |value: Option<ValueId>| value.and_then(|v| maps.channels(v)) >= Some(WINOGRAD_CHANNELS);
    let large = |dim: &Dim| dim.as_size().is_none_or(|size| size >= WINOGRAD_SIDE);
    let dims = maps.dims(node.output()).unwrap_or_default();
    weight.shape()[2..] == [3, 3]
        && plain
        && wide(node.input(0))
        && wide(Some(node.output()))
        && dims.iter().skip(2).all(large)
}

/// Returns the hyperfunction that `node` is, if kernels can run it.
pub(super) fn hyperfunction<'g>(net: &Network<'g>, node: &'g Node) -> Option<Hyper<'g>> {
    let Op::Hyperfunction(op) = &node.op else { return None };
    let (graph, maps) = (net.graph, &net.maps);
    let (value, context) = (node.output(), node.input(0)?);
    let width = maps.channels(context).filter(|_| maps.is_vectors(context))?;
    if !maps.is_coefficients(value) {
        return None;
    }
    let layer = |w: usize, b: usize| {
        let weight = graph.constant(node.input(w)?).filter(|w| w.dtype() == DType::F32)?;
        let bias = match node.input(b) {
            Some(id) => Some(Cow::Borrowed(graph.constant(id)?.as_f32().ok()?)),
            None => None,
        };
        let &[outputs, depth] = weight.shape() else { return None };
        let fits = bias.as_ref().is_none_or(|b| b.len() == outputs) && outputs * depth > 0;
        fits.then_some((weight, bias, outputs, depth))
    };
    let first = match node.input(1) {
        None => None,
        Some(_) => {
            let (weight, bias, outputs, channels) = layer(1, 2).filter(|l| l.3 == width)?;
            let activation = match op.hidden {
                HiddenActivation::Relu => Some(Activation::Clamp { low: 0.0, high: f32::INFINITY }),
                HiddenActivation::Relu6 => Some(Activation::Clamp { low: 0.0, high: 6.0 }),
                HiddenActivation::HardSwish => Some(Activation::HardSwish),
                HiddenActivation::Swish => Some(Activation::Swish { alpha: 1.0 }),
                HiddenActivation::None => None,
                HiddenActivation::Gelu => return None,
            };
            let form = Form::Hidden { outputs, channels };
            Some((Layer { value, form, weight, bias }, activation, outputs))
        }
    };
    let hidden = first.as_ref().map_or(width, |(.., outputs)| *outputs);
    let (weight, bias, outputs, depth) = layer(3, 4)?;
    if depth != hidden || !outputs.is_multiple_of(2 * op.k) {
        return None;
    }
    let form = Form::Coefficients { op, channels: outputs / (2 * op.k), hidden };
    let second = Layer { value, form, weight, bias };
    let first = first.map(|(layer, activation, _)| (layer, activation));
    Some(Hyper { first, second, context, hidden })
}

/// Returns the pooling that `node` is, if the kernel can run it.
fn pool(net: &Network, node: &Node, op: &Pool) -> Option<PoolPrimitive> {
    let rank = |id: ValueId| net.maps.dims(id).map(<[_]>::len);
    let fits = rank(node.input(0)?) == Some(4) && rank(node.output()) == Some(4);
    let only_values = node.outputs.iter().skip(1).all(Option::is_none);
    let kind = match (op.kind, op.count_include_pad, op.ceil_mode) {
        (PoolKind::Max, ..) => Pooling::Max,
        (PoolKind::Average, false, _) => Pooling::Average,
        (PoolKind::Average, true, false) => Pooling::AverageWithBorder,
        (PoolKind::Average, true, true) => return None,
    };
    let window = WindowShape {
        kernel: op.kernel.as_slice().try_into().ok()?,
        strides: op.strides.clone(),
        dilations: op.dilations.clone(),
        padding: op.padding.clone(),
        ceil_mode: op.ceil_mode,
    };
    (fits && only_values).then_some(PoolPrimitive { kind, window })
}

/// Whether `node` computes the mean over height and width.
pub(super) fn is_global_average(net: &Network, node: &Node) -> bool {
    is_global(net, node, PoolKind::Average)
}

/// Whether `node` pools over height and width.
fn is_global(net: &Network, node: &Node, pool: PoolKind) -> bool {
    let rank = |x: ValueId| net.maps.dims(x).map(<[Dim]>::len);
    let Some(x) = node.input(0).filter(|&x| rank(x) == Some(4)) else { return false };
    let reduction = match pool {
        PoolKind::Average => ReduceKind::Mean,
        PoolKind::Max => ReduceKind::Max,
    };
    let over_positions = match &node.op {
        Op::GlobalPool(kind) => *kind == pool,
        Op::Reduce(reduce) if reduce.kind == reduction => {
            let axes = node.input(1).and_then(|id| net.types.contents(id));
            let axis = |dim: &Dim| dim.as_const().map(|a| a.rem_euclid(4));
            let mut axes: Vec<_> = axes.unwrap_or_default().iter().map(axis).collect();
            axes.sort();
            axes == [Some(2), Some(3)]
        }
        _ => false,
    };
    over_positions && net.graph.constant(x).is_none()
}

/// Returns the pooling whose window is the whole map, if `node` computes the maximum over height and
/// width of a map of known size.
fn global_maximum(net: &Network, node: &Node) -> Option<PoolPrimitive> {
    let (x, y) = (node.input(0)?, node.output());
    let &[_, _, ref height, ref width] = net.maps.dims(x)? else { return None };
    let kernel = [height.as_size()?, width.as_size()?];
    let is_map = matches!(net.maps.dims(y)?.len(), 2 | 4);
    let window = WindowShape { kernel, ..WindowShape::pointwise() };
    let fits = is_global(net, node, PoolKind::Max) && is_map && kernel[0] * kernel[1] > 0;
    fits.then_some(PoolPrimitive { kind: Pooling::Max, window })
}

/// Returns the kernel of `node` among those that have no epilogue and no packed weights.
pub(super) fn plain(net: &Network, node: &Node) -> Option<Box<dyn Primitive>> {
    match &node.op {
        Op::Pool(op) => Some(Box::new(pool(net, node, op)?)),
        &Op::SpatialAttention(SpatialAttention { tau, gamma_per_position }) => {
            let z = node.input(0)?;
            let fits = net.maps.dims(z)?.len() == 4 && net.maps.channels(z)? == 1;
            fits.then(|| Box::new(AttentionPrimitive { tau, gamma_per_position }) as Box<_>)
        }
        &Op::GroupCoefficients { num_groups, epsilon } => {
            let channels = net.maps.channels(node.input(0)?)?;
            let numbers = |input: usize| {
                let constant = net.graph.constant(node.input(input)?)?.as_f32().ok()?;
                (constant.len() == channels).then(|| constant.to_vec())
            };
            let groups =
                channels.checked_div(num_groups).filter(|depth| depth * num_groups == channels);
            let is_map = net.maps.dims(node.input(0)?)?.len() == 4 && groups? > 0;
            let (scale, bias) = (numbers(1)?, numbers(2)?);
            let primitive = GroupCoefficientsPrimitive { num_groups, epsilon, scale, bias };
            is_map.then(|| Box::new(primitive) as Box<_>)
        }
        _ if is_global_average(net, node) => Some(Box::new(GlobalAveragePrimitive)),
        _ => Some(Box::new(global_maximum(net, node)?)),
    }
}

/// Returns the matrix product that `node` computes, if all of its inputs are f32.
pub(super) fn product(net: &Network, node: &Node) -> Option<MatrixProduct> {
    let product = match node.op {
        Op::MatMul => MatrixProduct::MatMul,
        Op::Gemm(op) => MatrixProduct::Gemm(op),
        _ => return None,
    };
    let is_f32 = |&id: &ValueId| net.types.get(id).is_some_and(|ty| ty.dtype == DType::F32);
    node.inputs.iter().flatten().all(is_f32).then_some(product)
}

/// Whether `node` only changes the shape of its input, and both shapes are vectors of one size.
pub(super) fn is_view_of_vectors(net: &Network, node: &Node) -> bool {
    let is_view =
        matches!(node.op, Op::Flatten { .. } | Op::Reshape { .. } | Op::Squeeze | Op::Unsqueeze);
    let Some(x) = node.input(0).filter(|_| is_view) else { return false };
    let sizes = |value: ValueId| net.maps.dims(value).map(|dims| &dims[..2]);
    let vectors = net.maps.is_vectors(x) && net.maps.is_vectors(node.output());
    vectors && sizes(x) == sizes(node.output())
}
