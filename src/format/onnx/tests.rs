//! Files built in memory, valid and hostile.

mod compositions;
mod operators;
mod scopes;
mod table;
mod tensors;
mod validity;

use std::path::Path;

use bytes::Bytes;
use prost::Message;

use super::external::ExternalFiles;
use super::proto::{self, attribute_type};
use super::reader::read_model;
use super::tensors::TensorReader;
use crate::error::{ErrorKind, Result};
use crate::format::Access;
use crate::graph::{Graph, Op};
use crate::reference;
use crate::tensor::{DType, Tensor};

fn tensor(name: &str, dims: &[i64], data: &[f32]) -> proto::Tensor {
    proto::Tensor {
        dims: dims.to_vec(),
        data_type: 1,
        name: name.into(),
        raw_data: data.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>().into(),
        ..Default::default()
    }
}

fn value(name: &str, dims: &[Option<i64>]) -> proto::ValueInfo {
    let dim = |d: &Option<i64>| proto::Dimension { value: d.map(proto::DimensionValue::Size) };
    let shape = proto::Shape { dim: dims.iter().map(dim).collect() };
    let tensor_type = proto::TensorType { elem_type: 1, shape: Some(shape) };
    let ty = proto::Type { tensor_type: Some(tensor_type) };
    proto::ValueInfo { name: name.into(), r#type: Some(ty) }
}

fn node(op: &str, inputs: &[&str], output: &str) -> proto::Node {
    let strings = |names: &[&str]| names.iter().map(|s| s.to_string()).collect();
    proto::Node {
        input: strings(inputs),
        output: strings(&[output]),
        op_type: op.into(),
        ..Default::default()
    }
}

fn model(nodes: Vec<proto::Node>, initializer: Vec<proto::Tensor>) -> proto::Model {
    let graph = proto::Graph {
        node: nodes,
        name: "net".into(),
        initializer,
        input: vec![value("x", &[None, Some(3), Some(8), Some(8)])],
        output: vec![value("y", &[])],
        ..Default::default()
    };
    proto::Model {
        ir_version: 8,
        graph: Some(graph),
        opset_import: vec![proto::OperatorSet { domain: String::new(), version: 17 }],
        ..Default::default()
    }
}

fn conv_model() -> proto::Model {
    let weight = tensor("w", &[4, 3, 3, 3], &[0.5; 108]);
    model(vec![node("Conv", &["x", "w"], "c"), node("Relu", &["c"], "y")], vec![weight])
}

fn ints(name: &str, ints: &[i64]) -> proto::Attribute {
    let (name, r#type) = (name.into(), attribute_type::INTS);
    proto::Attribute { name, r#type, ints: ints.to_vec(), ..Default::default() }
}

fn int(name: &str, i: i64) -> proto::Attribute {
    proto::Attribute { name: name.into(), r#type: attribute_type::INT, i, ..Default::default() }
}

fn float(name: &str, f: f32) -> proto::Attribute {
    proto::Attribute { name: name.into(), r#type: attribute_type::FLOAT, f, ..Default::default() }
}

fn with(mut node: proto::Node, attributes: &[proto::Attribute]) -> proto::Node {
    node.attribute.extend_from_slice(attributes);
    node
}

/// Returns the output of a model for an image of 1x3x8x8 elements, all `scale`.
fn outcome(model: &proto::Model, scale: f32) -> Result<Tensor> {
    let image = Tensor::new(&[1, 3, 8, 8], vec![scale; 192])?;
    Ok(reference::run(&open(model)?, &[image])?.swap_remove(0))
}

/// Asserts that reading fails with an error of `kind` that says `words`.
#[track_caller]
fn refused(model: &proto::Model, kind: ErrorKind, words: &str) {
    let error = open(model).expect_err(words);
    assert!(error.kind() == kind && error.to_string().contains(words), "{error:?}");
}

/// Reads a model whose external data lies in `folder`.
fn read_bytes(bytes: Bytes, folder: Option<&Path>) -> Result<Graph> {
    let files = folder.map(|folder| ExternalFiles::in_folder(folder, Access::read()));
    read_model(bytes, files).map(|(graph, _)| graph)
}

fn open(model: &proto::Model) -> Result<Graph> {
    read_bytes(model.encode_to_vec().into(), None)
}

fn run(model: &proto::Model, x: Tensor) -> Vec<Tensor> {
    crate::reference::run(&open(model).unwrap(), &[x]).unwrap()
}

#[test]
fn a_network_is_read() {
    let graph = open(&conv_model()).unwrap();
    let names: Vec<_> = graph.nodes().iter().map(|n| n.op.name()).collect();
    assert_eq!(names, ["Conv", "Relu"]);
    assert_eq!(graph.nodes()[0].name, "Conv_0");
    let dims = &graph.value(graph.inputs()[0]).input.as_ref().unwrap().dims;
    assert_eq!(dims[0].as_symbol(), Some("x_0"));
}

#[test]
fn attributes_of_old_opsets_become_inputs() {
    let mut clip = node("Clip", &["x"], "y");
    for (name, f) in [("min", 0.0), ("max", 6.0)] {
        let r#type = attribute_type::FLOAT;
        let name = name.to_string();
        clip.attribute.push(proto::Attribute { name, f, r#type, ..Default::default() });
    }
    let mut old = model(vec![clip], vec![]);
    old.opset_import[0].version = 9;
    let graph = open(&old).unwrap();
    let bounds: Vec<f32> = graph.nodes()[0].inputs[1..]
        .iter()
        .map(|id| graph.constant(id.unwrap()).unwrap().as_f32().unwrap()[0])
        .collect();
    assert_eq!(bounds, [0.0, 6.0]);
}

/// Before opset 7, operands are aligned from an axis on, and not at the last axes.
#[test]
fn operands_of_opset_6_are_aligned_by_their_axis() {
    let attribute = |name: &str, i| {
        let r#type = attribute_type::INT;
        proto::Attribute { name: name.into(), i, r#type, ..Default::default() }
    };
    let mut add = node("Add", &["x", "b"], "a");
    add.attribute = vec![attribute("broadcast", 1), attribute("axis", 1)];
    let slope = tensor("s", &[3], &[0.0, 0.5, 2.0]);
    let bias = tensor("b", &[3], &[-1.0, -2.0, 0.0]);
    let mut old = model(vec![add, node("PRelu", &["a", "s"], "y")], vec![bias, slope]);
    old.graph.as_mut().unwrap().input = vec![value("x", &[None, Some(3), Some(1), Some(3)])];
    old.opset_import[0].version = 6;
    for (output, want) in [
        ("a", [0.0, 0.0, 0.0, -1.0, -1.0, -1.0, 1.0, 1.0, 1.0]),
        ("y", [0.0, 0.0, 0.0, -0.5, -0.5, -0.5, 1.0, 1.0, 1.0]),
    ] {
        old.graph.as_mut().unwrap().output[0].name = output.into();
        let y = run(&old, Tensor::new(&[1, 3, 1, 3], vec![1f32; 9]).unwrap());
        assert_eq!(y[0].as_f32().unwrap(), want, "{output}");
    }
}

#[test]
fn maxima_have_positions() {
    let mut pool = node("MaxPool", &["x"], "m");
    pool.output.push("y".into());
    let ints = vec![2, 2];
    let r#type = attribute_type::INTS;
    let name = "kernel_shape".to_string();
    pool.attribute.push(proto::Attribute { name, ints, r#type, ..Default::default() });
    let by_rows = model(vec![pool.clone()], vec![]);
    let name = "storage_order".to_string();
    let r#type = attribute_type::INT;
    pool.attribute.push(proto::Attribute { name, i: 1, r#type, ..Default::default() });
    let by_columns = model(vec![pool], vec![]);
    // Two images of 2 x 3, the largest elements at (1, 0) and at (0, 1).
    let x = vec![0f32, 1.0, 0.0, 5.0, 2.0, 3.0, 0.0, 7.0, 0.0, 1.0, 2.0, 3.0];
    let x = Tensor::new(&[1, 2, 2, 3], x).unwrap();
    for (mut model, want) in [(by_rows, [3, 5, 7, 7]), (by_columns, [1, 5, 8, 8])] {
        let shape = [None, Some(2), Some(2), Some(3)];
        model.graph.as_mut().unwrap().input = vec![value("x", &shape)];
        assert_eq!(run(&model, x.clone())[0].to_i64s().unwrap(), want);
    }
}

/// ONNX Runtime folds transposes and scales into a product of its own, of any number of axes.
#[test]
fn fused_products_are_taken_apart() {
    let mut product = node("FusedMatMul", &["x", "x"], "y");
    product.domain = "com.microsoft".into();
    let name = "transB".to_string();
    let r#type = attribute_type::INT;
    product.attribute.push(proto::Attribute { name, i: 1, r#type, ..Default::default() });
    let name = "alpha".to_string();
    let r#type = attribute_type::FLOAT;
    product.attribute.push(proto::Attribute { name, f: 0.5, r#type, ..Default::default() });
    for (shape, want) in
        [(vec![2, 2], vec![2.5f32, 5.5, 5.5, 12.5]), (vec![2, 1, 2], vec![2.5, 12.5])]
    {
        let mut model = model(vec![product.clone()], vec![]);
        let sizes: Vec<Option<i64>> = shape.iter().map(|&d| Some(d as i64)).collect();
        model.graph.as_mut().unwrap().input = vec![value("x", &sizes)];
        let y = run(&model, Tensor::new(&shape, vec![1f32, 2.0, 3.0, 4.0]).unwrap());
        assert_eq!(y[0].as_f32().unwrap(), want, "{shape:?}");
    }
}

/// PyTorch selects channels by `GatherND` with one index per position.
#[test]
fn gathering_by_single_indices_is_gather() {
    let places = |dims: &[i64]| proto::Tensor {
        dims: dims.to_vec(),
        data_type: 7,
        int64_data: vec![2, 0],
        name: "i".into(),
        ..Default::default()
    };
    let pick = |dims: &[i64]| {
        let mut model = model(vec![node("GatherND", &["x", "i"], "y")], vec![places(dims)]);
        model.graph.as_mut().unwrap().input = vec![value("x", &[Some(3), Some(1)])];
        model
    };
    let y = run(&pick(&[2, 1]), Tensor::new(&[3, 1], vec![1f32, 2.0, 3.0]).unwrap());
    assert_eq!(y[0].as_f32().unwrap(), [3.0, 1.0]);
    assert!(matches!(open(&pick(&[2, 1])).unwrap().nodes()[0].op, Op::Gather { axis: 0 }));
    let pair = open(&pick(&[1, 2])).unwrap();
    assert!(matches!(pair.nodes()[0].op, Op::GatherNd { batch_dims: 0 }));
}

/// Training mode normalises by the statistics of the batch, and updates the running statistics.
#[test]
fn batch_normalisation_in_training_mode() {
    let attribute = |name: &str, i, f, r#type| {
        let name = name.to_string();
        proto::Attribute { name, i, f, r#type, ..Default::default() }
    };
    let mut norm = node("BatchNormalization", &["x", "one", "zero", "zero", "one"], "y");
    norm.output.extend(["mean".to_string(), "variance".to_string()]);
    norm.attribute = vec![
        attribute("training_mode", 1, 0.0, attribute_type::INT),
        attribute("momentum", 0, 0.75, attribute_type::FLOAT),
        attribute("epsilon", 0, 0.0, attribute_type::FLOAT),
    ];
    let constants = vec![tensor("one", &[1], &[1.0]), tensor("zero", &[1], &[0.0])];
    let mut model = model(vec![norm], constants);
    let graph = model.graph.as_mut().unwrap();
    graph.input = vec![value("x", &[Some(2), Some(1), Some(1), Some(2)])];
    graph.output.extend([value("mean", &[]), value("variance", &[])]);
    let results = run(&model, Tensor::new(&[2, 1, 1, 2], vec![1f32, 1.0, 5.0, 5.0]).unwrap());
    let found: Vec<&[f32]> = results.iter().map(|t| t.as_f32().unwrap()).collect();
    assert_eq!(found, [&[-1.0, -1.0, 1.0, 1.0][..], &[0.75], &[1.75]]);
}

#[test]
fn hostile_files_are_refused_with_a_sentence() {
    let with = |change: &dyn Fn(&mut proto::Graph)| {
        let mut model = conv_model();
        change(model.graph.as_mut().unwrap());
        model.encode_to_vec()
    };
    let cases: Vec<(&str, Vec<u8>, ErrorKind, &str)> = vec![
        ("empty", vec![], ErrorKind::Format, "empty"),
        ("text", b"This is a text file, not a network.\n".to_vec(), ErrorKind::Format, "no ONNX"),
        ("no graph", proto::Model::default().encode_to_vec(), ErrorKind::Format, "empty"),
        (
            "short data",
            with(&|g| g.initializer[0].raw_data = vec![0; 7].into()),
            ErrorKind::Format,
            "needs 432 bytes, found 7",
        ),
        (
            "huge shape",
            with(&|g| g.initializer[0].dims = vec![i64::MAX, i64::MAX]),
            ErrorKind::Format,
            "too large",
        ),
        (
            "negative shape",
            with(&|g| g.initializer[0].dims = vec![-4, 3, 3, 3]),
            ErrorKind::Format,
            "size of -4",
        ),
        ("cycle", with(&|g| g.node[0].input[0] = "y".into()), ErrorKind::Graph, "cycle"),
        (
            "missing input",
            with(&|g| g.node[0].input[0] = "nobody".into()),
            ErrorKind::Graph,
            "nothing produces",
        ),
        (
            "produced twice",
            with(&|g| g.node.push(node("Relu", &["x"], "c"))),
            ErrorKind::Graph,
            "produced twice",
        ),
        (
            "no such output",
            with(&|g| g.output[0].name = "z".into()),
            ErrorKind::Graph,
            "nothing produces the output",
        ),
        (
            "unknown operator",
            with(&|g| g.node[1].op_type = "Frobnicate".into()),
            ErrorKind::Unsupported,
            "Frobnicate of ai.onnx opset 17",
        ),
        (
            "wrong attribute",
            with(&|g| {
                let name = "strides".to_string();
                let r#type = attribute_type::FLOAT;
                g.node[0].attribute.push(proto::Attribute { name, r#type, ..Default::default() });
            }),
            ErrorKind::Format,
            "list of integers",
        ),
        (
            "escape",
            with(&|g| {
                let entry = |key: &str, value: &str| proto::StringEntry {
                    key: key.into(),
                    value: value.into(),
                };
                g.initializer[0].data_location = 1;
                g.initializer[0].external_data = vec![entry("location", "../../etc/passwd")];
            }),
            ErrorKind::Format,
            "leaves the folder",
        ),
    ];
    for (case, bytes, kind, words) in cases {
        match read_bytes(bytes.into(), Some(Path::new("."))) {
            Ok(_) => panic!("{case}: accepted"),
            Err(e) => {
                assert_eq!(e.kind(), kind, "{case}: {e}");
                assert!(e.to_string().contains(words), "{case}: {e}");
            }
        }
    }
}

#[test]
fn typed_fields_are_read_and_checked() {
    let typed = |data_type: i32, int32_data: Vec<i32>| {
        let dims = vec![2];
        let tensor = proto::Tensor { dims, data_type, int32_data, ..Default::default() };
        TensorReader::new(None).read(&tensor)
    };
    for (data_type, data, want) in [
        (2, vec![0, 255], Some([0.0, 255.0])),
        (2, vec![0, 256], None),
        (3, vec![-128, 127], Some([-128.0, 127.0])),
        (6, vec![-7, 7], Some([-7.0, 7.0])),
        (9, vec![0, 1], Some([0.0, 1.0])),
        (10, vec![0x3c00, 0xc000], Some([1.0, -2.0])),
        (10, vec![0x3c00, -1], None),
        (16, vec![0x3f80, 0xc000], Some([1.0, -2.0])),
        (6, vec![1, 2, 3], None),
        (8, vec![1, 2], None),
    ] {
        let found = typed(data_type, data.clone()).and_then(|t| t.cast(crate::DType::F32));
        let found = found.ok().map(|t| t.as_f32().unwrap().to_vec());
        assert_eq!(found, want.map(Vec::from), "{data_type} {data:?}");
    }
}

#[test]
fn external_tensors_stay_inside_their_file_and_folder() {
    let folder = tempfile::tempdir().unwrap();
    let data: Vec<u8> = [9f32, 1.0, 2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    std::fs::write(folder.path().join("weights.bin"), data).unwrap();
    for (location, offset, length, words) in [
        ("weights.bin", "4", "8", None),
        ("weights.bin", "8", "8", Some("which has 12")),
        ("weights.bin", "18446744073709551615", "8", Some("which has 12")),
        ("weights.bin", "4", "4", Some("needs 8 bytes, its length is 4")),
        ("weights.bin", "-4", "8", Some("no number")),
        ("nobody.bin", "0", "8", Some("nobody.bin")),
        (".", "0", "8", Some("expected a file")),
        ("/etc/passwd", "0", "8", Some("leaves the folder")),
        ("sub/../../x", "0", "8", Some("leaves the folder")),
        ("sub/../weights.bin", "4", "8", None),
    ] {
        let entry = |(key, value): (&str, &str)| proto::StringEntry {
            key: key.into(),
            value: value.into(),
        };
        let entries = [("location", location), ("offset", offset), ("length", length)];
        let tensor = proto::Tensor {
            data_location: 1,
            external_data: entries.map(entry).to_vec(),
            ..tensor("w", &[2], &[])
        };
        let found =
            TensorReader::new(Some(ExternalFiles::in_folder(folder.path(), Access::read())))
                .read(&tensor);
        match (found, words) {
            (Ok(tensor), None) => assert_eq!(tensor.as_f32().unwrap(), [1.0, 2.0]),
            (Err(e), Some(words)) => {
                let text = e.to_string();
                assert!(text.contains(words) && text.contains("\"w\""), "{location}: {text}");
            }
            (found, _) => panic!("{location} {offset} {length}: {found:?}"),
        }
    }
}

/// Every prefix, and every byte changed, is either refused or read; none panics.
#[test]
fn damaged_files_never_panic() {
    let whole = conv_model().encode_to_vec();
    for end in 0..whole.len() {
        let _ = read_bytes(Bytes::copy_from_slice(&whole[..end]), None);
    }
    for at in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] ^= flip;
            if let Ok(mut graph) = read_bytes(damaged.into(), None) {
                let _ = crate::compile::optimise(&mut graph);
            }
        }
    }
}
