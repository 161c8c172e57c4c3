//! Packed weights in a native file that do not fit the network are ignored, and the plain weights are
//! used.
#![cfg(feature = "write")]

use std::path::Path;

use dyrelu::compile;
use dyrelu::format::safetensors::{WeightStorage, write};
use dyrelu::format::{PackedTensors, Prepared};
use dyrelu::graph::{
    Conv, Dim, Gemm, Graph, HiddenActivation, Hyperfunction, MaxAffine, Op, Padding, PoolKind,
    Squash, TensorType, ValueId,
};
use dyrelu::{DType, Model, Session, Tensor};

fn wave(shape: &[usize]) -> Tensor {
    let count = shape.iter().product();
    Tensor::new(shape, (0..count).map(|i: usize| (i as f32 * 0.7).sin()).collect()).unwrap()
}

/// A network with a layer of every kind that is packed.
fn network() -> Graph {
    let mut g = Graph::new("packed");
    let dims = vec![Dim::symbol("N"), 3.into(), 12.into(), 12.into()];
    let x = g.add_input("x", TensorType { dtype: DType::F32, dims });
    let convolve = |g: &mut Graph, x: ValueId, name: &str, shape: [usize; 4], groups: usize| {
        let border = (shape[2] / 2) as i64;
        let padding = Padding::Explicit(vec![border; 4]);
        let conv = Conv { padding, strides: vec![], dilations: vec![], groups };
        let weight = g.add_constant(format!("{name}.weight"), wave(&shape));
        let bias = g.add_constant(format!("{name}.bias"), wave(&shape[..1]));
        g.apply(name, Op::Conv(conv), &[x, weight, bias])
    };
    let first = convolve(&mut g, x, "first", [16, 3, 3, 3], 1);
    let winograd = convolve(&mut g, first, "winograd", [16, 16, 3, 3], 1);
    let depthwise = convolve(&mut g, winograd, "depthwise", [16, 1, 3, 3], 16);
    let pointwise = convolve(&mut g, depthwise, "pointwise", [8, 16, 1, 1], 1);
    let pooled = g.apply("pooled", Op::GlobalPool(PoolKind::Average), &[pointwise]);
    let context = g.apply("context", Op::Flatten { axis: 1 }, &[pooled]);
    let layer = |g: &mut Graph, name: &str, shape: [usize; 2]| {
        let weight = g.add_constant(format!("{name}.weight"), wave(&shape));
        [weight, g.add_constant(format!("{name}.bias"), wave(&shape[..1]))]
    };
    let [w1, c1] = layer(&mut g, "hidden", [4, 8]);
    let [w2, c2] = layer(&mut g, "second", [32, 4]);
    let hyperfunction = Hyperfunction {
        k: 2,
        hidden: HiddenActivation::Relu,
        squash: Squash::Sigmoid,
        init: vec![1.0, 0.0, 0.0, 0.0],
        lambda: vec![1.0, 1.0, 0.5, 0.5],
    };
    let inputs = [context, w1, c1, w2, c2];
    let coefficients = g.apply("coefficients", Op::Hyperfunction(hyperfunction), &inputs);
    let max_affine = Op::MaxAffine(MaxAffine { k: 2 });
    let activated = g.apply("activated", max_affine, &[pointwise, coefficients]);
    let single = convolve(&mut g, activated, "single", [1, 8, 1, 1], 1);
    let flat = g.apply("flat", Op::Flatten { axis: 1 }, &[single]);
    let [w, b] = layer(&mut g, "scores", [5, 144]);
    let gemm = Op::Gemm(Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true });
    let scores = g.apply("scores", gemm, &[flat, w, b]);
    g.set_outputs(vec![scores]);
    g
}

type Layer = (ValueId, String, Vec<Tensor>);

fn layers(graph: &Graph) -> Vec<Layer> {
    let packed = compile::prepare(graph, &[]).unwrap().packed;
    packed.iter().map(|(value, kind, parts)| (value, kind.into(), parts.to_vec())).collect()
}

