//! Networks with matrix products that are no layers, and networks that mix tokens: equal to the
//! reference, and the same to the last bit for an image alone, anywhere in a batch of any size, and on
//! any number of threads.

use std::sync::Arc;

use dyrelu::graph::{
    Binary, Conv, Dim, Gemm, Graph, Node, Op, Padding, Softmax, TensorType, Unary, ValueId,
};
use dyrelu::{DType, Model, Options, Session, Tensor, reference};

/// Sizes of batches, around those at which the `gemm` crate changes its algorithm.
const BATCHES: [usize; 9] = [1, 2, 3, 7, 16, 17, 64, 65, 130];

fn wave(shape: &[usize], frequency: f32) -> Tensor {
    let count = shape.iter().product();
    let data: Vec<f32> = (0..count).map(|i: usize| (i as f32 * frequency).sin()).collect();
    Tensor::new(shape, data).unwrap()
}

struct Builder {
    graph: Graph,
    /// The sizes of an image.
    image: Vec<usize>,
    /// The number of values so far, for their names.
    count: usize,
}

impl Builder {
    /// A graph with the input `x`, a free batch of images.
    fn new(name: &str, image: &[usize]) -> (Self, ValueId) {
        let mut graph = Graph::new(name);
        let sizes = image.iter().map(|&size| Dim::from(size));
        let dims = [Dim::symbol("N")].into_iter().chain(sizes).collect();
        let x = graph.add_input("x", TensorType { dtype: DType::F32, dims });
        (Builder { graph, image: image.to_vec(), count: 0 }, x)
    }

    fn apply(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        self.count += 1;
        self.graph.apply(format!("v{}", self.count), op, inputs)
    }

    fn weight(&mut self, shape: &[usize]) -> ValueId {
        self.count += 1;
        let tensor = wave(shape, 0.61 + self.count as f32);
        self.graph.add_constant(format!("w{}", self.count), tensor)
    }

    fn ints(&mut self, numbers: &[i64]) -> ValueId {
        self.count += 1;
        let name = format!("s{}", self.count);
        self.graph.add_constant(name, Tensor::vector(numbers.to_vec()))
    }

    fn reshape(&mut self, x: ValueId, shape: &[i64]) -> ValueId {
        let shape = self.ints(shape);
        self.apply(Op::Reshape { allow_zero: false }, &[x, shape])
    }

    fn transpose(&mut self, x: ValueId, perm: &[usize]) -> ValueId {
        self.apply(Op::Transpose { perm: perm.to_vec() }, &[x])
    }

    fn add(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.apply(Op::Binary(Binary::Add), &[a, b])
    }

    fn split(&mut self, x: ValueId, axis: i64, sizes: &[i64]) -> Vec<ValueId> {
        let sizes = self.ints(sizes);
        let count = self.graph.constant(sizes).unwrap().len();
        let outputs: Vec<ValueId> = (0..count)
            .map(|_| {
                self.count += 1;
                self.graph.add_value(format!("v{}", self.count))
            })
            .collect();
        self.count += 1;
        let name = format!("v{}", self.count);
        let inputs = vec![Some(x), Some(sizes)];
        let node_outputs = outputs.iter().copied().map(Some).collect();
        self.graph.add_node(Node { name, op: Op::Split { axis }, inputs, outputs: node_outputs });
        outputs
    }

    /// A pointwise convolution, so that its output is a map.
    fn pointwise(&mut self, x: ValueId, channels: usize, outputs: usize) -> ValueId {
        let weight = self.weight(&[outputs, channels, 1, 1]);
        let (padding, ones) = (Padding::Explicit(vec![]), vec![]);
        let conv = Conv { padding, strides: ones.clone(), dilations: ones, groups: 1 };
        self.apply(Op::Conv(conv), &[x, weight])
    }

    /// A fully connected layer of the last axis.
    fn linear(&mut self, x: ValueId, channels: usize, outputs: usize) -> ValueId {
        let (weight, bias) = (self.weight(&[channels, outputs]), self.weight(&[outputs]));
        let product = self.apply(Op::MatMul, &[x, weight]);
        self.add(bias, product)
    }

    fn layer_norm(&mut self, x: ValueId, channels: usize) -> ValueId {
        let (scale, bias) = (self.weight(&[channels]), self.weight(&[channels]));
        self.apply(Op::LayerNormalization { axis: -1, epsilon: 1e-5 }, &[x, scale, bias])
    }

