//! The kernel of a node, with its weights packed.

use crate::graph::geometry::is_row;
use crate::graph::infer::Types;
use crate::graph::{
    Conv, Dim, Graph, HiddenActivation, Hyperfunction, Node, Op, Pool, PoolKind, ReduceKind,
    Squash, ValueId,
};
use crate::kernels::conv::ConvWeights;
use crate::kernels::depthwise::DepthwiseWeights;
use crate::kernels::epilogue::Activation;
use crate::kernels::hyperfunction::{Bound, Coefficients};
use crate::kernels::pool::Pooling;
use crate::kernels::winograd::WinogradWeights;
use crate::plan::{
    AttentionStep, ConvStep, DepthwiseStep, ExpandStep, Fused, GlobalAverageStep, Kernel, PoolStep,
    WindowShape, WinogradStep,
};

use super::maps::Maps;
use crate::compile::{Options, Packs};
use crate::tensor::DType;

/// A kernel that takes an epilogue.
pub(super) enum Convolution {
    Dense(ConvStep),
    Depthwise(DepthwiseStep),
    Expand(Box<ExpandStep>),
    Winograd(WinogradStep),
}

impl Convolution {
    /// Whether images are single pixels.
    pub fn is_vectors(&self) -> bool {
        matches!(self, Convolution::Dense(step) if step.vectors)
    }

    /// Whether input 0 may be an input of the network as the user gave it.
    pub fn reads_nchw(&self) -> bool {
        matches!(self, Convolution::Dense(step) if step.reads_nchw())
    }

    /// Whether rows of the input can be transformed as they are read.
    pub fn takes_prologue(&self) -> bool {
        let Convolution::Dense(step) = self else { return false };
        let plain = !step.vectors && step.prologue.is_none() && !step.weights.gathers();
        plain && step.window.is_pointwise()
    }

    /// Whether this can compute the input of `second` line by line.
    pub fn can_expand(&self, second: &Self) -> bool {
        let Convolution::Dense(first) = self else { return false };
        let Convolution::Depthwise(second) = second else { return false };
        let plain = first.prologue.is_none() && !first.vectors;
        // A window that leaves many lines out would have them computed for nothing.
        let mut steps = second.window.strides.iter().chain(&second.window.dilations);
        plain && steps.all(|&step| step <= 16)
    }

    /// This and a depthwise convolution that it [can expand](Self::can_expand) for, whose inputs
    /// come `by` positions later.
    pub fn joined(self, second: Self, by: usize) -> Self {
        match (self, second) {
            (Convolution::Dense(expand), Convolution::Depthwise(mut depthwise)) => {
                depthwise.fused.shift(by);
                Convolution::Expand(Box::new(ExpandStep { expand, depthwise }))
            }
            (first, _) => first,
        }
    }

    /// Has the input transformed first; see [`takes_prologue`](Self::takes_prologue).
    pub fn set_prologue(&mut self, prologue: Fused) {
        if let Convolution::Dense(step) = self {
            step.prologue = Some(prologue);
        }
    }

    pub fn fused(&mut self) -> &mut Fused {
        match self {
            Convolution::Dense(step) => &mut step.fused,
            Convolution::Depthwise(step) => &mut step.fused,
            Convolution::Expand(step) => &mut step.depthwise.fused,
            Convolution::Winograd(step) => &mut step.fused,
        }
    }
}

