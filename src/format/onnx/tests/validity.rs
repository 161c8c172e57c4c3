//! Legal files are read, and others are refused.

use super::*;
use crate::graph::Dim;

fn tensor_of_type(name: &str, data_type: i32) -> proto::Tensor {
    proto::Tensor { dims: vec![1], data_type, name: name.into(), ..Default::default() }
}

fn strings(name: &str, value: &str) -> proto::Attribute {
    let (name, s) = (name.into(), Bytes::copy_from_slice(value.as_bytes()));
    proto::Attribute { name, s, r#type: attribute_type::STRING, ..Default::default() }
}

/// Returns `y = Relu(x)`, with `nodes` and constants that no output needs.
fn with_dead(nodes: Vec<proto::Node>, constants: Vec<proto::Tensor>) -> proto::Model {
    let mut all = nodes;
    all.insert(all.len() / 2, node("Relu", &["x"], "y"));
    model(all, constants)
}

#[test]
fn what_no_output_needs_is_not_read() {
    const UINT16: i32 = 4;
    const STRING: i32 = 8;
    const COMPLEX64: i32 = 14;
    let mut lstm = node("LSTM", &["x", "x", "x"], "l");
    lstm.output.push("x2".into());
    let mut dead = with_dead(
        vec![
            with(node("Constant", &[], "c"), &[strings("value_string", "abc")]),
            node("Det", &["x"], "u"),
            lstm,
            proto::Node { domain: "nobody.knows".into(), ..node("Op", &["l", "c"], "d") },
            with(node("Conv", &["x", "t"], "e"), &[ints("nonsense", &[1])]),
            // The condition depends on the data.
            with(
                node("If", &["u"], "f"),
                &[scopes::branch("then_branch", vec![node("Neg", &["x"], "b")], "b")],
            ),
        ],
        vec![
            tensor_of_type("t", UINT16),
            tensor_of_type("s", STRING),
            tensor_of_type("z", COMPLEX64),
            proto::Tensor { data_location: 1, ..tensor_of_type("nowhere", 1) },
        ],
    );
    let mut strings = value("strings", &[]);
    strings.r#type.as_mut().unwrap().tensor_type.as_mut().unwrap().elem_type = STRING;
    dead.graph.as_mut().unwrap().input.push(strings);
    assert_eq!(outcome(&dead, -2.0).unwrap().as_f32().unwrap(), [0.0; 192]);
    assert_eq!(open(&dead).unwrap().nodes().len(), 1);

    // An output needs the same node.
    let mut used = dead.clone();
    for (output, words) in [
        ("c", "neither a tensor nor a number"),
        ("u", "operator Det"),
        ("l", "operator"),
        ("d", "neither a tensor nor a number"),
        ("t", "uint16"),
        ("s", "string"),
        ("z", "complex"),
        ("nowhere", "names no location"),
        ("strings", "input \"strings\": elements of type string"),
    ] {
        used.graph.as_mut().unwrap().output[0].name = output.into();
        let error = open(&used).expect_err(output).to_string();
        assert!(error.contains(words), "{output}: {error}");
    }
}

/// Values that a branch reads from the network around it are needed.
#[test]
fn branches_need_what_is_around_them() {
    let condition = proto::Tensor {
        data_type: 9,
        name: "yes".into(),
        int32_data: vec![1],
        dims: vec![],
        ..Default::default()
    };
    let select = with(
        node("If", &["yes"], "y"),
        &[
            scopes::branch("then_branch", vec![node("Neg", &["outer"], "b")], "b"),
            scopes::branch("else_branch", vec![node("Det", &["x"], "b")], "b"),
        ],
    );
    let model = model(vec![node("Abs", &["x"], "outer"), select], vec![condition]);
    assert_eq!(outcome(&model, -2.0).unwrap().as_f32().unwrap()[0], -2.0);
}

#[test]
fn opsets_that_are_not_known_are_refused() {
    let with_opsets = |opsets: &[(&str, i64)]| {
        let mut model = conv_model();
        let set = |&(domain, version): &(&str, i64)| {
            let domain = domain.into();
            proto::OperatorSet { domain, version }
        };
        model.opset_import = opsets.iter().map(set).collect();
        model
    };
    for (opsets, words) in [
        (&[("", 99)][..], "opset 99 is newer than any that this engine knows"),
        (&[("ai.onnx", 99)], "opset 99 is newer"),
        (&[("", 5)], "opset 5 is too old"),
        (&[("", 0)], "opset 0 is too old"),
        (&[("", 13), ("ai.onnx", 17)], "two opsets"),
        (&[], "does not state its opset"),
        (&[("com.microsoft", 1)], "does not state its opset"),
    ] {
        let error = open(&with_opsets(opsets)).expect_err(words).to_string();
        assert!(error.contains(words), "{error}");
    }
    for opsets in [&[("", 28)][..], &[("ai.onnx", 6)], &[("", 13), ("ai.onnx", 13)]] {
        assert!(open(&with_opsets(opsets)).is_ok(), "{opsets:?}");
    }
}

#[test]
fn attributes_that_an_operator_does_not_have_are_refused() {
    for (op, domain, attribute, words) in [
        ("Relu", "", "alpha", "operator Relu has no attribute \"alpha\""),
        ("Softmax", "ai.onnx", "dim", "operator Softmax has no attribute \"dim\""),
        ("Gelu", "com.microsoft", "approximate", "operator Gelu has no attribute"),
    ] {
        let domain = domain.to_string();
        let odd = with(node(op, &["x"], "y"), &[ints(attribute, &[1])]);
        let mut model = model(vec![proto::Node { domain, ..odd }], vec![]);
        refused(&model, ErrorKind::Format, words);
        // Programs may add attributes of their own.
        let own = &mut model.graph.as_mut().unwrap().node[0];
        own.attribute[0].name = "__note".into();
        assert!(open(&model).is_ok(), "{op}");
    }
    let twice = with(node("Elu", &["x"], "y"), &[float("alpha", 1.0), float("alpha", 2.0)]);
    refused(&model(vec![twice], vec![]), ErrorKind::Format, "\"alpha\" is there twice");
}

#[test]
fn two_inputs_of_one_name_are_refused() {
    let mut model = conv_model();
    model.graph.as_mut().unwrap().input.push(value("x", &[None, Some(3), Some(8), Some(8)]));
    refused(&model, ErrorKind::Graph, "two inputs are named \"x\"");
    // Initializers may be listed among the inputs, whether or not they are needed.
    let mut listed = with_dead(vec![], vec![tensor("w", &[1], &[1.0])]);
    listed.graph.as_mut().unwrap().input.push(value("w", &[Some(1)]));
    assert_eq!(open(&listed).unwrap().inputs().len(), 1);
}

#[test]
fn sizes_that_are_not_known_are_free() {
    let mut model = conv_model();
    let graph = model.graph.as_mut().unwrap();
    graph.input[0] = value("x", &[Some(-1), Some(3), Some(-1), None]);
    // Another size already has the name that the reader would choose.
    let mut other = value("other", &[None]);
    let ty = other.r#type.as_mut().unwrap().tensor_type.as_mut().unwrap();
    ty.shape.as_mut().unwrap().dim[0].value = Some(proto::DimensionValue::Symbol("x_0".into()));
    graph.input.push(other);
    let read = open(&model).unwrap();
    let dims = &read.value(read.inputs()[0]).input.as_ref().unwrap().dims;
    let want = [Dim::symbol("x_0_"), 3.into(), Dim::symbol("x_2"), Dim::symbol("x_3")];
    assert_eq!(dims, &want);

    model.graph.as_mut().unwrap().input[0] = value("x", &[Some(-2)]);
    refused(&model, ErrorKind::Format, "size of -2");
}

#[test]
fn an_input_without_a_shape_has_the_axes_of_its_use() {
    let shapeless = |mut model: proto::Model| {
        let input = &mut model.graph.as_mut().unwrap().input[0];
        input.r#type.as_mut().unwrap().tensor_type.as_mut().unwrap().shape = None;
        model
    };
    let axes = |model: &proto::Model| -> Result<usize> {
        let graph = open(model)?;
        Ok(graph.value(graph.inputs()[0]).input.as_ref().unwrap().dims.len())
    };
    let image = shapeless(conv_model());
    assert_eq!(outcome(&image, 1.0).unwrap().shape(), [1, 4, 6, 6]);
    let kernel = ints("kernel_shape", &[3, 3, 3]);
    let cases: Vec<(Vec<proto::Node>, usize)> = vec![
        (vec![with(node("MaxPool", &["x"], "y"), &[kernel])], 5),
        (vec![with(node("Transpose", &["x"], "y"), &[ints("perm", &[0, 2, 1])])], 3),
        (vec![node("Relu", &["x"], "r"), node("Conv", &["r", "w"], "y")], 4),
        (vec![node("Mul", &["s", "x"], "m"), node("Gemm", &["m", "m"], "y")], 2),
    ];
    for (nodes, want) in cases {
        let constants = vec![tensor("w", &[4, 3, 3, 3], &[0.5; 108]), tensor("s", &[1], &[2.0])];
        assert_eq!(axes(&shapeless(model(nodes, constants))).unwrap(), want);
    }
    // The output states the number of axes.
    let mut stated = shapeless(model(vec![node("Relu", &["x"], "y")], vec![]));
    stated.graph.as_mut().unwrap().output[0] = value("y", &[None, Some(7)]);
    assert_eq!(axes(&stated).unwrap(), 2);
    // The number of axes of a parameter says nothing about the map.
    let parameter = shapeless(model(vec![node("Conv", &["w", "x"], "y")], vec![]));
    let error = axes(&parameter).unwrap_err();
    assert!(error.to_string().contains("number of axes is not stated"), "{error}");
}

/// A sparse tensor in which three of four numbers are zero.
fn sparse(name: &str) -> proto::SparseTensor {
    let indices =
        proto::Tensor { dims: vec![1], data_type: 7, int64_data: vec![2], ..Default::default() };
    proto::SparseTensor {
        values: Some(tensor(name, &[1], &[5.0])),
        indices: Some(indices),
        dims: vec![2, 2],
    }
}

#[test]
fn sparse_constants_are_read() {
    let attribute = proto::Attribute {
        name: "sparse_value".into(),
        r#type: attribute_type::SPARSE_TENSOR,
        sparse_tensor: Some(sparse("")),
        ..Default::default()
    };
    let add = || node("Add", &["x", "s"], "y");
    let by_node = model(vec![with(node("Constant", &[], "s"), &[attribute]), add()], vec![]);
    let mut by_initializer = model(vec![add()], vec![]);
    by_initializer.graph.as_mut().unwrap().sparse_initializer = vec![sparse("s")];
    for mut model in [by_node, by_initializer.clone()] {
        model.graph.as_mut().unwrap().input[0] = value("x", &[Some(2), Some(2)]);
        let y = run(&model, Tensor::new(&[2, 2], vec![1f32; 4]).unwrap());
        assert_eq!(y[0].as_f32().unwrap(), [1.0, 1.0, 6.0, 1.0]);
    }
    let graph = by_initializer.graph.as_mut().unwrap();
    graph.sparse_initializer.push(sparse("s"));
    refused(&by_initializer, ErrorKind::Graph, "two tensors are named \"s\"");
    by_initializer.graph.as_mut().unwrap().sparse_initializer =
        vec![proto::SparseTensor { indices: None, ..sparse("s") }];
    refused(&by_initializer, ErrorKind::Format, "no indices");
}
