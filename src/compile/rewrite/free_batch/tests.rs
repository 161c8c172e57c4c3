//! Tests that a freed network computes for a batch the bits that it computes for each image alone, and
//! that networks which may mix images are not changed.

use super::super::alone;
use super::*;
use crate::graph::{
    AspectRatioPolicy, Binary, Conv, CoordinateTransform, CumSum, DeformConv, Gemm, GridSample,
    MaxAffine, NearestRounding, Node, Padding, PoolKind, Reduce, ReduceKind, Resize, ResizeMode,
    SampleMode, SamplePadding, ScatterReduction, Softmax, TensorType, TopK, Unary, Variadic,
};
use crate::reference;
use crate::tensor::DType;

const CHANNELS: usize = 4;

fn wave(shape: &[usize], step: f32) -> Tensor {
    let count = shape.iter().product();
    Tensor::new(shape, (0..count).map(|i: usize| (i as f32 * step).sin()).collect()).unwrap()
}

/// Returns a graph whose input is one image, and the input.
fn one_image() -> (Graph, ValueId) {
    sized(vec![1.into(), CHANNELS.into(), 3.into(), 5.into()])
}

fn sized(dims: Vec<Dim>) -> (Graph, ValueId) {
    let mut graph = Graph::new("t");
    let x = graph.add_input("x", TensorType { dtype: DType::F32, dims });
    (graph, x)
}

/// Short methods for building graphs.
trait Build {
    fn ints(&mut self, integers: &[i64]) -> ValueId;
    fn then(&mut self, op: Op, inputs: &[ValueId]) -> ValueId;
}

impl Build for Graph {
    fn ints(&mut self, integers: &[i64]) -> ValueId {
        let name = format!("c{}", self.values().len());
        self.add_constant(name, Tensor::vector(integers.to_vec()))
    }

    fn then(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        let name = format!("{}{}", op.name(), self.values().len());
        self.apply(name, op, inputs)
    }
}

fn reshape() -> Op {
    Op::Reshape { allow_zero: false }
}

fn reduce(kind: ReduceKind, keep_dims: bool) -> Op {
    Op::Reduce(Reduce { kind, keep_dims, noop_with_empty_axes: false })
}

fn resize() -> Resize {
    Resize {
        mode: ResizeMode::Nearest(NearestRounding::Floor),
        coordinates: CoordinateTransform::Asymmetric,
        axes: vec![],
        antialias: false,
        exclude_outside: false,
        extrapolation_value: 0.0,
        keep_aspect_ratio: AspectRatioPolicy::Stretch,
    }
}

