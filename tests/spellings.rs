//! Activations with computed coefficients, in spellings that no module of the dialects has: each is one
//! activation, which the engine and the reference compute as the nodes of the file say.

use dyrelu::graph::{
    Binary, Conv, Dim, Gemm, Graph, MaxAffine, Node, Op, Padding, PoolKind, Reduce, ReduceKind,
    Scalar, ScatterReduction, Softmax, TensorType, Unary, ValueId, Variadic,
};
use dyrelu::{DType, Model, Options, Session, Tensor, reference};

const CHANNELS: usize = 5;
const SIDES: [usize; 2] = [3, 7];

fn wave(shape: &[usize], frequency: f32) -> Tensor {
    let count = shape.iter().product();
    Tensor::new(shape, (0..count).map(|i: usize| (1.0 + i as f32 * frequency).sin()).collect())
        .unwrap()
}

/// A network that is being built. The input `x` is `[N, CHANNELS, 3, 7]`.
struct Net {
    graph: Graph,
    x: ValueId,
}

impl Net {
    fn new() -> Self {
        let mut graph = Graph::new("spelling");
        let [height, width] = SIDES;
        let dims = vec![Dim::symbol("N"), CHANNELS.into(), height.into(), width.into()];
        let x = graph.add_input("x", TensorType { dtype: DType::F32, dims });
        Net { graph, x }
    }

    fn name(&self) -> String {
        format!("v{}", self.graph.values().len())
    }

    fn constant(&mut self, tensor: Tensor) -> ValueId {
        self.graph.add_constant(self.name(), tensor)
    }

    fn number(&mut self, number: f32) -> ValueId {
        self.constant(Tensor::scalar(number))
    }

    fn integers(&mut self, integers: &[i64]) -> ValueId {
        self.constant(Tensor::vector(integers.to_vec()))
    }

    fn apply(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        self.graph.apply(self.name(), op, inputs)
    }

    fn binary(&mut self, op: Binary, a: ValueId, b: ValueId) -> ValueId {
        self.apply(Op::Binary(op), &[a, b])
    }

    fn mul(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(Binary::Mul, a, b)
    }

    fn add(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(Binary::Add, a, b)
    }

    fn unary(&mut self, op: Unary, x: ValueId) -> ValueId {
        self.apply(Op::Unary(op), &[x])
    }

    fn max(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.apply(Op::Variadic(Variadic::Max), &[a, b])
    }

    fn min(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.apply(Op::Variadic(Variadic::Min), &[a, b])
    }

    fn reshape(&mut self, x: ValueId, shape: &[i64]) -> ValueId {
        let shape = self.integers(shape);
        self.apply(Op::Reshape { allow_zero: false }, &[x, shape])
    }

