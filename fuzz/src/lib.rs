//! Code that the targets share: a temporary file, and opening and running a network.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use dyrelu::format::safetensors::{WeightStorage, write};
use dyrelu::graph::infer::infer;
use dyrelu::graph::*;
use dyrelu::{DType, Model, Session, Tensor, compile};
use tempfile::TempDir;

/// Networks with a value of more elements are not run, because they are slow.
const MAX_ELEMENTS: usize = 1 << 12;

/// Writes `bytes` to a file, which is valid until the next call. The file is in memory if the system
/// has `/dev/shm`.
pub fn file_with(bytes: &[u8]) -> PathBuf {
    static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        folder.expect("a temporary folder can be created")
    });
    let path = FOLDER.path().join("input");
    std::fs::write(&path, bytes).expect("a file can be written");
    path
}

/// Opens the network in `bytes`, and runs it if its values are small.
pub fn open_and_run(bytes: &[u8]) {
    let Ok(model) = Model::open(file_with(bytes)) else { return };
    let Some(inputs) = inputs(&model) else { return };
    let _ = Session::new(&model).run(&inputs);
}

/// Inputs of ones. Free sizes are 2. Returns `None` if a value of the network would be large.
fn inputs(model: &Arc<Model>) -> Option<Vec<Tensor>> {
    let graph = model.graph();
    let mut sizes = Bindings::new();
    let mut inputs = Vec::new();
    for port in model.inputs() {
        let ty = port.ty.as_ref()?;
        for symbol in ty.dims.iter().filter_map(Dim::as_symbol) {
            sizes.insert(symbol.into(), 2);
        }
        let shape: Option<Vec<usize>> =
            ty.dims.iter().map(|dim| usize::try_from(dim.evaluate(&sizes).ok()?).ok()).collect();
        let shape = shape?;
        let count = count(&shape)?;
        inputs.push(Tensor::new(&shape, vec![1f32; count]).ok()?.cast(ty.dtype).ok()?);
    }
    let types = infer(graph).ok()?;
    for &value in graph.nodes().iter().flat_map(|node| node.outputs.iter().flatten()) {
        let dims = &types.get(value)?.dims;
        let shape: Option<Vec<usize>> =
            dims.iter().map(|dim| usize::try_from(dim.evaluate(&sizes).ok()?).ok()).collect();
        count(&shape?)?;
    }
    Some(inputs)
}

/// The number of elements. Returns `None` if there are more than [`MAX_ELEMENTS`].
fn count(shape: &[usize]) -> Option<usize> {
    let count = shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size))?;
    (count <= MAX_ELEMENTS).then_some(count)
}

/// A native file with packed weights. Its network has every kind of layer that is packed.
pub fn packed_file() -> Vec<u8> {
    let mut graph = network();
    let path = file_with(&[]);
    let converted = compile::optimise(&mut graph)
        .and_then(|report| compile::prepare(&graph, &report.unrecognised))
        .and_then(|prepared| write(&graph, Some(prepared), &path, WeightStorage::F32));
    converted.expect("the network is valid");
    std::fs::read(path).expect("the file was written")
}

/// Dense, Winograd, depthwise and pointwise convolutions, a dynamic ReLU and a fully connected layer.
fn network() -> Graph {
    const CHANNELS: usize = 16;
    let mut graph = Graph::new("packed");
    let weights = |graph: &mut Graph, shape: &[usize]| {
        let count = shape.iter().product();
        let wave = (0..count).map(|i: usize| (i as f32).sin()).collect();
        let tensor = Tensor::new::<f32>(shape, wave).expect("the number of elements fits");
        graph.add_constant(format!("weight{}", graph.values().len()), tensor)
    };
    let conv = |graph: &mut Graph, name: &str, x, outputs, depth, kernel, stride, groups| {
        let weight = weights(graph, &[outputs, depth, kernel, kernel]);
        let bias = weights(graph, &[outputs]);
        let padding = Padding::Explicit(vec![(kernel / 2) as i64; 4]);
        let conv = Conv { padding, strides: vec![stride; 2], dilations: vec![], groups };
        graph.apply(name, Op::Conv(conv), &[x, weight, bias])
    };
    let dims = vec![Dim::symbol("N"), 3.into(), Dim::symbol("H"), Dim::symbol("W")];
    let x = graph.add_input("x", TensorType { dtype: DType::F32, dims });
    let x = conv(&mut graph, "stem", x, CHANNELS, 3, 3, 2, 1);
    let x = conv(&mut graph, "winograd", x, CHANNELS, CHANNELS, 3, 1, 1);
    let x = conv(&mut graph, "depthwise", x, CHANNELS, 1, 3, 1, CHANNELS);
    let x = conv(&mut graph, "pointwise", x, CHANNELS, CHANNELS, 1, 1, 1);
    let context = graph.apply("context", Op::GlobalPool(PoolKind::Average), &[x]);
    let layers = [&[4, CHANNELS][..], &[4], &[4 * CHANNELS, 4], &[4 * CHANNELS]];
    let [w1, b1, w2, b2] = layers.map(|shape| weights(&mut graph, shape));
    let hyperfunction = Hyperfunction {
        k: 2,
        hidden: HiddenActivation::Relu,
        squash: Squash::Sigmoid,
        init: vec![1.0, 0.0, 0.0, 0.0],
        lambda: vec![1.0, 1.0, 0.5, 0.5],
    };
    let inputs = [context, w1, b1, w2, b2];
    let coefficients = graph.apply("coefficients", Op::Hyperfunction(hyperfunction), &inputs);
    let y = graph.apply("activation", Op::MaxAffine(MaxAffine { k: 2 }), &[x, coefficients]);
    let y = graph.apply("mean", Op::GlobalPool(PoolKind::Average), &[y]);
    let y = graph.apply("flat", Op::Flatten { axis: 1 }, &[y]);
    let (weight, bias) = (weights(&mut graph, &[5, CHANNELS]), weights(&mut graph, &[5]));
    let gemm = Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true };
    let y = graph.apply("classes", Op::Gemm(gemm), &[y, weight, bias]);
    graph.set_outputs(vec![y]);
    graph
}