/// A network and what it does.
type Network = (&'static str, Graph);

/// Returns a network of one image with the output that `build` returns.
fn network(what: &'static str, build: impl FnOnce(&mut Graph, ValueId) -> ValueId) -> Network {
    let (mut graph, x) = one_image();
    let y = build(&mut graph, x);
    graph.set_outputs(vec![y]);
    (what, graph)
}

fn independent() -> Vec<Network> {
    vec![
        network("a classifier", |g, x| {
            let conv = Conv {
                padding: Padding::Explicit(vec![1, 1, 1, 1]),
                strides: vec![],
                dilations: vec![],
                groups: 1,
            };
            let w = g.add_constant("w", wave(&[6, CHANNELS, 3, 3], 0.7));
            let map = g.then(Op::Conv(conv), &[x, w]);
            let map = g.then(Op::Unary(Unary::Relu), &[map]);
            let pooled = g.then(Op::GlobalPool(PoolKind::Average), &[map]);
            let shape = g.ints(&[1, -1]);
            let flat = g.then(reshape(), &[pooled, shape]);
            let w = g.add_constant("fc", wave(&[6, 7], 0.3));
            let b = g.add_constant("b", wave(&[1, 7], 0.9));
            let gemm = Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false };
            let scores = g.then(Op::Gemm(gemm), &[flat, w, b]);
            g.then(Op::Softmax(Softmax { axis: -1, flatten: false }), &[scores])
        }),
        network("merges images and channels, and takes them apart", |g, x| {
            let (to, back) = (g.ints(&[CHANNELS as i64, 15]), g.ints(&[1, CHANNELS as i64, 3, 5]));
            let merged = g.then(reshape(), &[x, to]);
            let merged = g.then(Op::Unary(Unary::Relu), &[merged]);
            g.then(reshape(), &[merged, back])
        }),
        network("a layer of tokens as a matrix product", |g, x| {
            let shape = g.ints(&[1, CHANNELS as i64, 15]);
            let rows = g.then(reshape(), &[x, shape]);
            let tokens = g.then(Op::Transpose { perm: vec![0, 2, 1] }, &[rows]);
            let shape = g.ints(&[-1, CHANNELS as i64]);
            let matrix = g.then(reshape(), &[tokens, shape]);
            let w = g.add_constant("w", wave(&[CHANNELS, 6], 0.7));
            let b = g.add_constant("b", wave(&[6], 0.9));
            let gemm = Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false };
            let hidden = g.then(Op::Gemm(gemm), &[matrix, w, b]);
            let hidden = g.then(Op::Unary(Unary::Gelu { tanh: false }), &[hidden]);
            let shape = g.ints(&[15, 2, 3]);
            let heads = g.then(reshape(), &[hidden, shape]);
            let scale = g.add_constant("scale", wave(&[1, 2, 1], 0.4));
            let heads = g.then(Op::Binary(Binary::Mul), &[heads, scale]);
            let heads = g.then(Op::Softmax(Softmax { axis: -1, flatten: false }), &[heads]);
            let shape = g.ints(&[15, 6]);
            let hidden = g.then(reshape(), &[heads, shape]);
            let w = g.add_constant("w2", wave(&[6, 2], 0.3));
            let projected = g.then(Op::MatMul, &[hidden, w]);
            let shape = g.ints(&[1, 3, 5, 2]);
            let map = g.then(reshape(), &[projected, shape]);
            g.then(Op::Transpose { perm: vec![0, 3, 1, 2] }, &[map])
        }),
        network("squeeze and excite", |g, x| {
            let axes = g.ints(&[2, 3]);
            let context = g.then(reduce(ReduceKind::Mean, false), &[x, axes]);
            let w = g.add_constant("w", wave(&[CHANNELS, CHANNELS], 0.7));
            let gate = g.then(Op::MatMul, &[context, w]);
            let gate = g.then(Op::Unary(Unary::Sigmoid), &[gate]);
            let shape = g.ints(&[1, CHANNELS as i64, 1, 1]);
            let gate = g.then(reshape(), &[gate, shape]);
            g.then(Op::Binary(Binary::Mul), &[x, gate])
        }),
        network("a maximum over a trailing axis, with images in the middle", |g, x| {
            let turned = g.then(Op::Transpose { perm: vec![2, 3, 0, 1] }, &[x]);
            let axes = g.ints(&[-1]);
            let column = g.then(Op::Unsqueeze, &[turned, axes]);
            let slopes = g.add_constant("a", wave(&[1, CHANNELS, 2], 0.7));
            let pieces = g.then(Op::Binary(Binary::Mul), &[column, slopes]);
            let most = g.then(reduce(ReduceKind::Max, false), &[pieces, axes]);
            g.then(Op::Transpose { perm: vec![2, 3, 0, 1] }, &[most])
        }),
        network("groups of channels and a shuffle", |g, x| {
            let shape = g.ints(&[1, 2, 2, 3, 5]);
            let groups = g.then(reshape(), &[x, shape]);
            let turned = g.then(Op::Transpose { perm: vec![0, 2, 1, 3, 4] }, &[groups]);
            let shape = g.ints(&[-1, CHANNELS as i64, 3, 5]);
            let shuffled = g.then(reshape(), &[turned, shape]);
            g.then(Op::Concat { axis: 1 }, &[x, shuffled])
        }),
        network("attention of positions to one another", |g, x| {
            let shape = g.ints(&[1, CHANNELS as i64, 15]);
            let rows = g.then(reshape(), &[x, shape]);
            let columns = g.then(Op::Transpose { perm: vec![0, 2, 1] }, &[rows]);
            let scores = g.then(Op::MatMul, &[columns, rows]);
            g.then(Op::Softmax(Softmax { axis: 2, flatten: false }), &[scores])
        }),
        network("slices, a resize to given sizes, a flattened map", |g, x| {
            let (start, end, axis) = (g.ints(&[0, 1]), g.ints(&[i64::MAX, 3]), g.ints(&[0, 1]));
            let part = g.then(Op::Slice, &[x, start, end, axis]);
            let sizes = g.ints(&[1, 2, 6, 10]);
            let large = g.add_value("large");
            g.add_node(Node {
                name: "resize".into(),
                op: Op::Resize(resize()),
                inputs: vec![Some(part), None, None, Some(sizes)],
                outputs: vec![Some(large)],
            });
            g.then(Op::Flatten { axis: 1 }, &[large])
        }),
        network("coefficients that do not depend on the image", |g, x| {
            let coefficients = g.add_constant("theta", wave(&[1, 4, CHANNELS], 0.7));
            g.then(Op::MaxAffine(MaxAffine { k: 2 }), &[x, coefficients])
        }),
        {
            let dims = vec![1.into(), CHANNELS.into(), Dim::symbol("H"), Dim::symbol("W")];
            let (mut g, x) = sized(dims);
            let sizes = g.then(Op::Shape { start: 0, end: None }, &[x]);
            let (first_two, open) = (g.ints(&[0, 1]), g.ints(&[-1]));
            let kept = g.then(Op::Gather { axis: 0 }, &[sizes, first_two]);
            let shape = g.then(Op::Concat { axis: 0 }, &[kept, open]);
            let y = g.then(reshape(), &[x, shape]);
            g.set_outputs(vec![y]);
            ("sizes that are computed", g)
        },
        network("the largest elements, and what lies at their places", |g, x| {
            let k = g.ints(&[2]);
            let (values, indices) = (g.add_value("values"), g.add_value("indices"));
            g.add_node(Node {
                name: "top".into(),
                op: Op::TopK(TopK { axis: 3, largest: true }),
                inputs: vec![Some(x), Some(k)],
                outputs: vec![Some(values), Some(indices)],
            });
            let y = g.then(Op::Unary(Unary::Neg), &[x]);
            let y = g.then(Op::GatherElements { axis: 3 }, &[y, indices]);
            let y = g.then(Op::Binary(Binary::Add), &[y, values]);
            let reduction = ScatterReduction::Add;
            g.then(Op::ScatterElements { axis: -1, reduction }, &[x, indices, y])
        }),
        network("cumulative sums", |g, x| {
            let axis = g.add_constant("axis", Tensor::scalar(1i64));
            g.then(Op::CumSum(CumSum { exclusive: false, reverse: true }), &[x, axis])
        }),
        network("constant positions of the first axes", |g, x| {
            let turned = g.then(Op::Transpose { perm: vec![2, 1, 0, 3] }, &[x]);
            let positions = Tensor::new(&[2, 2], vec![0i64, 1, 2, 3]).unwrap();
            let positions = g.add_constant("positions", positions);
            let read = g.then(Op::GatherNd { batch_dims: 0 }, &[turned, positions]);
            let twice = g.then(Op::Binary(Binary::Add), &[read, read]);
            let reduction = ScatterReduction::None;
            let y = g.then(Op::ScatterNd { reduction }, &[turned, positions, twice]);
            g.then(Op::Transpose { perm: vec![2, 0, 1, 3] }, &[y])
        }),
        network("samples at positions of each image", |g, x| {
            let w = g.add_constant("w", wave(&[2, CHANNELS, 1, 1], 0.7));
            let conv = || Conv {
                padding: Padding::Explicit(vec![]),
                strides: vec![],
                dilations: vec![],
                groups: 1,
            };
            let offset = g.then(Op::Conv(conv()), &[x, w]);
            let w = g.add_constant("w1", wave(&[3, CHANNELS, 1, 1], 0.3));
            let deformed = DeformConv { conv: conv(), offset_groups: 1 };
            let y = g.then(Op::DeformConv(deformed), &[x, w, offset]);
            let grid = g.then(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[offset]);
            let (mode, padding) = (SampleMode::Linear, SamplePadding::Border);
            let op = GridSample { mode, padding, align_corners: false };
            g.then(Op::GridSample(op), &[y, grid])
        }),
    ]
}

