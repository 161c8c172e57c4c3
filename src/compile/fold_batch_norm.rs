//! Folds batch normalisation into the convolution or the matrix product before it.
//!
//! `scale * (W x + b - mean) / sqrt(variance + epsilon) + bias` is `W' x + b'` with every output
//! channel's weights multiplied by `scale / sqrt(variance + epsilon)`.

use crate::error::Result;
use crate::graph::geometry::is_row;
use crate::graph::{Graph, NodeId, Op, ValueId};
use crate::tensor::Tensor;

/// Folds wherever the convolution's output goes nowhere else.
///
/// # Errors
/// `Graph` where the graph has a cycle.
pub fn fold_batch_norm(graph: &mut Graph) -> Result<()> {
    for id in graph.node_ids() {
        fold(graph, id);
    }
    graph.prune()
}

fn fold(graph: &mut Graph, id: NodeId) -> Option<()> {
    let links = graph.links();
    let norm = graph.node(id);
    let &Op::BatchNormalization { epsilon } = &norm.op else { return None };
    let x = norm.input(0)?;
    let producer = links.producer(x)?;
    if links.consumers(x).len() != 1 || graph.outputs().contains(&x) {
        return None;
    }
    let [scale, bias, mean, variance] = [1, 2, 3, 4].map(|i| vector(graph, norm.input(i)?));
    let (scale, bias, mean, variance) = (scale?, bias?, mean?, variance?);
    let channels = scale.len();
    if [&bias, &mean, &variance].iter().any(|v| v.len() != channels) {
        return None;
    }
    let factor: Vec<f64> = (0..channels)
        .map(|c| f64::from(scale[c]) / (f64::from(variance[c]) + f64::from(epsilon)).sqrt())
        .collect();

    let layer = graph.node(producer);
    let weight = graph.constant(layer.input(1)?)?;
    let mut scaled = weight.as_f32().ok()?.to_vec();
    // Which output channel a weight belongs to.
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
    if middle.checked_mul(groups) != Some(channels) || scaled.is_empty() || outer * channels == 0 {
        return None;
    }
    let inner = scaled.len() / (outer * middle * groups);
    for (i, w) in scaled.iter_mut().enumerate() {
        let group = i / (outer * middle * inner);
        let channel = group * middle + (i / inner) % middle;
        *w = (f64::from(*w) * factor[channel]) as f32;
    }
    let old_bias = match layer.input(2) {
        Some(value) if !is_row(graph.constant(value)?.shape()) => return None,
        Some(value) => vector(graph, value).filter(|b| b.len() == channels)?,
        None => vec![0.0; channels],
    };
    let shifted = (0..channels).map(|c| {
        ((f64::from(old_bias[c]) - f64::from(mean[c])) * factor[c] + f64::from(bias[c])) as f32
    });
    let (shifted, shape) = (shifted.collect(), weight.shape().to_vec());

    let name = layer.name.clone();
    let output = norm.output();
    let weight = graph.add_constant(format!("{name}.weight"), Tensor::new(&shape, scaled).ok()?);
    let bias = graph.add_constant(format!("{name}.bias"), Tensor::vector::<f32>(shifted));
    let layer = graph.node_mut(producer);
    layer.inputs.truncate(1);
    layer.inputs.extend([Some(weight), Some(bias)]);
    graph.take_over(output, x);
    Some(())
}

fn vector(graph: &Graph, value: ValueId) -> Option<Vec<f32>> {
    Some(graph.constant(value)?.as_f32().ok()?.to_vec())
}