/// Writes the network with these packed layers, reads it back and runs it.
fn scores(graph: &Graph, layers: &[Layer], path: &Path) -> Vec<u8> {
    let mut packed = PackedTensors::default();
    for (value, kind, parts) in layers {
        packed.insert(*value, kind.as_str(), parts.clone());
    }
    let prepared = Prepared { packed, ..compile::prepare(graph, &[]).unwrap() };
    write(graph, Some(prepared), path, WeightStorage::F32).unwrap();
    let mut session = Session::new(&Model::open(path).unwrap());
    session.run(&[wave(&[2, 3, 12, 12])]).unwrap()[0].bytes().to_vec()
}

/// Variants of a layer's parts that do not fit the layer.
fn damaged(parts: &[Tensor]) -> Vec<Vec<Tensor>> {
    let zeros = |count: usize| Tensor::vector(vec![0f32; count]);
    let mut variants = vec![vec![], vec![zeros(0); 2], vec![zeros(0); 3], vec![zeros(8); 2]];
    variants.push(parts.iter().chain(&parts[..1]).cloned().collect());
    variants.push(parts.iter().rev().cloned().collect());
    for (i, part) in parts.iter().enumerate() {
        let replacements = [
            None,
            Some(zeros(0)),
            Some(zeros(part.len() - 1)),
            Some(zeros(part.len() + 8)),
            Some(Tensor::vector(vec![0i64; part.len()])),
            Some(Tensor::vector(vec![0u8; part.bytes().len()])),
        ];
        for replacement in replacements {
            let mut changed = parts.to_vec();
            changed.splice(i..=i, replacement);
            variants.push(changed);
        }
    }
    variants
}

#[test]
fn packed_weights_that_do_not_fit_are_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    let graph = network();
    let layers = layers(&graph);
    let mut kinds: Vec<&str> = layers.iter().map(|(_, kind, _)| kind.as_str()).collect();
    kinds.sort();
    assert_eq!(
        kinds,
        ["coefficients16", "dense", "dense", "dense", "dense", "depthwise", "hidden", "winograd"]
    );
    let expected = scores(&graph, &layers, &path);
    for (at, (_, kind, parts)) in layers.iter().enumerate() {
        for (case, parts) in damaged(parts).into_iter().enumerate() {
            let mut changed = layers.clone();
            changed[at].2 = parts;
            assert_eq!(scores(&graph, &changed, &path), expected, "{kind}, case {case}");
        }
        // The parts of another layer.
        for other in &layers {
            if other.2.iter().map(Tensor::len).ne(parts.iter().map(Tensor::len)) {
                let mut changed = layers.clone();
                changed[at].2 = other.2.clone();
                assert_eq!(scores(&graph, &changed, &path), expected, "{kind} as {}", other.1);
            }
        }
    }
    // Packed weights that fit are used, or this test would show nothing.
    let mut changed = layers.clone();
    changed[0].2[0] = Tensor::vector(vec![0f32; changed[0].2[0].len()]);
    assert_ne!(scores(&graph, &changed, &path), expected);
}

/// A header with one changed byte gives an error or a network that runs.
#[test]
fn damaged_headers_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    let graph = network();
    scores(&graph, &layers(&graph), &path);
    let whole = std::fs::read(&path).unwrap();
    let header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let prepared = whole.windows(8).position(|w| w == b"prepared").unwrap();
    let mut opened = 0;
    for at in (8..header).step_by(11).chain(prepared..header) {
        let mut damaged = whole.clone();
        // Digits and letters become other digits and letters, so that many files are still valid.
        damaged[at] ^= 1 << (at % 3);
        std::fs::write(&path, &damaged).unwrap();
        if let Ok(model) = Model::open(&path) {
            opened += 1;
            let _ = Session::new(&model).run(&[wave(&[1, 3, 12, 12])]);
        }
    }
    assert!(opened > 100, "only {opened} files could be opened");
}