/// The convolution or fully connected layer that `node` is.
pub(super) fn convolution(
    graph: &Graph,
    options: &Options,
    maps: &Maps,
    packs: &Packs,
    node: &Node,
) -> Option<Convolution> {
    if !matches!(node.op, Op::Conv(_) | Op::Gemm(_)) {
        return None;
    }
    let (x, weight) = (node.input(0)?, node.input(1)?);
    let is_map = maps.is_feature_map(x) && maps.is_feature_map(node.output());
    if !is_map || graph.constant(x).is_some() {
        return None;
    }
    // Nobody looks at weights that have been packed earlier.
    let weight = graph.constant(weight).filter(|w| w.dtype() == DType::F32 && !w.is_empty())?;
    let bias = match node.input(2) {
        Some(id) => Some(graph.constant(id).filter(|b| is_row(b.shape()))?.as_f32().ok()?),
        None => None,
    };
    match (&node.op, weight.shape()) {
        (Op::Conv(conv), &[outputs, depth, height, width]) => {
            let channels = maps.channels(x)?;
            if bias.is_some_and(|b| b.len() != outputs) {
                return None;
            }
            let window = WindowShape {
                kernel: [height, width],
                strides: conv.strides.clone(),
                dilations: conv.dilations.clone(),
                padding: conv.padding.clone(),
                ceil_mode: false,
            };
            let fused = Fused::default();
            if options.winograd && depth == channels && suits_winograd(maps, node, conv, &window) {
                let weights = packs.layer(
                    (node.output(), "winograd"),
                    |parts| WinogradWeights::of(parts, outputs, channels),
                    || Some(WinogradWeights::new(weight.as_f32().ok()?, bias, outputs, channels)),
                    WinogradWeights::parts,
                )?;
                Some(Convolution::Winograd(WinogradStep { weights, window, fused }))
            } else if conv.groups == 1 && depth == channels {
                let taps = height * width;
                let weights = packs.layer(
                    (node.output(), "dense"),
                    |parts| ConvWeights::of(parts, outputs, channels, taps),
                    || Some(ConvWeights::new(weight.as_f32().ok()?, bias, outputs, channels)),
                    ConvWeights::parts,
                )?;
                let vectors =
                    window.is_pointwise() && maps.is_vectors(x) && maps.is_vectors(node.output());
                let step = ConvStep { weights, window, prologue: None, fused, vectors };
                Some(Convolution::Dense(step))
            } else if conv.groups == channels && outputs == channels && depth == 1 {
                let weights = packs.layer(
                    (node.output(), "depthwise"),
                    |parts| DepthwiseWeights::of(parts, channels, height * width),
                    || Some(DepthwiseWeights::new(weight.as_f32().ok()?, bias, channels)),
                    DepthwiseWeights::parts,
                )?;
                Some(Convolution::Depthwise(DepthwiseStep { weights, window, fused }))
            } else {
                None
            }
        }
        (Op::Gemm(gemm), &[rows, columns]) => {
            let plain = !gemm.trans_a && gemm.alpha == 1.0 && gemm.beta == 1.0;
            let (outputs, depth) = if gemm.trans_b { (rows, columns) } else { (columns, rows) };
            let fits = plain && maps.dims(x)?.len() == 2 && maps.channels(x)? == depth;
            if !fits {
                return None;
            }
            let spread;
            let bias = match bias {
                Some(&[b]) => {
                    spread = vec![b; outputs];
                    Some(spread.as_slice())
                }
                Some(b) if b.len() != outputs => return None,
                other => other,
            };
            let transposed = |weight: &[f32]| -> Vec<f32> {
                let element = |i: usize| weight[i % depth * outputs + i / depth];
                (0..outputs * depth).map(element).collect()
            };
            let weights = packs.layer(
                (node.output(), "dense"),
                |parts| ConvWeights::of(parts, outputs, depth, 1),
                || {
                    let weight = weight.as_f32().ok()?;
                    Some(if gemm.trans_b {
                        ConvWeights::new(weight, bias, outputs, depth)
                    } else {
                        ConvWeights::new(&transposed(weight), bias, outputs, depth)
                    })
                },
                ConvWeights::parts,
            )?;
            Some(Convolution::Dense(fully_connected(weights)))
        }
        _ => None,
    }
}

/// Whether a convolution is faster by Winograd's algorithm: its weights become four times as many,
/// which pays where the map is large enough.
fn suits_winograd(maps: &Maps, node: &Node, conv: &Conv, window: &WindowShape) -> bool {
    let ones = |list: &[usize]| list.iter().all(|&one| one == 1);
    let plain = conv.groups == 1 && ones(&conv.strides) && ones(&conv.dilations);
    let wide = |value: Option<ValueId>| value.and_then(|v| maps.channels(v)) >= Some(16);
    let large = |dim: &Dim| dim.as_size().is_none_or(|size| size >= 12);
    let dims = maps.dims(node.output()).unwrap_or_default();
    window.kernel == [3, 3]
        && plain
        && wide(node.input(0))
        && wide(Some(node.output()))
        && dims.iter().skip(2).all(large)
}

/// A fully connected layer.
fn fully_connected(weights: ConvWeights) -> ConvStep {
    ConvStep {
        weights,
        window: WindowShape::pointwise(),
        prologue: None,
        fused: Fused::default(),
        vectors: true,
    }
}