    fn layer(&mut self, x: ValueId, from: usize, to: usize) -> ValueId {
        let weight = self.constant(wave(&[to, from], 0.7));
        let bias = self.constant(wave(&[to], 0.3));
        let gemm = Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true };
        self.apply(Op::Gemm(gemm), &[x, weight, bias])
    }

    fn split(&mut self, x: ValueId, parts: usize) -> Vec<ValueId> {
        let name = self.name();
        let parts: Vec<ValueId> =
            (0..parts).map(|i| self.graph.add_value(format!("{name}.{i}"))).collect();
        let outputs = parts.iter().map(|&part| Some(part)).collect();
        let inputs = vec![Some(x)];
        self.graph.add_node(Node { name, op: Op::Split { axis: 1 }, inputs, outputs });
        parts
    }

    /// Returns `count` coefficients `[N, CHANNELS, 1, 1]` from -1 to 1.
    fn coefficients(&mut self, count: usize) -> Vec<ValueId> {
        let theta = self.sigmoids(count);
        let (two, one) = (self.number(2.0), self.number(1.0));
        let theta = self.mul(theta, two);
        let theta = self.binary(Binary::Sub, theta, one);
        let theta = self.reshape(theta, &[-1, (count * CHANNELS) as i64, 1, 1]);
        self.split(theta, count)
    }

    /// Returns a coefficient `[N, CHANNELS, 1, 1]` from 0 to 1.
    fn gate(&mut self) -> ValueId {
        let theta = self.sigmoids(1);
        self.reshape(theta, &[-1, CHANNELS as i64, 1, 1])
    }

    /// Returns `count` numbers from 0 to 1 for each channel, `[N, count * CHANNELS]`.
    fn sigmoids(&mut self, count: usize) -> ValueId {
        let pooled = self.apply(Op::GlobalPool(PoolKind::Average), &[self.x]);
        let context = self.apply(Op::Flatten { axis: 1 }, &[pooled]);
        let hidden = self.layer(context, CHANNELS, 3);
        let hidden = self.unary(Unary::Relu, hidden);
        let theta = self.layer(hidden, 3, count * CHANNELS);
        self.unary(Unary::Sigmoid, theta)
    }

    /// Returns the pieces `p = a_1 x + b_1` and `q = a_2 x + b_2`.
    fn pieces(&mut self) -> [ValueId; 2] {
        let [a, b, c, d]: [ValueId; 4] = self.coefficients(4).try_into().unwrap();
        [(a, b), (c, d)].map(|(a, b)| {
            let product = self.mul(self.x, a);
            self.add(product, b)
        })
    }

    /// Returns the attention of DY-ReLU-C as `[N, 1, H * W]`, before its minimum with 1.
    fn shares(&mut self) -> ValueId {
        let weight = self.constant(wave(&[1, CHANNELS, 1, 1], 0.9));
        let conv = Conv {
            padding: Padding::Explicit(vec![]),
            strides: vec![],
            dilations: vec![],
            groups: 1,
        };
        let z = self.apply(Op::Conv(conv), &[self.x, weight]);
        let positions: usize = SIDES.iter().product();
        let z = self.reshape(z, &[0, 1, positions as i64]);
        let shares = self.apply(Op::Softmax(Softmax { axis: -1, flatten: false }), &[z]);
        let gamma = self.number(positions as f32 / 3.0);
        self.mul(shares, gamma)
    }

    /// Returns the attention of DY-ReLU-C as `[N, 1, H, W]`.
    fn attention(&mut self) -> ValueId {
        let (shares, one) = (self.shares(), self.number(1.0));
        let pi = self.min(shares, one);
        self.reshape(pi, &[0, 1, SIDES[0] as i64, SIDES[1] as i64])
    }

    /// As [`check`](Self::check). A hyperfunction computes the coefficients.
    fn check_with_hyperfunction(mut self, output: ValueId, form: &str, k: usize) {
        self.graph.set_outputs(vec![output]);
        let model = Model::from_graph(self.graph.clone(), Options::default()).unwrap();
        let found = &model.report().dynamic_activations;
        assert!(found.iter().all(|activation| activation.squash.is_some()), "{found:?}");
        self.check(output, form, k);
    }

    /// Checks that the network has the given dynamic activations and nothing that is not recognised,
    /// and that the engine and the reference give what the nodes say.
    fn check(mut self, output: ValueId, form: &str, k: usize) {
        self.graph.set_outputs(vec![output]);
        let [height, width] = SIDES;
        let x = wave(&[2, CHANNELS, height, width], 0.37);
        let x = Tensor::new(x.shape(), x.as_f32().unwrap().iter().map(|x| 3.0 * x).collect());
        let x = [x.unwrap()];
        let expected = reference::run(&self.graph, &x).unwrap();
        let model = Model::from_graph(self.graph, Options::default().full_precision(true)).unwrap();
        let report = model.report();
        let found: Vec<_> =
            report.dynamic_activations.iter().map(|a| (a.form, a.k, a.channels)).collect();
        assert_eq!(found, [(form, k, CHANNELS)]);
        assert_eq!(report.unrecognised, []);
        // Where the coefficients are computed by nodes of their own, the hidden layer is listed.
        assert!(report.static_activations.iter().all(|a| a.channels != CHANNELS));
        let optimised = reference::run(model.graph(), &x).unwrap();
        let results = Session::new(&model).run(&x).unwrap();
        for (executor, found) in [("reference", &optimised[0]), ("engine", &results[0])] {
            let pairs = found.as_f32().unwrap().iter().zip(expected[0].as_f32().unwrap());
            for (i, (found, expected)) in pairs.enumerate() {
                assert!((found - expected).abs() < 1e-5, "{executor} {i}: {found}, {expected}");
            }
        }
    }
}

