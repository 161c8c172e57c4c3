//! Runs whose inputs and outputs go by name.

use dyrelu::graph::{Binary, Dim, Graph, Op, TensorType};
use dyrelu::{DType, Error, ErrorKind, Model, Options, RunOptions, Session, Tensor};

/// A network with the inputs `a` and `b`, and the outputs `sum` and `difference`.
fn session() -> Session {
    let mut graph = Graph::new("names");
    let ty = || TensorType { dtype: DType::F32, dims: vec![Dim::symbol("N"), 2.into()] };
    let (a, b) = (graph.add_input("a", ty()), graph.add_input("b", ty()));
    let sum = graph.apply("sum", Op::Binary(Binary::Add), &[a, b]);
    let difference = graph.apply("difference", Op::Binary(Binary::Sub), &[a, b]);
    graph.set_outputs(vec![sum, difference]);
    Session::new(&Model::from_graph(graph, Options::default()).unwrap())
}

fn row(values: [f32; 2]) -> Tensor {
    Tensor::new(&[1, 2], values.to_vec()).unwrap()
}

#[test]
fn names_decide_and_not_the_order() {
    let (a, b) = (row([3.0, 4.0]), row([1.0, 0.5]));
    let mut session = session();
    for inputs in [[("a", &a), ("b", &b)], [("b", &b), ("a", &a)]] {
        let outputs = session.run_named(&inputs, &RunOptions::default()).unwrap();
        assert_eq!(outputs["sum"].as_f32().unwrap(), [4.0, 4.5]);
        assert_eq!(outputs["difference"].as_f32().unwrap(), [2.0, 3.5]);
        assert_eq!(outputs.len(), 2);
    }
}

#[test]
fn names_that_do_not_fit_are_named() {
    let a = row([3.0, 4.0]);
    let mut session = session();
    let mut message = |inputs: &[(&str, &Tensor)]| {
        let error: Error = session.run_named(inputs, &RunOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input);
        error.to_string()
    };
    let unknown = message(&[("a", &a), ("c", &a)]);
    assert_eq!(unknown, "the network has no input \"c\", its inputs are \"a\", \"b\"");
    assert_eq!(message(&[("a", &a)]), "the input \"b\" of the network is missing");
    assert_eq!(message(&[("a", &a), ("a", &a)]), "the input \"a\" is given twice");
}