#[test]
fn a_batch_gives_the_bits_of_single_images() {
    for (what, fixed) in independent() {
        let mut freed = fixed.clone();
        assert_eq!(alone(&mut freed, free_batch), None, "{what}");
        let ty = freed.value(freed.inputs()[0]).input.clone().unwrap();
        assert_eq!(ty.dims[0].as_symbol(), Some("N"), "{what}");
        let x = wave(&[3, CHANNELS, 3, 5], 0.37);
        let together = reference::run(&freed, std::slice::from_ref(&x)).unwrap();
        let mut one_by_one = Vec::new();
        for image in x.as_f32().unwrap().chunks_exact(CHANNELS * 15) {
            let image = Tensor::new(&[1, CHANNELS, 3, 5], image.to_vec()).unwrap();
            let outputs = reference::run(&fixed, &[image]).unwrap();
            assert_eq!(outputs[0].shape()[1..], together[0].shape()[1..], "{what}");
            one_by_one.extend(outputs[0].as_f32().unwrap().iter().map(|x| x.to_bits()));
        }
        let together: Vec<u32> =
            together[0].as_f32().unwrap().iter().map(|x| x.to_bits()).collect();
        assert_eq!(together, one_by_one, "{what}");
    }
}

fn mixing() -> Vec<Network> {
    let softmax = |axis, flatten| Op::Softmax(Softmax { axis, flatten });
    let tokens = |g: &mut Graph, x| {
        let turned = g.then(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[x]);
        let shape = g.ints(&[15, CHANNELS as i64]);
        g.then(reshape(), &[turned, shape])
    };
    let apart = |g: &mut Graph, x| {
        let shape = g.ints(&[1, 15, CHANNELS as i64]);
        g.then(reshape(), &[x, shape])
    };
    vec![
        network("adds a constant of every token to tokens of all images", |g, x| {
            let x = tokens(g, x);
            let places = g.add_constant("places", wave(&[15, 1], 0.7));
            let sum = g.then(Op::Binary(Binary::Add), &[x, places]);
            apart(g, sum)
        }),
        network("normalises over the tokens of all images", |g, x| {
            let x = tokens(g, x);
            let shares = g.then(softmax(0, false), &[x]);
            apart(g, shares)
        }),
        network("sums over the tokens of all images", |g, x| {
            let x = tokens(g, x);
            let w = g.add_constant("w", wave(&[15, 15], 0.7));
            let gemm = Gemm { alpha: 1.0, beta: 1.0, trans_a: true, trans_b: false };
            let sums = g.then(Op::Gemm(gemm), &[x, w]);
            let shape = g.ints(&[1, CHANNELS as i64, 15]);
            g.then(reshape(), &[sums, shape])
        }),
        network("adds a bias of every token", |g, x| {
            let x = tokens(g, x);
            let w = g.add_constant("w", wave(&[CHANNELS, CHANNELS], 0.7));
            let b = g.add_constant("b", wave(&[15, CHANNELS], 0.7));
            let gemm = Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false };
            let sums = g.then(Op::Gemm(gemm), &[x, w, b]);
            apart(g, sums)
        }),
        network("sums over the images", |g, x| {
            let turned = g.then(Op::Transpose { perm: vec![1, 2, 3, 0] }, &[x]);
            let w = g.add_constant("w", wave(&[1, 2], 0.7));
            let sums = g.then(Op::MatMul, &[turned, w]);
            let shape = g.ints(&[1, -1]);
            g.then(reshape(), &[sums, shape])
        }),
        network("sums over the images in a transposed product", |g, x| {
            let flat = g.then(Op::Flatten { axis: 1 }, &[x]);
            let w = g.add_constant("w", wave(&[1, 2], 0.7));
            let gemm = Gemm { alpha: 1.0, beta: 1.0, trans_a: true, trans_b: false };
            g.then(Op::Gemm(gemm), &[flat, w])
        }),
        network("merges images and channels", |g, x| {
            let shape = g.ints(&[CHANNELS as i64, 3, 5]);
            let merged = g.then(reshape(), &[x, shape]);
            g.then(Op::Unary(Unary::Relu), &[merged])
        }),
        network("normalises over the images", |g, x| g.then(softmax(0, false), &[x])),
        network("sums over the images cumulatively", |g, x| {
            let axis = g.add_constant("axis", Tensor::scalar(0i64));
            g.then(Op::CumSum(CumSum { exclusive: true, reverse: false }), &[x, axis])
        }),
        network("selects the largest of all images", |g, x| {
            let k = g.ints(&[1]);
            g.then(Op::TopK(TopK { axis: 0, largest: true }), &[x, k])
        }),
        network("gathers at constant indices, which are those of one image", |g, x| {
            let indices = Tensor::new(&[1, 1, 1, 2], vec![1i64, 0]).unwrap();
            let indices = g.add_constant("i", indices);
            g.then(Op::GatherElements { axis: 3 }, &[x, indices])
        }),
        network("gathers at positions of images", |g, x| {
            let positions = Tensor::new(&[1, 2], vec![0i64, 1]).unwrap();
            let positions = g.add_constant("i", positions);
            g.then(Op::GatherNd { batch_dims: 0 }, &[x, positions])
        }),
        network("samples every image at the positions of one", |g, x| {
            let grid = g.add_constant("grid", wave(&[1, 2, 2, 2], 0.3));
            let (mode, padding) = (SampleMode::Linear, SamplePadding::Border);
            let op = GridSample { mode, padding, align_corners: false };
            g.then(Op::GridSample(op), &[x, grid])
        }),
        network("lists positions of all images", |g, x| {
            let positions = g.then(Op::NonZero, &[x]);
            g.then(Op::Cast { to: DType::F32 }, &[positions])
        }),
        network("normalises over everything", |g, x| g.then(softmax(0, true), &[x])),
        network("gives the images last", |g, x| {
            g.then(Op::Transpose { perm: vec![1, 2, 3, 0] }, &[x])
        }),
        network("joins images", |g, x| {
            let both = g.then(Op::Concat { axis: 0 }, &[x, x]);
            let axes = g.ints(&[0]);
            g.then(reduce(ReduceKind::Mean, true), &[both, axes])
        }),
        network("reduces the images", |g, x| {
            let axes = g.ints(&[0]);
            g.then(reduce(ReduceKind::Mean, true), &[x, axes])
        }),
        network("reduces everything", |g, x| {
            let most = g.then(reduce(ReduceKind::Max, true), &[x]);
            g.then(Op::Binary(Binary::Div), &[x, most])
        }),
        network("multiplies images with each other", |g, x| {
            let flat = g.then(Op::Flatten { axis: 1 }, &[x]);
            let turned = g.then(Op::Transpose { perm: vec![1, 0] }, &[flat]);
            g.then(Op::MatMul, &[flat, turned])
        }),
        network("has something else along the axis of the images", |g, x| {
            let three = g.add_constant("three", wave(&[3, 1, 1, 1], 0.7));
            g.then(Op::Variadic(Variadic::Max), &[x, three])
        }),
        network("broadcasts images against channels", |g, x| {
            let (first, axes) = (g.ints(&[0]), g.ints(&[1]));
            let channel = g.then(Op::Gather { axis: 1 }, &[x, first]);
            let rows = g.then(Op::Squeeze, &[channel, axes]);
            g.then(Op::Binary(Binary::Add), &[x, rows])
        }),
        network("takes away every axis of size 1", |g, x| {
            let pooled = g.then(Op::GlobalPool(PoolKind::Average), &[x]);
            let scores = g.then(Op::Squeeze, &[pooled]);
            let axes = g.ints(&[0]);
            g.then(Op::Unsqueeze, &[scores, axes])
        }),
        network("picks the first image", |g, x| {
            let (start, end, axis) = (g.ints(&[0]), g.ints(&[1]), g.ints(&[0]));
            g.then(Op::Slice, &[x, start, end, axis])
        }),
        network("adds empty images", |g, x| {
            let amounts = g.ints(&[1, 0, 0, 0, -1, 0, 0, 0]);
            g.then(Op::Pad { mode: crate::graph::PadMode::Constant }, &[x, amounts])
        }),
        network("computes a weight from the image", |g, x| {
            let conv = Conv {
                padding: Padding::Explicit(vec![]),
                strides: vec![],
                dilations: vec![],
                groups: 1,
            };
            let weight = g.then(Op::GlobalPool(PoolKind::Average), &[x]);
            g.then(Op::Conv(conv), &[x, weight])
        }),
        network("gives the same for every image", |g, x| {
            let sizes = g.then(Op::Shape { start: 1, end: None }, &[x]);
            g.then(Op::Cast { to: DType::F32 }, &[sizes])
        }),
    ]
}