#[test]
fn coefficients_that_were_expanded_or_tiled() {
    let mut net = Net::new();
    let parts = net.coefficients(4);
    let shape = net.apply(Op::Shape { start: 0, end: None }, &[net.x]);
    let repeats = net.integers(&[1, 1, SIDES[0] as i64, SIDES[1] as i64]);
    let parts: Vec<ValueId> = parts
        .into_iter()
        .enumerate()
        .map(|(i, part)| match i {
            0 | 3 => net.apply(Op::Expand, &[part, shape]),
            _ => net.apply(Op::Tile, &[part, repeats]),
        })
        .collect();
    let [p, q] = [0, 2].map(|i| {
        let product = net.mul(net.x, parts[i]);
        net.add(product, parts[i + 1])
    });
    let y = net.max(p, q);
    net.check(y, "B", 2);
}

#[test]
fn a_gate_that_was_expanded() {
    let mut net = Net::new();
    let pooled = net.apply(Op::GlobalPool(PoolKind::Average), &[net.x]);
    let context = net.apply(Op::Flatten { axis: 1 }, &[pooled]);
    let gate = net.layer(context, CHANNELS, CHANNELS);
    let gate = net.unary(Unary::Sigmoid, gate);
    let gate = net.reshape(gate, &[-1, CHANNELS as i64, 1, 1]);
    let shape = net.apply(Op::Shape { start: 0, end: None }, &[net.x]);
    let gate = net.apply(Op::Expand, &[gate, shape]);
    let y = net.mul(net.x, gate);
    net.check(y, "SE", 1);
}

#[test]
fn a_maximum_over_a_map_with_a_new_axis() {
    let mut net = Net::new();
    let axis = net.integers(&[1]);
    let x = net.apply(Op::Unsqueeze, &[net.x, axis]);
    let parts = net.coefficients(4);
    let parts: Vec<ValueId> =
        parts.into_iter().map(|part| net.apply(Op::Unsqueeze, &[part, axis])).collect();
    let [p, q] = [0, 2].map(|i| {
        let product = net.mul(x, parts[i]);
        net.add(product, parts[i + 1])
    });
    let y = net.max(p, q);
    let y = net.apply(Op::Squeeze, &[y, axis]);
    net.check(y, "B", 2);
}

/// A map of ones is computed from the map, so that `einsum` can multiply both by coefficients.
#[test]
fn offsets_that_multiply_a_map_of_ones() {
    let mut net = Net::new();
    let (zero, one) = (net.number(0.0), net.number(1.0));
    let zeros = net.mul(net.x, zero);
    let ones = net.add(zeros, one);
    let parts = net.coefficients(4);
    let [p, q] = [0, 2].map(|i| {
        let (scaled, offset) = (net.mul(net.x, parts[i]), net.mul(ones, parts[i + 1]));
        net.add(scaled, offset)
    });
    let y = net.max(p, q);
    net.check(y, "B", 2);
}

