//! Chooses the kernel of a node, before any weights are packed.

use std::borrow::Cow;

use super::lines;
use super::network::Network;
use crate::compile::pack::{Form, Layer};
use crate::compile::tuning::{JOINED_STEP, WINOGRAD_CHANNELS, WINOGRAD_SIDE};
use crate::graph::geometry::is_row;
use crate::graph::predicates::{all_ones, axis_from_front, is_one};
use crate::graph::{
    Binary, Conv, Dim, HiddenActivation, Node, Op, Padding, Pool, PoolKind, Reduce, ReduceKind,
    SpatialAttention, ValueId, Variadic,
};
use crate::kernels::activation::Activation;
use crate::kernels::conv::gathers;
use crate::kernels::grouped::Groups;
use crate::kernels::pool::Pooling;
use crate::plan::{
    AttentionPrimitive, GlobalAveragePrimitive, GlobalNormPrimitive, GroupCoefficientsPrimitive,
    LayerNormPrimitive, LocalResponsePrimitive, PoolPrimitive, Primitive, RowsPrimitive,
    WindowShape,
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

/// Returns the bias that `node` adds to `x`, one number per output of a layer with `outputs` of them,
/// which are on the last axis of `x`.
pub(super) fn added_bias(
    net: &Network,
    node: &Node,
    x: ValueId,
    outputs: usize,
) -> Option<Vec<f32>> {
    let is_sum = matches!(node.op, Op::Binary(Binary::Add) | Op::Variadic(Variadic::Sum));
    let &[Some(a), Some(b)] = node.inputs.as_slice() else { return None };
    let bias = if a == x { b } else { a };
    let bias = net.graph.constant(bias).filter(|b| b.dtype() == DType::F32 && is_row(b.shape()))?;
    let fits = is_sum && bias.len() == outputs && net.maps.same_size(x, node.output());
    fits.then(|| bias.as_f32().ok().map(<[f32]>::to_vec))?
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
    let (graph, maps) = (net.graph, &net.maps);
    let (x, value) = (node.input(0)?, node.output());
    let is_map = match node.op {
        Op::Conv(_) | Op::Gemm(_) => maps.has_channels_second(x) && maps.has_channels_second(value),
        Op::MatMul => maps.has_channels_last(x) && maps.has_channels_last(value),
        _ => false,
    };
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
        (Op::MatMul, &[channels, outputs]) if maps.channels(x)? == channels => {
            Form::Dense { outputs, channels, taps: 1, transposed: true }
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
            let window = window(conv, [weight.shape()[2], weight.shape()[3]]);
            let vectors = window.is_pointwise() && maps.is_vectors(x) && maps.is_vectors(value);
            (window, vectors)
        }
        _ => (WindowShape::of_rows(), maps.is_vectors(x)),
    };
    Some(Convolution { layer: Layer { value, form, weight, bias }, window, vectors })
}

fn outputs(form: Form) -> usize {
    match form {
        Form::Dense { outputs, .. } | Form::Winograd { outputs, .. } => outputs,
        Form::Hidden { outputs, .. } => outputs,
        Form::Mixture { kernel, .. } => kernel.packed(),
        Form::Grouped(groups) => groups.count * groups.outputs,
        Form::Depthwise { channels, .. } | Form::Coefficients { channels, .. } => channels,
    }
}

/// Returns the window of a convolution, which has this height and width.
pub(super) fn window(conv: &Conv, kernel: [usize; 2]) -> WindowShape {
    WindowShape {
        kernel,
        strides: conv.strides.clone(),
        dilations: conv.dilations.clone(),
        padding: conv.padding.clone(),
        ceil_mode: false,
        of_rows: false,
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
    let may_round = !net.options.full_precision;
    let form = Form::Coefficients { op, channels: outputs / (2 * op.k), hidden, may_round };
    let second = Layer { value, form, weight, bias };
    let first = first.map(|(layer, activation, _)| (layer, activation));
    Some(Hyper { first, second, context, hidden })
}

/// Returns the pooling that `node` is, if the kernel can run it.
fn pool(net: &Network, node: &Node, op: &Pool) -> Option<PoolPrimitive> {
    let fits = net.maps.is_nchw(node.input(0)?) && net.maps.is_nchw(node.output());
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
        of_rows: false,
    };
    (fits && only_values).then_some(PoolPrimitive { kind, window })
}

/// Whether `node` computes the mean over the pixels of each image.
pub(super) fn is_global_average(net: &Network, node: &Node) -> bool {
    is_global(net, node, PoolKind::Average)
}

/// Whether `node` pools over the pixels of each image.
fn is_global(net: &Network, node: &Node, pool: PoolKind) -> bool {
    let reduction = match pool {
        PoolKind::Average => ReduceKind::Mean,
        PoolKind::Max => ReduceKind::Max,
    };
    match &node.op {
        Op::GlobalPool(kind) => *kind == pool && is_over_pixels(net, node),
        Op::Reduce(reduce) => reduce.kind == reduction && is_over_pixels(net, node),
        _ => false,
    }
}

