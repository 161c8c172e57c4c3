//! Files built in memory, whole and hostile.

use super::proto::{self, attribute_type};
use super::*;
use crate::ErrorKind;

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

fn open(model: &proto::Model) -> Result<Graph> {
    read_bytes(model.encode_to_vec().into(), None)
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