#[test]
fn the_larger_of_two_pieces_without_a_maximum() {
    let mut net = Net::new();
    let [p, q] = net.pieces();
    let greater = net.binary(Binary::Greater, p, q);
    let y = net.apply(Op::Where, &[greater, p, q]);
    net.check(y, "B", 2);

    let mut net = Net::new();
    let [p, q] = net.pieces();
    let less = net.binary(Binary::Less, p, q);
    let y = net.apply(Op::Where, &[less, q, p]);
    net.check(y, "B", 2);

    let mut net = Net::new();
    let [p, q] = net.pieces();
    let difference = net.binary(Binary::Sub, p, q);
    let positive = net.unary(Unary::Relu, difference);
    let y = net.add(q, positive);
    net.check(y, "B", 2);

    for with_opposite in [false, true] {
        let mut net = Net::new();
        let [p, q] = net.pieces();
        let greater = net.binary(Binary::Greater, p, q);
        let mask = net.apply(Op::Cast { to: DType::F32 }, &[greater]);
        let rest = if with_opposite {
            let not_greater = net.binary(Binary::LessOrEqual, p, q);
            net.apply(Op::Cast { to: DType::F32 }, &[not_greater])
        } else {
            let one = net.number(1.0);
            net.binary(Binary::Sub, one, mask)
        };
        let (p, q) = (net.mul(p, mask), net.mul(q, rest));
        let y = net.add(p, q);
        net.check(y, "B", 2);
    }
}

#[test]
fn a_piece_and_the_absolute_value_of_another() {
    let mut net = Net::new();
    let [p, q] = net.pieces();
    let q = net.unary(Unary::Abs, q);
    let y = net.add(p, q);
    net.check(y, "B", 2);

    let mut net = Net::new();
    let [p, q] = net.pieces();
    let q = net.unary(Unary::Abs, q);
    let y = net.binary(Binary::Sub, p, q);
    net.check(y, "min-affine", 2);
}

#[test]
fn the_smaller_of_two_pieces() {
    let mut net = Net::new();
    let [p, q] = net.pieces();
    let y = net.min(p, q);
    net.check(y, "min-affine", 2);

    let mut net = Net::new();
    let [p, q] = net.pieces();
    let less = net.binary(Binary::LessOrEqual, p, q);
    let y = net.apply(Op::Where, &[less, p, q]);
    net.check(y, "min-affine", 2);
}

#[test]
fn slopes_on_either_side_of_zero() {
    // a relu(x) - b relu(-x)
    let mut net = Net::new();
    let [a, b]: [ValueId; 2] = net.coefficients(2).try_into().unwrap();
    let positive = net.unary(Unary::Relu, net.x);
    let minus = net.unary(Unary::Neg, net.x);
    let negative = net.unary(Unary::Relu, minus);
    let (positive, negative) = (net.mul(a, positive), net.mul(b, negative));
    let y = net.binary(Binary::Sub, positive, negative);
    net.check(y, "two slopes", 2);

    // a max(x, 0) + b min(x, 0)
    let mut net = Net::new();
    let [a, b]: [ValueId; 2] = net.coefficients(2).try_into().unwrap();
    let zero = net.number(0.0);
    let (positive, negative) = (net.max(net.x, zero), net.min(net.x, zero));
    let (positive, negative) = (net.mul(positive, a), net.mul(negative, b));
    let y = net.add(negative, positive);
    net.check(y, "two slopes", 2);
}

