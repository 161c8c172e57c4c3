//! Folds batch normalisation into the convolution or matrix product before it.
//!
//! `scale * (W x + b - mean) / sqrt(variance + epsilon) + bias` is equal to `W' x + b'`, where the
//! weights of each output channel are multiplied by `scale / sqrt(variance + epsilon)`.

use super::dynamic_conv::into_experts;
use crate::error::Result;
use crate::graph::geometry::is_row;
use crate::graph::{Graph, Node, NodeId, Op, Rewriter, ValueId};
use crate::tensor::{AlignedBuffer, DType, Tensor};

/// Folds batch normalisations that are the only readers of the layer's output.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub fn fold_batch_norm(graph: &mut Rewriter) -> Result<()> {
    for id in graph.node_ids() {
        fold(graph, id);
    }
    graph.commit().map(|_| ())
}

fn fold(graph: &mut Rewriter, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let (x, output) = (node.input(0)?, node.output());
    let affine = batch_norm(graph, node)?;
    into_layer(graph, x, output, &affine)
}

/// `slopes[c] * x + offsets[c]` for every channel `c`.
pub(super) struct ChannelAffine {
    pub slopes: Vec<f64>,
    pub offsets: Vec<f64>,
}

/// What a batch normalisation with constant parameters computes.
pub(super) fn batch_norm(graph: &Graph, node: &Node) -> Option<ChannelAffine> {
    let &Op::BatchNormalization { epsilon } = &node.op else { return None };
    let [scale, bias, mean, variance] = [1, 2, 3, 4].map(|i| vector(graph, node.input(i)?));
    let (scale, bias, mean, variance) = (scale?, bias?, mean?, variance?);
    let channels = scale.len();
    if [&bias, &mean, &variance].iter().any(|v| v.len() != channels) {
        return None;
    }
    let slopes: Vec<f64> = (0..channels)
        .map(|c| f64::from(scale[c]) / (f64::from(variance[c]) + f64::from(epsilon)).sqrt())
        .collect();
    let offset = |c: usize| f64::from(bias[c]) - f64::from(mean[c]) * slopes[c];
    let offsets = (0..channels).map(offset).collect();
    Some(ChannelAffine { slopes, offsets })
}

/// Has the convolution or the matrix product that gives `x` give `output`, `affine` of `x`, where
/// nothing else reads `x`.
pub(super) fn into_layer(
    graph: &mut Rewriter,
    x: ValueId,
    output: ValueId,
    affine: &ChannelAffine,
) -> Option<()> {
    let producer = graph.links().producer(x)?;
    graph.links().only_reader(x)?;
    if matches!(graph.node(producer).op, Op::DynamicConv(_)) {
        into_experts(graph, producer, affine)?;
        graph.take_over(output, x);
        return Some(());
    }
    let channels = affine.slopes.len();
    let layer = graph.node(producer);
    let weight = graph.constant(layer.input(1)?)?;
    if weight.dtype() != DType::F32 {
        return None;
    }
    // The weights are `[groups][outer][middle][inner]`, with output channel `(group, middle)`.
    let (outer, middle, groups) = match (&layer.op, weight.shape()) {
        (Op::Conv(_), &[out, ..]) => (1, out, 1),
        (Op::ConvTranspose(conv), &[input, out, ..]) => {
            (input / conv.groups.max(1), out, conv.groups.max(1))
        }
        (Op::Gemm(gemm), &[a, b]) if gemm.alpha == 1.0 && gemm.beta == 1.0 => {
            if gemm.trans_b {
                (1, a, 1)
            } else {
                (a, b, 1)
            }
        }
        _ => return None,
    };
    if middle.checked_mul(groups) != Some(channels) || weight.is_empty() || outer * channels == 0 {
        return None;
    }
    let inner = weight.len() / (outer * middle * groups);
    let old_bias = match layer.input(2) {
        Some(value) if !is_row(graph.constant(value)?.shape()) => return None,
        Some(value) => vector(graph, value).filter(|b| b.len() == channels)?,
        None => vec![0.0; channels],
    };
    let new_bias =
        |c: usize| (f64::from(old_bias[c]) * affine.slopes[c] + affine.offsets[c]) as f32;
    let bias: Vec<f32> = (0..channels).map(new_bias).collect();

    let name = layer.name.clone();
    let (shape, plain, slopes) = (weight.shape().to_vec(), weight.clone(), affine.slopes.clone());
    // Computed when the layer is packed, and not kept beside the packed weights.
    let scaled = Tensor::deferred(&shape, move |scaled: &mut [f32]| {
        let mut scratch = AlignedBuffer::zeroed(0);
        let plain = plain.read_once::<f32>(&mut scratch).expect("its type was checked above");
        let rows = plain.chunks(inner);
        for (row, (scaled, plain)) in scaled.chunks_mut(inner).zip(rows).enumerate() {
            let channel = row / (outer * middle) * middle + row % middle;
            for (to, &from) in scaled.iter_mut().zip(plain) {
                *to = (f64::from(from) * slopes[channel]) as f32;
            }
        }
    });
    let weight = graph.add_constant(format!("{name}.weight"), scaled.ok()?);
    let bias = graph.add_constant(format!("{name}.bias"), Tensor::vector::<f32>(bias));
    graph.edit(producer, |layer| {
        layer.inputs.truncate(1);
        layer.inputs.extend([Some(weight), Some(bias)]);
    });
    graph.take_over(output, x);
    Some(())
}

fn vector(graph: &Graph, value: ValueId) -> Option<Vec<f32>> {
    Some(graph.constant(value)?.as_f32().ok()?.to_vec())
}
