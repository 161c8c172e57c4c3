//! A network of any length.

use dyrelu::graph::{
    Binary, Dim, Gemm, Graph, Node, Op, PoolKind, TensorType, Unary, ValueId, Variadic,
};
use dyrelu::{DType, Tensor};

fn wave(shape: &[usize]) -> Tensor {
    let count = shape.iter().product();
    Tensor::new(shape, (0..count).map(|i: usize| (i as f32 * 0.7).sin()).collect()).unwrap()
}

/// A chain of `length` activations DY-ReLU-B, each written in 20 nodes.
pub fn chain(length: usize) -> Graph {
    const CHANNELS: usize = 4;
    let mut g = Graph::new("chain");
    let dims = vec![Dim::symbol("N"), CHANNELS.into(), Dim::symbol("H"), Dim::symbol("W")];
    let mut x = g.add_input("x", TensorType { dtype: DType::F32, dims });
    for i in 0..length {
        x = dynamic_relu(&mut g, &format!("{i}"), x, CHANNELS);
    }
    g.set_outputs(vec![x]);
    g
}

fn dynamic_relu(g: &mut Graph, name: &str, x: ValueId, channels: usize) -> ValueId {
    let axes = g.add_constant("axes", Tensor::vector(vec![2i64, 3]));
    let layer = |g: &mut Graph, x: ValueId, from: usize, to: usize| {
        let (weight, bias) = (wave(&[to, from]), wave(&[to]));
        let inputs = [x, g.add_constant("weight", weight), g.add_constant("bias", bias)];
        let gemm = Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true };
        g.apply(format!("{name}.fc"), Op::Gemm(gemm), &inputs)
    };
    let binary = |g: &mut Graph, op: Binary, a: ValueId, b: ValueId| {
        g.apply(format!("{name}.{op:?}"), Op::Binary(op), &[a, b])
    };
    let number = |g: &mut Graph, x: f32| g.add_constant("number", Tensor::scalar(x));
    let pooled = g.apply(format!("{name}.pool"), Op::GlobalPool(PoolKind::Average), &[x]);
    let context = g.apply(format!("{name}.flat"), Op::Flatten { axis: 1 }, &[pooled]);
    let hidden = layer(g, context, channels, 2);
    let hidden = g.apply(format!("{name}.relu"), Op::Unary(Unary::Relu), &[hidden]);
    let theta = layer(g, hidden, 2, 4 * channels);
    let theta = g.apply(format!("{name}.sigmoid"), Op::Unary(Unary::Sigmoid), &[theta]);
    let (two, one) = (number(g, 2.0), number(g, 1.0));
    let theta = binary(g, Binary::Mul, theta, two);
    let theta = binary(g, Binary::Sub, theta, one);
    let parts: Vec<ValueId> = (0..4).map(|i| g.add_value(format!("{name}.part{i}"))).collect();
    g.add_node(Node {
        name: format!("{name}.split"),
        op: Op::Split { axis: 1 },
        inputs: vec![Some(theta)],
        outputs: parts.iter().map(|&part| Some(part)).collect(),
    });
    let parts: Vec<ValueId> = parts
        .into_iter()
        .map(|part| g.apply(format!("{name}.unsqueeze"), Op::Unsqueeze, &[part, axes]))
        .collect();
    let first = binary(g, Binary::Add, parts[0], one);
    let pieces = [(first, parts[2]), (parts[1], parts[3])].map(|(a, b)| {
        let scaled = binary(g, Binary::Mul, x, a);
        binary(g, Binary::Add, scaled, b)
    });
    g.apply(name, Op::Variadic(Variadic::Max), &pieces)
}