#[test]
fn slopes_that_a_comparison_with_zero_selects() {
    let comparisons =
        [(Binary::Greater, true), (Binary::GreaterOrEqual, true), (Binary::Less, false)];
    for (comparison, is_above) in comparisons {
        for reversed in [false, true] {
            let mut net = Net::new();
            let [a, b]: [ValueId; 2] = net.coefficients(2).try_into().unwrap();
            let zero = net.number(0.0);
            let condition = match reversed {
                false => net.binary(comparison, net.x, zero),
                true => net.binary(comparison, zero, net.x),
            };
            let (positive, negative) = (net.mul(net.x, a), net.mul(b, net.x));
            let y = match is_above != reversed {
                true => net.apply(Op::Where, &[condition, positive, negative]),
                false => net.apply(Op::Where, &[condition, negative, positive]),
            };
            net.check(y, "two slopes", 2);
        }
    }

    // x > 0 ? x : a x with `a` from 0 to 1
    let mut net = Net::new();
    let slope = net.gate();
    let zero = net.number(0.0);
    let condition = net.binary(Binary::Greater, net.x, zero);
    let negative = net.mul(net.x, slope);
    let y = net.apply(Op::Where, &[condition, net.x, negative]);
    net.check(y, "APReLU", 2);

    // x > 0 ? a x : -x
    let mut net = Net::new();
    let slope = net.coefficients(1)[0];
    let zero = net.number(0.0);
    let condition = net.binary(Binary::Greater, net.x, zero);
    let (positive, negative) = (net.mul(slope, net.x), net.unary(Unary::Neg, net.x));
    let y = net.apply(Op::Where, &[condition, positive, negative]);
    net.check(y, "two slopes", 2);
}

/// `theta[:, 0] += 1` is exported as a scatter.
#[test]
fn coefficients_of_which_a_part_was_assigned() {
    for by_elements in [false, true] {
        let mut net = Net::new();
        let parts = net.coefficients(4);
        let theta = net.apply(Op::Concat { axis: 1 }, &parts);
        let theta = net.reshape(theta, &[-1, 4, CHANNELS as i64]);
        let theta = net.apply(Op::Transpose { perm: vec![1, 0, 2] }, &[theta]);
        let (first, one) = (net.integers(&[0]), net.number(1.0));
        let part = net.apply(Op::Gather { axis: 0 }, &[theta, first]);
        let part = net.add(part, one);
        let reduction = ScatterReduction::None;
        let theta = if by_elements {
            let shape = net.apply(Op::Shape { start: 0, end: None }, &[part]);
            let zero = net.constant(Tensor::vector(vec![0i64]));
            let places = net.apply(Op::Expand, &[zero, shape]);
            net.apply(Op::ScatterElements { axis: 0, reduction }, &[theta, places, part])
        } else {
            let places = net.constant(Tensor::new(&[1, 1], vec![0i64]).unwrap());
            net.apply(Op::ScatterNd { reduction }, &[theta, places, part])
        };
        let theta = net.apply(Op::Transpose { perm: vec![1, 0, 2] }, &[theta]);
        let theta = net.reshape(theta, &[-1, 4 * CHANNELS as i64, 1, 1]);
        let parts = net.split(theta, 4);
        let [p, q] = [0, 2].map(|i| {
            let product = net.mul(net.x, parts[i]);
            net.add(product, parts[i + 1])
        });
        let y = net.max(p, q);
        net.check_with_hyperfunction(y, "B", 2);
    }
}

/// `einsum("bchw,bc->bchw", ones_like(x), b)`
#[test]
fn offsets_that_multiply_constant_ones() {
    for reversed in [false, true] {
        let mut net = Net::new();
        let parts = net.coefficients(4);
        let shape = net.apply(Op::Shape { start: 0, end: None }, &[net.x]);
        let value = Scalar { dtype: DType::F32, value: 1.0 };
        let ones = net.apply(Op::ConstantOfShape { value }, &[shape]);
        let [p, q] = [0, 2].map(|i| {
            let product = net.mul(net.x, parts[i]);
            let offset = match reversed {
                false => net.mul(ones, parts[i + 1]),
                true => net.mul(parts[i + 1], ones),
            };
            net.add(product, offset)
        });
        let y = net.max(p, q);
        net.check_with_hyperfunction(y, "B", 2);
    }
}