#[test]
fn what_may_mix_images_stays_as_it_is() {
    for (what, graph) in mixing() {
        let mut left = graph.clone();
        let fixed = alone(&mut left, free_batch);
        let fixed = fixed.unwrap_or_else(|| panic!("a network that {what} was freed"));
        assert!(!fixed.name.is_empty() && !fixed.reason.is_empty(), "{what}: {fixed:?}");
        let ty = left.value(left.inputs()[0]).input.clone().unwrap();
        assert_eq!(ty.dims[0], 1.into(), "{what}");
        assert_eq!(left.nodes().len(), graph.nodes().len(), "{what}");
    }
}

#[test]
fn all_inputs_are_freed_or_none() {
    let (mut g, x) = one_image();
    let other = |batch: usize| TensorType {
        dtype: DType::F32,
        dims: vec![batch.into(), CHANNELS.into(), 3.into(), 5.into()],
    };
    let u = g.add_input("u", other(1));
    let y = g.then(Op::Binary(Binary::Add), &[x, u]);
    g.set_outputs(vec![y]);
    let mut eight = g.clone();
    eight.value_mut(u).input = Some(other(8));
    assert_eq!(alone(&mut eight, free_batch).unwrap().name, "u");
    assert_eq!(alone(&mut g, free_batch), None);
    let first = |id| g.value(id).input.as_ref().unwrap().dims[0].clone();
    assert_eq!((first(x), first(u)), (Dim::symbol("N"), Dim::symbol("N")));
}

#[test]
fn the_batch_gets_a_name_of_its_own() {
    let (mut g, x) = sized(vec![1.into(), 3.into(), Dim::symbol("N"), Dim::symbol("N2")]);
    let y = g.then(Op::Unary(Unary::Relu), &[x]);
    g.set_outputs(vec![y]);
    assert_eq!(alone(&mut g, free_batch), None);
    assert_eq!(g.value(x).input.as_ref().unwrap().dims[0], Dim::symbol("N3"));
}