/// Both layers of a hyperfunction; without a first one the second reads the context.
pub(super) fn hyperfunction(
    graph: &Graph,
    maps: &Maps,
    packs: &Packs,
    node: &Node,
    op: &Hyperfunction,
) -> Option<(Option<ConvStep>, Coefficients)> {
    let context = node.input(0)?;
    let width = maps.channels(context).filter(|_| maps.is_vectors(context))?;
    let layer = |w: usize, b: usize| {
        let weight = graph.constant(node.input(w)?).filter(|w| w.dtype() == DType::F32)?;
        let bias = match node.input(b) {
            Some(id) => Some(graph.constant(id)?.as_f32().ok()?),
            None => None,
        };
        let &[outputs, depth] = weight.shape() else { return None };
        let fits = bias.is_none_or(|b| b.len() == outputs) && outputs * depth > 0;
        fits.then_some((weight, bias, outputs, depth))
    };
    let first = match node.input(1) {
        None => None,
        Some(_) => {
            let (weight, bias, outputs, depth) = layer(1, 2).filter(|l| l.3 == width)?;
            let mut step = fully_connected(packs.layer(
                (node.output(), "hidden"),
                |parts| ConvWeights::of(parts, outputs, depth, 1),
                || Some(ConvWeights::new(weight.as_f32().ok()?, bias, outputs, depth)),
                ConvWeights::parts,
            )?);
            step.fused.activation = match op.hidden {
                HiddenActivation::Relu => Some(Activation::Clamp { low: 0.0, high: f32::INFINITY }),
                HiddenActivation::Relu6 => Some(Activation::Clamp { low: 0.0, high: 6.0 }),
                HiddenActivation::HardSwish => Some(Activation::HardSwish),
                HiddenActivation::Swish => Some(Activation::Swish { alpha: 1.0 }),
                HiddenActivation::None => None,
                HiddenActivation::Gelu => return None,
            };
            Some((step, outputs))
        }
    };
    let hidden = first.as_ref().map_or(width, |(_, outputs)| *outputs);
    let (weight, bias, outputs, depth) = layer(3, 4)?;
    if depth != hidden || !outputs.is_multiple_of(2 * op.k) {
        return None;
    }
    let bound = match op.squash {
        Squash::Sigmoid => Bound::Tanh,
        Squash::HardSigmoid => Bound::Clamp,
        Squash::None => Bound::None,
    };
    let channels = outputs / (2 * op.k);
    let (init, lambda) = (&op.init, &op.lambda);
    let second = packs.layer(
        (node.output(), "coefficients"),
        |parts| Coefficients::of(parts, channels, init, lambda, bound, hidden),
        || Some(Coefficients::new(weight.as_f32().ok()?, bias, init, lambda, bound, hidden)),
        Coefficients::parts,
    )?;
    Some((first.map(|(step, _)| step), second))
}

/// The pooling that `node` is.
pub(super) fn pool(maps: &Maps, node: &Node, op: &Pool) -> Option<PoolStep> {
    let rank = |id: ValueId| maps.dims(id).map(<[_]>::len);
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
    (fits && only_values).then_some(PoolStep { kind, window })
}

/// Whether `node` is the mean over height and width.
pub(super) fn is_global_average(graph: &Graph, types: &Types, maps: &Maps, node: &Node) -> bool {
    let Some(x) = node.input(0).filter(|&x| maps.dims(x).is_some_and(|dims| dims.len() == 4))
    else {
        return false;
    };
    match &node.op {
        Op::GlobalPool(PoolKind::Average) => graph.constant(x).is_none(),
        Op::Reduce(reduce) if reduce.kind == ReduceKind::Mean => {
            let axes = node.input(1).and_then(|id| types.contents(id));
            let axis = |dim: &crate::graph::Dim| dim.as_const().map(|a| a.rem_euclid(4));
            let mut axes: Vec<_> = axes.unwrap_or_default().iter().map(axis).collect();
            axes.sort();
            axes == [Some(2), Some(3)] && graph.constant(x).is_none()
        }
        _ => false,
    }
}

/// The steps that take no epilogue and whose weights are nothing but attributes.
pub(super) fn plain(
    graph: &Graph,
    types: &Types,
    maps: &Maps,
    node: &Node,
) -> Option<Box<dyn Kernel>> {
    match &node.op {
        Op::Pool(op) => Some(Box::new(pool(maps, node, op)?)),
        Op::SpatialAttention(op) => {
            let z = node.input(0)?;
            let fits = maps.dims(z)?.len() == 4 && maps.channels(z)? == 1;
            let &crate::graph::SpatialAttention { tau, gamma_per_position } = op;
            fits.then(|| Box::new(AttentionStep { tau, gamma_per_position }) as Box<_>)
        }
        _ if is_global_average(graph, types, maps, node) => Some(Box::new(GlobalAverageStep)),
        _ => None,
    }
}