#[test]
fn an_attention_as_large_as_the_map() {
    let mut net = Net::new();
    let [p, q] = net.pieces();
    let y = net.max(p, q);
    let positions: usize = SIDES.iter().product();
    let ones = Tensor::new(&[1, CHANNELS, positions], vec![1f32; CHANNELS * positions]).unwrap();
    let (shares, ones) = (net.shares(), net.constant(ones));
    let pi = net.min(shares, ones);
    let pi = net.reshape(pi, &[0, CHANNELS as i64, SIDES[0] as i64, SIDES[1] as i64]);
    let y = net.mul(pi, y);
    net.check(y, "C", 2);
}

#[test]
fn an_attention_inside_the_maximum() {
    // At the pieces.
    let mut net = Net::new();
    let ([p, q], pi) = (net.pieces(), net.attention());
    let (p, q) = (net.mul(pi, p), net.mul(q, pi));
    let y = net.max(p, q);
    net.check(y, "C", 2);

    // At the coefficients.
    let mut net = Net::new();
    let (parts, pi) = (net.coefficients(4), net.attention());
    let parts: Vec<ValueId> = parts.into_iter().map(|part| net.mul(part, pi)).collect();
    let [p, q] = [0, 2].map(|i| {
        let product = net.mul(net.x, parts[i]);
        net.add(product, parts[i + 1])
    });
    let y = net.max(p, q);
    net.check(y, "C", 2);

    // At the map and the intercepts.
    let mut net = Net::new();
    let (parts, pi) = (net.coefficients(4), net.attention());
    let x = net.mul(net.x, pi);
    let [p, q] = [0, 2].map(|i| {
        let (product, offset) = (net.mul(parts[i], x), net.mul(parts[i + 1], pi));
        net.add(product, offset)
    });
    let y = net.max(p, q);
    net.check(y, "C", 2);
}

/// A factor that may be negative does not come out of a maximum.
#[test]
fn a_factor_of_any_sign_stays_inside_the_maximum() {
    let mut net = Net::new();
    let [p, q] = net.pieces();
    let axes = net.integers(&[1]);
    let reduce = Reduce { kind: ReduceKind::Mean, keep_dims: true, noop_with_empty_axes: false };
    let factor = net.apply(Op::Reduce(reduce), &[net.x, axes]);
    let (p, q) = (net.mul(p, factor), net.mul(q, factor));
    let y = net.max(p, q);
    net.graph.set_outputs(vec![y]);
    let model = Model::from_graph(net.graph, Options::default().full_precision(true)).unwrap();
    let is_joined = |node: &Node| matches!(node.op, Op::MaxAffine(MaxAffine { k: 2 }));
    assert!(!model.graph().nodes().iter().any(is_joined));
}

#[test]
fn bounds_of_every_channel() {
    let mut net = Net::new();
    let [low, high]: [ValueId; 2] = net.coefficients(2).try_into().unwrap();
    let one = net.number(1.0);
    let (low, high) = (net.binary(Binary::Sub, low, one), net.add(high, one));
    let raised = net.max(net.x, low);
    let y = net.min(high, raised);
    net.check(y, "clip", 2);
}

/// The attention of DyHead to the levels of a pyramid.
#[test]
fn a_factor_of_the_map_from_a_single_unit() {
    let mut net = Net::new();
    let pooled = net.apply(Op::GlobalPool(PoolKind::Average), &[net.x]);
    let context = net.apply(Op::Flatten { axis: 1 }, &[pooled]);
    let unit = net.layer(context, CHANNELS, 1);
    let unit = net.unary(Unary::Relu, unit);
    let factor = net.unary(Unary::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 }, unit);
    let factor = net.reshape(factor, &[-1, 1, 1, 1]);
    let y = net.mul(net.x, factor);
    net.check_with_hyperfunction(y, "SE", 1);
}