    /// Attention with two heads of 4 channels among `count` tokens, as PyTorch exports it. Each of
    /// `biases` is added to the scores.
    fn attention(
        &mut self,
        x: ValueId,
        count: i64,
        biases: impl FnOnce(&mut Self, ValueId) -> ValueId,
    ) -> ValueId {
        let qkv = self.linear(x, 8, 24);
        let parts = self.reshape(qkv, &[-1, count, 3, 2, 4]);
        let parts = self.transpose(parts, &[2, 0, 3, 1, 4]);
        let parts = self.split(parts, 0, &[1, 1, 1]);
        let zero = self.ints(&[0]);
        let [q, k, v] = [0, 1, 2].map(|i| self.apply(Op::Squeeze, &[parts[i], zero]));
        self.count += 1;
        let scale = self.graph.add_constant(format!("w{}", self.count), Tensor::scalar(0.5f32));
        let q = self.apply(Op::Binary(Binary::Mul), &[q, scale]);
        let k = self.transpose(k, &[0, 1, 3, 2]);
        let scores = self.apply(Op::MatMul, &[q, k]);
        let scores = biases(self, scores);
        let weights = self.apply(Op::Softmax(Softmax { axis: -1, flatten: false }), &[scores]);
        let y = self.apply(Op::MatMul, &[weights, v]);
        let y = self.transpose(y, &[0, 2, 1, 3]);
        self.reshape(y, &[-1, count, 8])
    }

    /// `x` with the first `by` entries of an axis at its end.
    fn roll(&mut self, x: ValueId, axis: i64, by: i64) -> ValueId {
        let (start, by, axes) = (self.ints(&[0]), self.ints(&[by]), self.ints(&[axis]));
        let end = self.ints(&[i64::MAX]);
        let rest = self.apply(Op::Slice, &[x, by, end, axes]);
        let first = self.apply(Op::Slice, &[x, start, by, axes]);
        self.apply(Op::Concat { axis }, &[rest, first])
    }

    /// Checks that the network has `products` steps that are matrix products, and its results.
    fn check(self, output: ValueId, products: usize) {
        self.check_steps(output, &[("product", products)]);
    }

    /// Checks how many steps each of some kernels computes, and the results of the network.
    fn check_steps(mut self, output: ValueId, counts: &[(&str, usize)]) {
        self.graph.set_outputs(vec![output]);
        self.graph.validate().unwrap();
        let name = self.graph.name.clone();
        let model = Model::from_graph(self.graph, Options::default()).unwrap();
        let steps = model.plan().steps();
        for &(kernel, expected) in counts {
            let found = steps.iter().filter(|step| step.kind.name() == kernel).count();
            let list: Vec<_> = steps.iter().map(|step| (step.kind.name(), &step.op)).collect();
            assert_eq!(found, expected, "steps of {name} with the kernel {kernel:?}: {list:?}");
        }

        let images = BATCHES[BATCHES.len() - 1];
        let all = wave(&[&[images], self.image.as_slice()].concat(), 0.37);
        let first = |batch: usize| {
            let len = batch * self.image.iter().product::<usize>();
            let shape = [&[batch], self.image.as_slice()].concat();
            Tensor::new(&shape, all.as_f32().unwrap()[..len].to_vec()).unwrap()
        };
        let few = first(3);
        let expected = reference::run(model.graph(), std::slice::from_ref(&few)).unwrap().remove(0);
        let scale = expected.as_f32().unwrap().iter().fold(1f32, |scale, x| scale.max(x.abs()));
        let whole = run(&model, 1, &all);
        let (found, expected) = (&whole[..expected.len()], expected.as_f32().unwrap());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= 1e-5 * scale, "{name}: {found}, not {expected}");
        }
        for batch in BATCHES {
            for threads in [1, 2, 3] {
                let part = run(&model, threads, &first(batch));
                assert_eq!(
                    bits(&part),
                    bits(&whole[..part.len()]),
                    "{name}: {batch} images on {threads} threads"
                );
            }
        }
    }
}

