//! What holds of all passes together.

use super::pipeline::rewrite_all;
use crate::graph::infer::{Types, infer};
use crate::graph::{
    Binary, Dim, Gemm, Graph, Node, Op, PoolKind, Rewriter, TensorType, Unary, ValueId, Variadic,
};
use crate::tensor::{DType, Tensor};

fn wave(shape: &[usize]) -> Tensor {
    let count = shape.iter().product();
    Tensor::new(shape, (0..count).map(|i: usize| (i as f32 * 0.7).sin()).collect()).unwrap()
}

/// So many DY-ReLUs of form B in a row, each written in 17 nodes.
fn chain(length: usize) -> Graph {
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

/// What inference that has followed every edit knows of a graph, and what it finds anew.
fn check_current(graph: &Graph, types: &Types, what: &str) {
    let anew = infer(graph).unwrap();
    for value in graph.nodes().iter().flat_map(|node| node.outputs.iter().flatten()) {
        let name = &graph.value(*value).name;
        assert_eq!(types.get(*value), anew.get(*value), "{what}: type of {name:?}");
        assert_eq!(types.contents(*value), anew.contents(*value), "{what}: contents of {name:?}");
    }
}

#[test]
fn a_chain_is_recognised_and_its_types_stay_current() {
    let mut graph = chain(5);
    graph.validate().unwrap();
    let mut rewriter = Rewriter::new(&mut graph).unwrap();
    let report = rewrite_all(&mut rewriter).unwrap();
    assert_eq!(report.dynamic_activations.len(), 5, "{report:?}");
    assert!(report.dynamic_activations.iter().all(|a| a.hidden == Some(2)), "{report:?}");
    let (types, _) = rewriter.finish().unwrap();
    check_current(&graph, &types, "chain");
}

#[cfg(feature = "onnx")]
#[test]
fn types_stay_current_in_every_style_of_published_code() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialects");
    let mut checked = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "onnx") {
            continue;
        }
        let mut graph = crate::format::open(&path).unwrap();
        graph.validate().unwrap();
        let mut rewriter = Rewriter::new(&mut graph).unwrap();
        rewrite_all(&mut rewriter).unwrap();
        let (types, _) = rewriter.finish().unwrap();
        check_current(&graph, &types, &path.display().to_string());
        checked += 1;
    }
    assert!(checked > 200, "only {checked} files");
}

/// Every node is inferred once, and again only where a pass has changed something before it.
#[test]
fn inference_looks_at_nodes_in_proportion_to_their_number() {
    let visits = |length: usize| {
        let mut graph = chain(length);
        graph.validate().unwrap();
        let nodes = graph.nodes().len();
        let mut rewriter = Rewriter::new(&mut graph).unwrap();
        assert_eq!(rewriter.visits(), nodes);
        rewrite_all(&mut rewriter).unwrap();
        (nodes, rewriter.visits())
    };
    let (nodes, few) = visits(10);
    let (more_nodes, more) = visits(40);
    assert_eq!(more_nodes, 4 * nodes);
    assert!(few < 2 * nodes, "{few} visits for {nodes} nodes");
    assert!(more < 2 * more_nodes, "{more} visits for {more_nodes} nodes");
}
