//! Recognises convolutions whose weights are computed from the image.
//!
//! Published code writes the convolution of a batch as one convolution in groups: the images become
//! groups of channels of a single image. This pass undoes that. Each image has its weights along the
//! first axis afterwards, so that the batch can be [freed](super::free_batch).
//!
//! Weights that are a mixture of constant experts stay a matrix product of one row per image, which
//! also takes a batch normalisation that follows.

use super::fold_batch_norm::ChannelAffine;
use crate::error::Result;
use crate::graph::predicates::is_one;
use crate::graph::{Conv, Dim, DynamicConv, Gemm, NodeId, Op, Rewriter, ValueId};
use crate::tensor::{AlignedBuffer, DType, Tensor};

/// Rewrites every convolution with computed weights as a [`DynamicConv`].
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub fn dynamic_conv(graph: &mut Rewriter) -> Result<()> {
    for id in graph.node_ids() {
        rewrite(graph, id);
    }
    graph.commit().map(|_| ())
}

fn rewrite(graph: &mut Rewriter, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let Op::Conv(conv) = node.op.clone() else { return None };
    let (x, weight, mut bias) = (node.input(0)?, node.input(1)?, node.input(2));
    let (name, output) = (node.name.clone(), node.output());
    if graph.constant(weight).is_some() {
        return None;
    }
    let &[all_outputs, depth, height, width] = sizes(graph, weight)?.as_slice() else {
        return None;
    };
    let (x, images) = images(graph, x)?;
    if !conv.groups.is_multiple_of(images) || !all_outputs.is_multiple_of(images) {
        return None;
    }
    let (outputs, groups) = (all_outputs / images, conv.groups / images);
    let len = outputs.checked_mul(depth)?.checked_mul(height)?.checked_mul(width)?;
    let source = before_views(graph, weight);
    if graph.value(source).input.is_some() {
        return None;
    }
    let weights = mixture(graph, source, [images, len]);
    let weights = weights.unwrap_or_else(|| reshaped(graph, source, [images, len], &name));
    if let Some(value) = bias.filter(|&bias| images > 1 || graph.constant(bias).is_none()) {
        let source = before_views(graph, value);
        if sizes(graph, value)? != [all_outputs] || graph.value(source).input.is_some() {
            return None;
        }
        bias = Some(reshaped(graph, source, [images, outputs], &format!("{name}.bias")));
    }
    let conv = Conv { groups, ..conv };
    let op = Op::DynamicConv(DynamicConv { conv, outputs, kernel: [height, width] });
    let inputs = [Some(x), Some(weights)].into_iter().chain(bias.map(Some)).collect();
    let sizes_of_output = sizes(graph, output);
    let y = graph.apply_to(name.clone(), op, inputs);
    if images == 1 {
        graph.take_over(output, y);
    } else if let Some(apart) = taken_apart(graph, output, [images, outputs]) {
        graph.take_over(apart, y);
    } else {
        let shape = sizes_of_output?.iter().map(|&size| size as i64).collect();
        let shape = graph.add_constant(format!("{name}.shape"), Tensor::vector::<i64>(shape));
        let reshape = Op::Reshape { allow_zero: false };
        let y = graph.apply(format!("{name}.batch"), reshape, &[y, shape]);
        graph.take_over(output, y);
    }
    Some(())
}

/// Returns the value `[images, outputs, H, W]` as which `groups [1, images * outputs, H, W]` is read, if
/// it is read in no other way.
fn taken_apart(
    graph: &Rewriter,
    groups: ValueId,
    [images, outputs]: [usize; 2],
) -> Option<ValueId> {
    let node = graph.node(graph.links().only_reader(groups)?);
    let apart = node.output();
    let (from, to) = (&graph.types().get(groups)?.dims, &graph.types().get(apart)?.dims);
    let is_reshape = matches!(node.op, Op::Reshape { .. }) && node.input(0) == Some(groups);
    let sizes = [to.first()?.as_size()?, to.get(1)?.as_size()?];
    (is_reshape && sizes == [images, outputs] && to[2..] == from[2..]).then_some(apart)
}

