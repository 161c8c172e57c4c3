//! Networks with matrix products that are no layers: equal to the reference, and the same to the
//! last bit for an image alone, anywhere in a batch of any size, and on any number of threads.

use std::sync::Arc;

use dyrelu::graph::{Binary, Dim, Gemm, Graph, Op, Softmax, TensorType, Unary, ValueId};
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

    fn reshape(&mut self, x: ValueId, shape: &[i64]) -> ValueId {
        self.count += 1;
        let name = format!("s{}", self.count);
        let shape = self.graph.add_constant(name, Tensor::vector(shape.to_vec()));
        self.apply(Op::Reshape { allow_zero: false }, &[x, shape])
    }

    /// Checks that the network has `products` steps that are matrix products, and its results.
    fn check(mut self, output: ValueId, products: usize) {
        self.graph.set_outputs(vec![output]);
        self.graph.validate().unwrap();
        let name = self.graph.name.clone();
        let model = Model::from_graph(self.graph, Options::default()).unwrap();
        let steps = model.plan().steps();
        let found = steps.iter().filter(|step| step.kind.name() == "product").count();
        assert_eq!(found, products, "products of {name}");

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
    b.check(y, 2);
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
    b.check(y, 4);
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