fn run(model: &Arc<Model>, threads: usize, x: &Tensor) -> Vec<f32> {
    let mut session = Session::with_threads(model, threads).unwrap();
    let output = session.run(std::slice::from_ref(x)).unwrap().remove(0);
    assert_eq!(output.shape()[0], x.shape()[0]);
    output.as_f32().unwrap().to_vec()
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn layers_written_as_products_and_sums() {
    let (mut b, x) = Builder::new("layers", &[700]);
    let (w1, c1, w2) = (b.weight(&[700, 33]), b.weight(&[33]), b.weight(&[33, 1]));
    let product = b.apply(Op::MatMul, &[x, w1]);
    let sum = b.apply(Op::Binary(Binary::Add), &[product, c1]);
    let hidden = b.apply(Op::Unary(Unary::Relu), &[sum]);
    let y = b.apply(Op::MatMul, &[hidden, w2]);
    b.check(y, 0);
}

/// Products of two feature maps, where matrices have the positions of an image on either side.
#[test]
fn attention_among_positions() {
    let (mut b, x) = Builder::new("attention", &[12, 3, 5]);
    let tokens = b.reshape(x, &[0, 12, 15]);
    let rows = b.apply(Op::Transpose { perm: vec![0, 2, 1] }, &[tokens]);
    let (wq, wk) = (b.weight(&[12, 4]), b.weight(&[12, 4]));
    let query = b.apply(Op::MatMul, &[rows, wq]);
    let key = b.apply(Op::MatMul, &[rows, wk]);
    let key = b.apply(Op::Transpose { perm: vec![0, 2, 1] }, &[key]);
    let scores = b.apply(Op::MatMul, &[query, key]);
    let weights = b.apply(Op::Softmax(Softmax { axis: -1, flatten: false }), &[scores]);
    let y = b.apply(Op::MatMul, &[weights, rows]);
    b.check(y, 2);
}

/// The images of a batch are the columns of the products.
#[test]
fn batches_in_columns() {
    let (mut b, x) = Builder::new("columns", &[530]);
    let columns = b.apply(Op::Transpose { perm: vec![1, 0] }, &[x]);
    let w = b.weight(&[6, 530]);
    let y = b.apply(Op::MatMul, &[w, columns]);
    let y = b.apply(Op::Transpose { perm: vec![1, 0] }, &[y]);
    b.check(y, 1);
}

#[test]
fn general_products_with_factors() {
    for (trans_b, alpha, beta) in [(true, 0.5, -1.5), (false, 0.25, 2.0)] {
        let (mut b, x) = Builder::new("gemm", &[40]);
        let w = b.weight(if trans_b { &[9, 40] } else { &[40, 9] });
        let c = b.weight(&[9]);
        let gemm = Gemm { alpha, beta, trans_a: false, trans_b };
        let y = b.apply(Op::Gemm(gemm), &[x, w, c]);
        b.check(y, 1);
    }
    // Transposed on the left: the images are the columns of the stored matrix.
    let (mut b, x) = Builder::new("gemm of columns", &[40]);
    let columns = b.apply(Op::Transpose { perm: vec![1, 0] }, &[x]);
    let w = b.weight(&[9, 40]);
    let gemm = Gemm { alpha: 1.0, beta: 1.0, trans_a: true, trans_b: true };
    let y = b.apply(Op::Gemm(gemm), &[columns, w]);
    b.check(y, 1);
}

/// A block of ViT, after the map was made to tokens, with a scale per channel.
#[test]
fn tokens_stay_maps() {
    let (mut b, x) = Builder::new("tokens", &[3, 3, 5]);
    let map = b.pointwise(x, 3, 8);
    let rows = b.reshape(map, &[0, 8, -1]);
    let tokens = b.transpose(rows, &[0, 2, 1]);
    let positions = b.weight(&[1, 15, 8]);
    let tokens = b.add(tokens, positions);
    let normal = b.layer_norm(tokens, 8);
    let mixed = b.attention(normal, 15, |_, scores| scores);
    let mixed = b.linear(mixed, 8, 8);
    let scale = b.weight(&[8]);
    let mixed = b.apply(Op::Binary(Binary::Mul), &[mixed, scale]);
    let tokens = b.add(tokens, mixed);
    let normal = b.layer_norm(tokens, 8);
    let hidden = b.linear(normal, 8, 20);
    let hidden = b.apply(Op::Unary(Unary::Gelu { tanh: false }), &[hidden]);
    let hidden = b.linear(hidden, 20, 8);
    let y = b.add(tokens, hidden);
    b.check_steps(y, &[("general", 0), ("product", 0), ("heads", 1), ("layer norm", 2)]);
}

/// The heads of EfficientFormer are those of queries, keys and values together, with a bias.
#[test]
fn heads_of_interleaved_channels() {
    let (mut b, x) = Builder::new("interleaved", &[3, 2, 3]);
    let map = b.pointwise(x, 3, 8);
    let rows = b.reshape(map, &[0, 8, 6]);
    let tokens = b.transpose(rows, &[0, 2, 1]);
    let qkv = b.linear(tokens, 8, 2 * (4 + 4 + 7));
    let parts = b.reshape(qkv, &[0, 6, 2, -1]);
    let parts = b.transpose(parts, &[0, 2, 1, 3]);
    let parts = b.split(parts, -1, &[4, 4, 7]);
    let k = b.transpose(parts[1], &[0, 1, 3, 2]);
    let scores = b.apply(Op::MatMul, &[parts[0], k]);
    let bias = b.weight(&[2, 6, 6]);
    let scores = b.add(scores, bias);
    let weights = b.apply(Op::Softmax(Softmax { axis: 3, flatten: false }), &[scores]);
    let y = b.apply(Op::MatMul, &[weights, parts[2]]);
    let y = b.transpose(y, &[0, 2, 1, 3]);
    let y = b.reshape(y, &[-1, 6, 14]);
    b.check_steps(y, &[("general", 0), ("product", 0), ("heads", 1)]);
}

/// Swin Transformer's shifted windows, and the patches that it merges.
#[test]
fn shifted_windows_are_pixels_in_another_order() {
    let (mut b, x) = Builder::new("windows", &[3, 4, 6]);
    let map = b.pointwise(x, 3, 8);
    let map = b.transpose(map, &[0, 2, 3, 1]);
    let normal = b.layer_norm(map, 8);
    let shifted = b.roll(normal, 1, 1);
    let shifted = b.roll(shifted, 2, 1);
    let windows = b.reshape(shifted, &[-1, 2, 2, 3, 2, 8]);
    let windows = b.transpose(windows, &[0, 1, 3, 2, 4, 5]);
    let windows = b.reshape(windows, &[-1, 2, 2, 8]);
    let windows = b.reshape(windows, &[-1, 4, 8]);
    let (bias, mask) = (b.weight(&[1, 2, 4, 4]), b.weight(&[1, 6, 1, 4, 4]));
    let mixed = b.attention(windows, 4, |b, scores| {
        let scores = b.add(scores, bias);
        let scores = b.reshape(scores, &[-1, 6, 2, 4, 4]);
        let scores = b.add(scores, mask);
        b.reshape(scores, &[-1, 2, 4, 4])
    });
    let mixed = b.linear(mixed, 8, 8);
    let mixed = b.reshape(mixed, &[-1, 2, 3, 2, 2, 8]);
    let mixed = b.transpose(mixed, &[0, 1, 3, 2, 4, 5]);
    let mixed = b.reshape(mixed, &[-1, 4, 6, 8]);
    let mixed = b.roll(mixed, 1, -1);
    let mixed = b.roll(mixed, 2, -1);
    let map = b.add(map, mixed);
    let patches = b.reshape(map, &[-1, 2, 2, 3, 2, 8]);
    let patches = b.transpose(patches, &[0, 1, 3, 4, 2, 5]);
    let patches = b.reshape(patches, &[-1, 2, 3, 32]);
    let y = b.linear(patches, 32, 16);
    let counts = [("general", 0), ("product", 0), ("heads", 1), ("pixels", 3)];
    b.check_steps(y, &counts);
}

/// MobileViT's patches: the images of the attention are the positions within patches.
#[test]
fn positions_within_patches_become_images() {
    let (mut b, x) = Builder::new("patches", &[3, 4, 6]);
    let map = b.pointwise(x, 3, 8);
    let patches = b.reshape(map, &[-1, 2, 3, 2]);
    let patches = b.transpose(patches, &[0, 2, 1, 3]);
    let patches = b.reshape(patches, &[-1, 8, 6, 4]);
    let patches = b.transpose(patches, &[0, 3, 2, 1]);
    let tokens = b.reshape(patches, &[-1, 6, 8]);
    let tokens = b.attention(tokens, 6, |_, scores| scores);
    let patches = b.reshape(tokens, &[-1, 4, 6, 8]);
    let patches = b.transpose(patches, &[0, 3, 2, 1]);
    let patches = b.reshape(patches, &[-1, 3, 2, 2]);
    let patches = b.transpose(patches, &[0, 2, 1, 3]);
    let map = b.reshape(patches, &[-1, 8, 4, 6]);
    let y = b.pointwise(map, 8, 5);
    let counts = [("general", 0), ("product", 0), ("heads", 1), ("pixels", 2)];
    b.check_steps(y, &counts);
}
