//! Folds batch normalisation into the convolution or matrix product before it.
//!
//! `scale * (W x + b - mean) / sqrt(variance + epsilon) + bias` is equal to `W' x + b'`, where the
//! weights of each output channel are multiplied by `scale / sqrt(variance + epsilon)`.

use crate::error::Result;
use crate::graph::geometry::is_row;
use crate::graph::{Graph, NodeId, Op, Rewriter, ValueId};
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
    let norm = graph.node(id);
    let &Op::BatchNormalization { epsilon } = &norm.op else { return None };
    let x = norm.input(0)?;
    let producer = graph.links().producer(x)?;
    graph.links().only_reader(x)?;
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
    let shifted = (0..channels).map(|c| {
        ((f64::from(old_bias[c]) - f64::from(mean[c])) * factor[c] + f64::from(bias[c])) as f32
    });
    let shifted: Vec<f32> = shifted.collect();

    let name = layer.name.clone();
    let output = norm.output();
    let (shape, plain) = (weight.shape().to_vec(), weight.clone());
    // Computed when the layer is packed, and not kept beside the packed weights.
    let scaled = Tensor::deferred(&shape, move |scaled: &mut [f32]| {
        let mut scratch = AlignedBuffer::zeroed(0);
        let plain = plain.read_once::<f32>(&mut scratch).expect("its type was checked above");
        let rows = plain.chunks(inner);
        for (row, (scaled, plain)) in scaled.chunks_mut(inner).zip(rows).enumerate() {
            let channel = row / (outer * middle) * middle + row % middle;
            for (to, &from) in scaled.iter_mut().zip(plain) {
                *to = (f64::from(from) * factor[channel]) as f32;
            }
        }
    });
    let weight = graph.add_constant(format!("{name}.weight"), scaled.ok()?);
    let bias = graph.add_constant(format!("{name}.bias"), Tensor::vector::<f32>(shifted));
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