/// Whether `node` combines the pixels of each image of a map that is no constant.
fn is_over_pixels(net: &Network, node: &Node) -> bool {
    let maps = &net.maps;
    let Some(x) = node.input(0) else { return false };
    let (Some(dims), Some(pixels)) = (maps.dims(x), maps.pixel_axes(x)) else { return false };
    let over_pixels = match &node.op {
        Op::GlobalPool(_) => maps.is_nchw(x),
        Op::Reduce(_) => {
            let axes = node.input(1).and_then(|id| net.types.contents(id));
            let axis = |dim: &Dim| axis_from_front(dim.as_const()?, dims.len());
            let mut axes: Vec<_> = axes.unwrap_or_default().iter().map(axis).collect();
            axes.sort();
            axes.into_iter().eq(pixels.clone().map(Some))
        }
        _ => false,
    };
    over_pixels && !pixels.is_empty() && net.graph.constant(x).is_none()
}

/// Returns the norms of the channels of each image that `node` computes, or their squares.
fn global_norm(net: &Network, node: &Node) -> Option<GlobalNormPrimitive> {
    let Op::Reduce(Reduce { kind, .. }) = node.op else { return None };
    let is_root = match kind {
        ReduceKind::L2 => true,
        ReduceKind::SumSquare => false,
        _ => return None,
    };
    is_over_pixels(net, node).then_some(GlobalNormPrimitive { is_root })
}

/// Returns the normalisation of each pixel that `node` is, if the kernel can run it.
fn layer_norm(net: &Network, node: &Node, axis: i64, epsilon: f32) -> Option<LayerNormPrimitive> {
    let (x, channels) = (node.input(0)?, net.maps.channels(node.input(0)?)?);
    let rank = net.maps.dims(x)?.len();
    let is_last = net.maps.has_channels_last(x) && axis_from_front(axis, rank)? == rank - 1;
    let numbers = |input: usize, default: f32| match node.input(input) {
        None => Some(vec![default; channels]),
        Some(value) => {
            let tensor = net.graph.constant(value).filter(|t| is_row(t.shape()))?;
            let numbers = tensor.as_f32().ok()?.to_vec();
            (numbers.len() == channels).then_some(numbers)
        }
    };
    let (scale, bias) = (numbers(1, 1.0)?, numbers(2, 0.0)?);
    let fits = is_last && channels > 0 && net.graph.constant(x).is_none();
    fits.then(|| LayerNormPrimitive::new(&scale, &bias, epsilon))
}

/// Returns the pooling whose window is the whole map, if `node` computes the maximum over height and
/// width of a map of known size.
fn global_maximum(net: &Network, node: &Node) -> Option<PoolPrimitive> {
    let (x, y) = (node.input(0)?, node.output());
    let [_, _, height, width] = net.maps.dims(x)? else { return None };
    let kernel = [height.as_size()?, width.as_size()?];
    let is_map = net.maps.is_nchw(x) && net.maps.has_channels_second(y);
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
            let fits = net.maps.is_nchw(z) && net.maps.channels(z)? == 1;
            fits.then(|| Box::new(AttentionPrimitive { tau, gamma_per_position }) as Box<_>)
        }
        &Op::LayerNormalization { axis, epsilon } => {
            Some(Box::new(layer_norm(net, node, axis, epsilon)?))
        }
        &Op::Lrn(lrn) => {
            let x = node.input(0)?;
            let is_map = net.maps.is_nchw(x) && net.graph.constant(x).is_none();
            is_map.then(|| Box::new(LocalResponsePrimitive(lrn)) as Box<_>)
        }
        &Op::GroupCoefficients { num_groups, epsilon } => {
            let channels = net.maps.channels(node.input(0)?)?;
            let numbers = |input: usize| {
                let constant = net.graph.constant(node.input(input)?)?.as_f32().ok()?;
                (constant.len() == channels).then(|| constant.to_vec())
            };
            let groups =
                channels.checked_div(num_groups).filter(|depth| depth * num_groups == channels);
            let is_map = net.maps.is_nchw(node.input(0)?) && groups? > 0;
            let (scale, bias) = (numbers(1)?, numbers(2)?);
            let primitive = GroupCoefficientsPrimitive { num_groups, epsilon, scale, bias };
            is_map.then(|| Box::new(primitive) as Box<_>)
        }
        _ if is_global_average(net, node) => Some(Box::new(GlobalAveragePrimitive)),
        Op::Reduce(Reduce { kind: ReduceKind::L2 | ReduceKind::SumSquare, .. }) => {
            Some(Box::new(global_norm(net, node)?))
        }
        _ => match lines::mean(net, node) {
            Some(mean) => Some(Box::new(mean)),
            None => Some(Box::new(global_maximum(net, node)?)),
        },
    }
}

/// Returns the step that takes each row of coefficients `[N,rows,C]` from one of two values, if that is
/// what a `Where` does; the inputs of the step are those of the node after the first.
pub(super) fn rows(net: &Network, node: &Node) -> Option<RowsPrimitive> {
    if node.op != Op::Where {
        return None;
    }
    let mask = net.graph.constant(node.input(0)?)?;
    let [_, rows, channels] = net.maps.dims(node.output())? else { return None };
    let rows = rows.as_size().filter(|&rows| mask.shape() == [1, rows, 1])?;
    let fits = |i: usize| match net.maps.dims(node.input(i)?)? {
        [_, r, c] => Some((is_one(r) || r.as_size() == Some(rows)) && (is_one(c) || c == channels)),
        _ => None,
    };
    let first = (mask.dtype() == DType::Bool).then(|| mask.bytes())?;
    let first = first.iter().map(|&byte| byte != 0).collect();
    (fits(1)? && fits(2)?).then_some(RowsPrimitive { first })
}