#[test]
fn a_gate_from_the_norms_of_the_channels() {
    let mut net = Net::new();
    let axes = net.integers(&[2, 3]);
    let reduce = Reduce { kind: ReduceKind::L2, keep_dims: true, noop_with_empty_axes: false };
    let norms = net.apply(Op::Reduce(reduce), &[net.x, axes]);
    let weight = net.constant(wave(&[1, CHANNELS, 1, 1], 0.8));
    let embedding = net.mul(norms, weight);
    let (gate, one) = (net.unary(Unary::Tanh, embedding), net.number(1.0));
    let gate = net.add(gate, one);
    let y = net.mul(net.x, gate);
    net.check(y, "SE", 1);
}

#[test]
fn acon_with_a_computed_rate() {
    for with_slope in [false, true] {
        let mut net = Net::new();
        let rate = net.coefficients(1)[0];
        let scale = net.constant(wave(&[1, CHANNELS, 1, 1], 0.4));
        let d = net.mul(scale, net.x);
        let inner = net.mul(rate, d);
        let gate = net.unary(Unary::Sigmoid, inner);
        let mut y = net.mul(d, gate);
        if with_slope {
            let slope = net.constant(wave(&[1, CHANNELS, 1, 1], 1.4));
            let line = net.mul(slope, net.x);
            y = net.add(y, line);
        }
        net.check(y, "Meta-ACON", 2);
    }
}

#[test]
fn shift_max_of_one_and_of_two_pieces() {
    for k in [1, 2] {
        let mut net = Net::new();
        let parts = net.coefficients(2 * k);
        let indices = net.integers(&[2, 0, 4, 1, 3]);
        let other = net.apply(Op::Gather { axis: 1 }, &[net.x, indices]);
        let sums: Vec<ValueId> = parts
            .chunks(2)
            .map(|pair| {
                let (own, other) = (net.mul(net.x, pair[0]), net.mul(other, pair[1]));
                net.add(own, other)
            })
            .collect();
        let y = match *sums.as_slice() {
            [sum] => sum,
            _ => net.apply(Op::Variadic(Variadic::Max), &sums),
        };
        net.check(y, "Shift-Max", k);
    }
}

#[test]
fn frelu_with_a_computed_slope() {
    let mut net = Net::new();
    let slope = net.coefficients(1)[0];
    let weight = net.constant(wave(&[CHANNELS, 1, 3, 3], 0.6));
    let conv = Conv {
        padding: Padding::Explicit(vec![1, 1, 1, 1]),
        strides: vec![],
        dilations: vec![],
        groups: CHANNELS,
    };
    let condition = net.apply(Op::Conv(conv), &[net.x, weight]);
    let scaled = net.mul(net.x, slope);
    let y = net.max(scaled, condition);
    net.check(y, "FReLU", 2);
}

/// The output of an activation is the context of the next one.
#[test]
fn an_activation_that_is_a_context_is_computed_once() {
    let mut net = Net::new();
    let [p, q] = net.pieces();
    let first = net.max(p, q);
    let input = std::mem::replace(&mut net.x, first);
    let parts = net.coefficients(4);
    let weight = net.constant(wave(&[CHANNELS, CHANNELS, 1, 1], 0.5));
    let conv =
        Conv { padding: Padding::Explicit(vec![]), strides: vec![], dilations: vec![], groups: 1 };
    let map = net.apply(Op::Conv(conv), &[first, weight]);
    let [p, q] = [0, 2].map(|i| {
        let product = net.mul(map, parts[i]);
        net.add(product, parts[i + 1])
    });
    let y = net.max(p, q);
    net.x = input;
    net.graph.set_outputs(vec![y]);
    let model = Model::from_graph(net.graph, Options::default().full_precision(true)).unwrap();
    let found = &model.report().dynamic_activations;
    let forms: Vec<_> = found.iter().map(|a| (a.form, a.k)).collect();
    assert_eq!(forms, [("B", 2), ("B", 2)]);
    let maxima = model.graph().nodes().iter().filter(|n| matches!(n.op, Op::MaxAffine(_)));
    assert_eq!(maxima.count(), 2);
}
