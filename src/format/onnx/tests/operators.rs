//! Operators whose meaning depends on the opset or the program that wrote them.

use super::*;

fn contributed(op: &str, inputs: &[&str], output: &str) -> proto::Node {
    proto::Node { domain: "com.microsoft".into(), ..node(op, inputs, output) }
}

#[test]
fn fused_convolutions_add_and_activate() {
    let weight = tensor("w", &[3, 3, 1, 1], &[1.0; 9]);
    let bias = tensor("b", &[3], &[0.0; 3]);
    let string = |name: &str, s: &'static str| proto::Attribute {
        name: name.into(),
        r#type: attribute_type::STRING,
        s: Bytes::from_static(s.as_bytes()),
        ..Default::default()
    };
    let params = proto::Attribute {
        name: "activation_params".into(),
        r#type: attribute_type::FLOATS,
        floats: vec![-1.5, 6.0],
        ..Default::default()
    };
    let conv = contributed("FusedConv", &["x", "w", "b", "x"], "y");
    let model =
        model(vec![with(conv, &[string("activation", "Clip"), params])], vec![weight, bias]);
    for (scale, expected) in [(1.0, 4.0), (2.0, 6.0), (-1.0, -1.5)] {
        assert_eq!(outcome(&model, scale).unwrap().as_f32().unwrap()[0], expected);
    }
}

#[test]
fn a_layout_of_onnxruntime_is_named() {
    let domain = "com.microsoft.nchwc".to_string();
    let conv = proto::Node { domain, ..node("Conv", &["x", "x"], "y") };
    refused(&model(vec![conv], vec![]), ErrorKind::Unsupported, "at most at level");
}

#[test]
fn attributes_that_contradict_are_refused() {
    let weight = || tensor("w", &[4, 3, 3, 3], &[0.5; 108]);
    let conv =
        |attribute| model(vec![with(node("Conv", &["x", "w"], "y"), &[attribute])], vec![weight()]);
    refused(&conv(ints("kernel_shape", &[5, 5])), ErrorKind::Graph, "contradicts the weight");
    refused(&conv(ints("strides", &[-1, 1])), ErrorKind::Format, "must not be negative");
    refused(&conv(float("group", 1.0)), ErrorKind::Format, "should be an integer");
}

#[test]
fn a_flag_is_0_or_1() {
    let mean =
        |flag| model(vec![with(node("ReduceMean", &["x"], "y"), &[int("keepdims", flag)])], vec![]);
    assert!(open(&mean(0)).is_ok() && open(&mean(1)).is_ok());
    for flag in [-1, 2, i64::MIN] {
        refused(&mean(flag), ErrorKind::Format, "should be 0 or 1");
    }
}

#[test]
fn a_constant_node_cannot_replace_a_weight() {
    let constant = with(node("Constant", &[], "w"), &[float("value_float", 1.0)]);
    let model =
        model(vec![constant, node("Mul", &["x", "w"], "y")], vec![tensor("w", &[], &[2.0])]);
    refused(&model, ErrorKind::Graph, "produced twice");
}

#[test]
fn an_initializer_among_the_inputs_is_a_constant() {
    let mut model = conv_model();
    let graph = model.graph.as_mut().unwrap();
    graph.input.push(value("w", &[Some(4), Some(3), Some(3), Some(3)]));
    assert_eq!(open(&model).unwrap().inputs().len(), 1);
}

#[test]
fn metadata_travels_with_the_network() {
    let mut model = conv_model();
    model.producer_name = "maker".into();
    for (key, value) in [("dyrelu.labels", "cat"), ("task", "pets")] {
        let (key, value) = (key.into(), value.into());
        model.metadata_props.push(proto::StringEntry { key, value });
    }
    let metadata = open(&model).unwrap().metadata;
    for (key, value) in [("labels", "cat"), ("onnx.task", "pets"), ("producer", "maker")] {
        assert_eq!(metadata.get(key).map(String::as_str), Some(value), "{key}");
    }
}

/// Before opset 11, rounding is no attribute: indices are rounded up if the axis shrinks, and down if it
/// grows. The numbers are those of the tests of ONNX 1.5.
#[test]
fn the_first_resize_rounds_up_where_it_shrinks() {
    for (scales, width, expected) in [
        ([1.0, 1.0, 0.6, 0.6], 4, vec![1.0, 3.0]),
        ([1.0, 1.0, 1.0, 2.5], 2, vec![1.0, 1.0, 1.0, 2.0, 2.0]),
    ] {
        let mut model =
            model(vec![node("Resize", &["x", "s"], "y")], vec![tensor("s", &[4], &scales)]);
        model.opset_import[0].version = 10;
        if let Some(graph) = &mut model.graph {
            graph.input = vec![value("x", &[Some(1), Some(1), Some(2), None])];
        }
        let image = (1..=2 * width).map(|x| x as f32).collect();
        let image = Tensor::new(&[1, 1, 2, width], image).unwrap();
        let y = reference::run(&open(&model).unwrap(), &[image]).unwrap().remove(0);
        assert_eq!(y.as_f32().unwrap()[..expected.len()], expected);
    }
}

#[test]
fn reductions_are_known_by_name() {
    for (name, expected) in [
        ("ReduceLogSum", 8f32.ln()),
        ("ReduceLogSumExp", 1.0 + 8f32.ln()),
        ("ReduceSumSquare", 8.0),
    ] {
        let node = with(node(name, &["x"], "y"), &[ints("axes", &[3])]);
        let y = outcome(&model(vec![node], vec![]), 1.0).unwrap();
        assert_eq!(y.shape(), [1, 3, 8, 1]);
        assert!((y.as_f32().unwrap()[0] - expected).abs() < 1e-6, "{name}");
    }
}

/// A number that an older opset states as an attribute has the element type of the other operand.
#[test]
fn attributes_of_half_precision_networks_become_half_precision() {
    let clip = with(node("Clip", &["c"], "y"), &[float("min", 0.0), float("max", 1.5)]);
    let mut model = model(vec![node("Add", &["x", "x"], "c"), clip], vec![]);
    model.opset_import[0].version = 10;
    if let Some(proto::Type { tensor_type: Some(ty) }) =
        model.graph.as_mut().and_then(|graph| graph.input[0].r#type.as_mut())
    {
        ty.elem_type = 10;
    }
    let image = Tensor::new(&[1, 3, 8, 8], vec![0.5f32; 192]).unwrap().cast(DType::F16).unwrap();
    let y = reference::run(&open(&model).unwrap(), &[image]).unwrap().remove(0);
    assert_eq!(y.dtype(), DType::F16);
    assert_eq!(y.cast(DType::F32).unwrap().as_f32().unwrap(), [1.0; 192]);
}