/// Returns the map of which `x` is the only image, with the number of its images: `x` itself, or the
/// map whose images `x` has as groups of channels.
fn images(graph: &Rewriter, x: ValueId) -> Option<(ValueId, usize)> {
    let dims = &graph.types().get(x)?.dims;
    if dims.len() != 4 || !is_one(&dims[0]) {
        return None;
    }
    let batch = || {
        let node = graph.node(graph.links().producer(x)?);
        let map = node.input(0).filter(|_| matches!(node.op, Op::Reshape { .. }))?;
        let of_map = &graph.types().get(map)?.dims;
        let [images, channels, ..] = [of_map.first()?.as_size()?, of_map.get(1)?.as_size()?];
        let fits = of_map.len() == 4
            && dims[2..] == of_map[2..]
            && images > 0
            && dims[1].as_size() == images.checked_mul(channels);
        fits.then_some((map, images))
    };
    Some(batch().unwrap_or((x, 1)))
}

/// Returns the value of which `value` is a view: the same elements in the same order.
fn before_views(graph: &Rewriter, mut value: ValueId) -> ValueId {
    let inner = |value| {
        let node = graph.node(graph.links().producer(value)?);
        let x = node.input(0)?;
        let is_view = match &node.op {
            Op::Reshape { .. } | Op::Flatten { .. } | Op::Squeeze | Op::Unsqueeze => true,
            Op::Transpose { perm } if !perm.is_empty() => {
                let dims = &graph.types().get(x)?.dims;
                let moved = perm.iter().filter(|&&axis| !is_one(&dims[axis]));
                moved.is_sorted()
            }
            _ => false,
        };
        is_view.then_some(x)
    };
    while let Some(x) = inner(value) {
        value = x;
    }
    value
}

/// Returns the matrix `[images, len]` that `value` is a view of, as a [`Gemm`] with constant experts
/// `[experts, len]`; `None` if it is not computed so.
fn mixture(graph: &mut Rewriter, value: ValueId, [images, len]: [usize; 2]) -> Option<ValueId> {
    let node = graph.node(graph.links().producer(value)?);
    let is_product = match node.op {
        Op::MatMul => true,
        Op::Gemm(op) => op == PLAIN && node.input(2).is_none(),
        _ => false,
    };
    if !is_product {
        return None;
    }
    let (left, name) = (node.input(0)?, node.name.clone());
    let experts = graph.constant(node.input(1)?).filter(|w| w.dtype() == DType::F32)?;
    let &[.., count, columns] = experts.shape() else { return None };
    let rows = sizes(graph, left)?;
    let attends = rows.last() == Some(&count) && rows.iter().product::<usize>() == images * count;
    if columns != len || experts.len() != count * len || !attends || experts.is_empty() {
        return None;
    }
    let matrix = experts.reshape(&[count, len]).ok()?;
    let left = before_views(graph, left);
    let left = reshaped(graph, left, [images, count], &name);
    let matrix = graph.add_constant(format!("{name}.experts"), matrix);
    Some(graph.apply(format!("{name}.mixture"), Op::Gemm(PLAIN), &[left, matrix]))
}

/// A product of two matrices.
const PLAIN: Gemm = Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false };

/// Returns `value` as a matrix of this shape.
fn reshaped(graph: &mut Rewriter, value: ValueId, shape: [usize; 2], name: &str) -> ValueId {
    if sizes(graph, value).is_some_and(|found| found == shape) {
        return value;
    }
    let sizes = shape.map(|size| size as i64).to_vec();
    let sizes = graph.add_constant(format!("{name}.sizes"), Tensor::vector::<i64>(sizes));
    graph.apply(format!("{name}.rows"), Op::Reshape { allow_zero: false }, &[value, sizes])
}

fn sizes(graph: &Rewriter, value: ValueId) -> Option<Vec<usize>> {
    graph.types().get(value)?.dims.iter().map(Dim::as_size).collect()
}

