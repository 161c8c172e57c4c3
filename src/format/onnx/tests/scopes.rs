//! Functions and branches.

use super::*;

fn reference_to(name: &str, of_caller: &str) -> proto::Attribute {
    let (name, ref_attr_name) = (name.into(), of_caller.into());
    let r#type = attribute_type::FLOAT;
    proto::Attribute { name, ref_attr_name, r#type, ..Default::default() }
}

fn function(name: &str, nodes: Vec<proto::Node>) -> proto::Function {
    proto::Function {
        name: name.into(),
        domain: "local".into(),
        input: vec!["x".into(), "other".into()],
        output: vec!["y".into()],
        node: nodes,
        opset_import: vec![
            proto::OperatorSet { domain: String::new(), version: 17 },
            proto::OperatorSet { domain: "local".into(), version: 1 },
        ],
        ..Default::default()
    }
}

fn call(name: &str, inputs: &[&str], output: &str) -> proto::Node {
    proto::Node { domain: "local".into(), ..node(name, inputs, output) }
}

#[test]
fn a_function_is_read_in_place_of_its_calls() {
    // Names in the bodies equal those of the network around and those of other bodies.
    let leak = with(node("LeakyRelu", &["x"], "c"), &[reference_to("alpha", "slope")]);
    let mut leaky = function("Leaky", vec![leak, node("Neg", &["c"], "y")]);
    leaky.attribute_proto.push(float("slope", 0.5));
    let twice = function("Twice", vec![call("Leaky", &["x"], "c"), call("Leaky", &["c"], "y")]);
    let steep = with(call("Leaky", &["d"], "y"), &[float("slope", 0.25)]);
    let mut model =
        model(vec![call("Twice", &["x"], "c"), node("Neg", &["c"], "d"), steep], vec![]);
    model.functions = vec![leaky, twice];
    // -4 -> leaky -2 -> 2 -> leaky 2 -> -2, then Neg 2, leaky 2 -> -2.
    assert_eq!(outcome(&model, -4.0).unwrap().as_f32().unwrap()[0], -2.0);
    // 4 -> -4 -> leaky -2 -> 2, then Neg -2, leaky with 0.25 -0.5 -> 0.5.
    assert_eq!(outcome(&model, 4.0).unwrap().as_f32().unwrap()[0], 0.5);
    let graph = open(&model).unwrap();
    let names: std::collections::HashSet<_> = graph.nodes().iter().map(|n| &n.name).collect();
    assert_eq!(names.len(), graph.nodes().len(), "{names:?}");
}

#[test]
fn an_input_that_a_call_leaves_out_is_absent() {
    let clip = node("Clip", &["x", "other"], "y");
    let mut model = model(vec![call("Low", &["x"], "y")], vec![]);
    model.functions = vec![function("Low", vec![clip])];
    assert_eq!(outcome(&model, -4.0).unwrap().as_f32().unwrap()[0], -4.0);
}

#[test]
fn functions_without_end_are_refused() {
    let mut endless = model(vec![call("F", &["x"], "y")], vec![]);
    endless.functions = vec![function("F", vec![call("F", &["x"], "y")])];
    refused(&endless, ErrorKind::Graph, "nest deeper than 64");

    // Each function calls the next one eight times.
    let name = |i: usize| format!("F{i}");
    let eight = |i: usize| {
        let value = |o: usize| if o == 8 { "y".to_string() } else { format!("o{o}") };
        let call = |o: usize| call(&name(i + 1), &[&value(o)], &value(o + 1));
        let start = node("Identity", &["x"], "o0");
        function(&name(i), std::iter::once(start).chain((0..8).map(call)).collect())
    };
    let mut many = model(vec![call("F0", &["x"], "y")], vec![]);
    many.functions = (0..30).map(eight).collect();
    many.functions.push(function(&name(30), vec![node("Relu", &["x"], "y")]));
    refused(&many, ErrorKind::Graph, "nodes");
}

#[test]
fn a_call_with_too_many_inputs_is_refused() {
    let mut model = model(vec![call("F", &["x", "x", "x"], "y")], vec![]);
    model.functions = vec![function("F", vec![node("Relu", &["x"], "y")])];
    refused(&model, ErrorKind::Graph, "its function has 2 inputs");
}

pub(super) fn branch(name: &str, nodes: Vec<proto::Node>, output: &str) -> proto::Attribute {
    let graph =
        proto::Graph { node: nodes, output: vec![value(output, &[])], ..Default::default() };
    proto::Attribute { name: name.into(), g: Some(Box::new(graph)), ..Default::default() }
}

/// TorchScript writes a squeeze as a branch on whether the axis has size 1.
fn if_axis_has_size(axis: i64, size: i64) -> proto::Model {
    let vector = |name: &str, data: i64| proto::Tensor {
        dims: vec![1],
        data_type: 7,
        int64_data: vec![data],
        name: name.into(),
        ..Default::default()
    };
    let select = with(
        node("If", &["same"], "y"),
        &[
            branch("then_branch", vec![node("Neg", &["x"], "b")], "b"),
            branch("else_branch", vec![node("Exp", &["x"], "b")], "b"),
        ],
    );
    let nodes = vec![
        node("Shape", &["x"], "shape"),
        node("Gather", &["shape", "axis"], "size"),
        node("Equal", &["size", "wanted"], "same"),
        select,
    ];
    model(nodes, vec![vector("axis", axis), vector("wanted", size)])
}

#[test]
fn the_branch_that_sizes_select_is_read() {
    assert_eq!(outcome(&if_axis_has_size(1, 3), 0.0).unwrap().as_f32().unwrap()[0], 0.0);
    assert_eq!(outcome(&if_axis_has_size(1, 1), 0.0).unwrap().as_f32().unwrap()[0], 1.0);
    refused(&if_axis_has_size(0, 1), ErrorKind::Unsupported, "depends on the input");
}

/// Inference does not follow what is no integer; such a condition is computed.
#[test]
fn the_branch_that_constants_select_is_read() {
    for (limit, expected) in [(9.0, -2.0), (5.0, 2.0)] {
        let select = with(
            node("If", &["more"], "y"),
            &[
                branch("then_branch", vec![node("Relu", &["x"], "b")], "b"),
                branch("else_branch", vec![node("Neg", &["x"], "b")], "b"),
            ],
        );
        let nodes = vec![
            node("Exp", &["c"], "e"),
            with(node("ReduceSum", &["e"], "sum"), &[int("keepdims", 0)]),
            node("Greater", &["sum", "limit"], "more"),
            select,
        ];
        let constants = vec![tensor("c", &[2], &[1.0, 1.5]), tensor("limit", &[], &[limit])];
        let y = outcome(&model(nodes, constants), 2.0).unwrap();
        assert_eq!(y.as_f32().unwrap()[0], expected);
    }
}

#[test]
fn branches_in_branches_without_end_are_refused() {
    let mut inner = vec![node("Neg", &["x"], "b")];
    for _ in 0..200 {
        let attributes = [branch("then_branch", inner, "b")];
        inner = vec![with(node("If", &["c"], "b"), &attributes)];
    }
    refused(&model(inner, vec![]), ErrorKind::Format, "recursion limit");
}