/// Has the convolution `id`, whose weights are a mixture of constant experts, compute `affine` of its
/// output.
pub(super) fn into_experts(graph: &mut Rewriter, id: NodeId, affine: &ChannelAffine) -> Option<()> {
    let node = graph.node(id);
    let Op::DynamicConv(op) = &node.op else { return None };
    let (weights, outputs) = (node.input(1)?, op.outputs);
    let mixture = graph.links().producer(weights)?;
    graph.links().only_reader(weights)?;
    let product = graph.node(mixture);
    let is_plain = product.op == Op::Gemm(PLAIN) && product.input(2).is_none();
    let experts = graph.constant(product.input(1)?).filter(|_| is_plain)?.clone();
    let &[_, len] = experts.shape() else { return None };
    if affine.slopes.len() != outputs || experts.dtype() != DType::F32 || len == 0 {
        return None;
    }
    let bias = match node.input(2) {
        Some(bias) => graph.constant(bias)?.as_f32().ok().filter(|b| b.len() == outputs)?.to_vec(),
        None => vec![0.0; outputs],
    };
    let affine_of =
        |(c, &b): (usize, &f32)| (f64::from(b) * affine.slopes[c] + affine.offsets[c]) as f32;
    let bias: Vec<f32> = bias.iter().enumerate().map(affine_of).collect();
    let (name, slopes) = (node.name.clone(), affine.slopes.clone());
    let of_output = len / outputs;
    let plain = experts.clone();
    // Computed when the layer is packed, and not kept beside the packed weights.
    let scaled = Tensor::deferred(experts.shape(), move |scaled: &mut [f32]| {
        let mut scratch = AlignedBuffer::zeroed(0);
        let plain = plain.read_once::<f32>(&mut scratch).expect("its type was checked above");
        for (i, (to, &from)) in scaled.iter_mut().zip(plain).enumerate() {
            *to = (f64::from(from) * slopes[i % len / of_output]) as f32;
        }
    });
    let scaled = graph.add_constant(format!("{name}.experts"), scaled.ok()?);
    let bias = graph.add_constant(format!("{name}.bias"), Tensor::vector::<f32>(bias));
    graph.edit(mixture, |node| node.inputs[1] = Some(scaled));
    graph.edit(id, |node| {
        node.inputs.truncate(2);
        node.inputs.push(Some(bias));
    });
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::{alone, fold_batch_norm, free_batch, simplify};
    use super::*;
    use crate::graph::{Graph, Padding, PoolKind, TensorType};
    use crate::reference;

    fn wave(shape: &[usize], frequency: f32) -> Tensor {
        let count = shape.iter().product();
        let data: Vec<f32> = (0..count).map(|i: usize| (i as f32 * frequency).sin()).collect();
        Tensor::new(shape, data).unwrap()
    }

    /// A batch of `images` convolved as groups, with a mixture of three experts, as DyMN writes it.
    fn written_as_groups(images: usize, groups: usize, has_bias: bool) -> Graph {
        let mut g = Graph::new("t");
        let reshape = || Op::Reshape { allow_zero: false };
        let dims = [images, 4, 5, 6];
        let ty = TensorType { dtype: DType::F32, dims: dims.map(Dim::from).to_vec() };
        let x = g.add_input("x", ty);
        let shape = |name: &str, sizes: &[i64], g: &mut Graph| {
            g.add_constant(name, Tensor::vector(sizes.to_vec()))
        };
        let count = images as i64;
        let pooled = g.apply("pooled", Op::GlobalPool(PoolKind::Average), &[x]);
        let flat = g.apply("flat", Op::Flatten { axis: 1 }, &[pooled]);
        let fc = g.add_constant("fc", wave(&[4, 3], 0.9));
        let shares = g.apply("shares", Op::MatMul, &[flat, fc]);
        let to = shape("to1", &[count, 1, 1, 3], &mut g);
        let shares = g.apply("rows", reshape(), &[shares, to]);
        let len = 8 * 4 / groups * 9;
        let experts = g.add_constant("experts", wave(&[1, 1, 3, len], 0.7));
        let mixed = g.apply("mixed", Op::MatMul, &[shares, experts]);
        let mixed = g.apply("turned", Op::Transpose { perm: vec![0, 2, 1, 3] }, &[mixed]);
        let to = shape("to2", &[8 * count, 4 / groups as i64, 3, 3], &mut g);
        let weight = g.apply("weight", reshape(), &[mixed, to]);
        let to = shape("to3", &[1, -1, 5, 6], &mut g);
        let one = g.apply("one", reshape(), &[x, to]);
        let conv = Op::Conv(Conv {
            padding: Padding::Explicit(vec![1; 4]),
            strides: Vec::new(),
            dilations: Vec::new(),
            groups: groups * images,
        });
        let biases = g.add_constant("biases", wave(&[3, 8], 1.1));
        let bias = g.apply("bias", Op::MatMul, &[shares, biases]);
        let to = shape("to5", &[8 * count], &mut g);
        let bias = g.apply("all.biases", reshape(), &[bias, to]);
        let inputs = [one, weight, bias];
        let y = g.apply("conv", conv, &inputs[..if has_bias { 3 } else { 2 }]);
        let to = shape("to4", &[count, 8, 5, 6], &mut g);
        let y = g.apply("apart", reshape(), &[y, to]);
        let norm = [0.5, 0.6, 0.7, 0.8].map(|f| g.add_constant(f.to_string(), wave(&[8], f)));
        let variance = Tensor::new(&[8], (1..9).map(|i| i as f32).collect()).unwrap();
        let variance = g.add_constant("variance", variance);
        let norm = [y, norm[0], norm[1], norm[2], variance];
        let y = g.apply("norm", Op::BatchNormalization { epsilon: 1e-5 }, &norm);
        g.set_outputs(vec![y]);
        g
    }

    #[test]
    fn images_written_as_groups_are_images_again() {
        for (images, groups, has_bias) in
            [(1, 1, false), (1, 4, false), (3, 1, false), (2, 2, false), (1, 1, true), (3, 2, true)]
        {
            let mut graph = written_as_groups(images, groups, has_bias);
            let x = [wave(&[images, 4, 5, 6], 0.37)];
            let expected = reference::run(&graph, &x).unwrap();
            alone(&mut graph, |graph| {
                simplify(graph)?;
                dynamic_conv(graph)?;
                simplify(graph)?;
                fold_batch_norm(graph)
            });
            let ops: Vec<_> = graph.nodes().iter().map(|node| node.op.name()).collect();
            assert_eq!(ops.iter().filter(|&&op| op == "DynamicConv").count(), 1, "{ops:?}");
            for gone in ["Conv", "BatchNormalization", "Transpose"] {
                // Normalisation stays where the biases are computed.
                assert!(
                    has_bias && gone == "BatchNormalization" || !ops.contains(&gone),
                    "{gone} in {ops:?}"
                );
            }
            let found = reference::run(&graph, &x).unwrap();
            assert_eq!(found[0].shape(), [images, 8, 5, 6]);
            for (y, want) in found[0].as_f32().unwrap().iter().zip(expected[0].as_f32().unwrap()) {
                assert!((y - want).abs() <= 1e-4, "{y} and not {want}");
            }
        }
    }

    #[test]
    fn the_batch_of_a_network_with_computed_weights_is_freed() {
        let mut graph = written_as_groups(1, 1, true);
        let image = |i: usize| {
            let x = wave(&[3, 4, 5, 6], 0.37).as_f32().unwrap()[i * 120..][..120].to_vec();
            Tensor::new(&[1, 4, 5, 6], x).unwrap()
        };
        let alone_each: Vec<Tensor> =
            (0..3).map(|i| reference::run(&graph, &[image(i)]).unwrap().remove(0)).collect();
        let fixed = alone(&mut graph, |graph| {
            simplify(graph)?;
            dynamic_conv(graph)?;
            simplify(graph)?;
            free_batch(graph)
        });
        assert_eq!(fixed, None);
        let batch = reference::run(&graph, &[wave(&[3, 4, 5, 6], 0.37)]).unwrap();
        let parts = batch[0].as_f32().unwrap().chunks(8 * 30);
        for (found, want) in parts.zip(&alone_each) {
            for (y, want) in found.iter().zip(want.as_f32().unwrap()) {
                assert!((y - want).abs() <= 1e-5, "{y} and not {want}");
            }
        }
    }

    #[test]
    fn weights_that_the_caller_passes_stay() {
        let mut g = Graph::new("t");
        let ty =
            |dims: [usize; 4]| TensorType { dtype: DType::F32, dims: dims.map(Dim::from).to_vec() };
        let x = g.add_input("x", ty([1, 2, 5, 5]));
        let w = g.add_input("w", ty([3, 2, 3, 3]));
        let conv = Conv {
            padding: Padding::Explicit(vec![]),
            strides: vec![],
            dilations: vec![],
            groups: 1,
        };
        let y = g.apply("y", Op::Conv(conv), &[x, w]);
        g.set_outputs(vec![y]);
        alone(&mut g, dynamic_conv);
        assert_eq!(g.nodes()[0].op.name(), "Conv");
    }
}
