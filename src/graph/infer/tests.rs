//! Tables of operators: their inputs, and the expected shapes or error.

mod calculations;
mod contradictions;
mod families;
mod indexing;

use super::*;
use crate::error::Result;
use crate::graph::{Dim, Graph, Node, Op, TensorType, ValueId};
use crate::tensor::{DType, Tensor};

/// An input of the operator under test.
#[derive(Clone)]
enum In {
    /// An input of the graph.
    Free(TensorType),
    Constant(Tensor),
    Absent,
}

/// Sizes as in `"N 3 H W"`; `""` is a scalar.
fn dims(text: &str) -> Vec<Dim> {
    let dim = |word: &str| word.parse::<i64>().map_or_else(|_| Dim::symbol(word), Dim::from);
    text.split_whitespace().map(dim).collect()
}

fn free(dtype: DType, text: &str) -> In {
    In::Free(TensorType { dtype, dims: dims(text) })
}

/// A floating-point input.
fn x(text: &str) -> In {
    free(DType::F32, text)
}

/// An integer input whose elements are known at run time only.
fn i(text: &str) -> In {
    free(DType::I64, text)
}

fn ints(values: &[i64]) -> In {
    In::Constant(Tensor::vector(values.to_vec()))
}

fn floats(values: &[f32]) -> In {
    In::Constant(Tensor::vector(values.to_vec()))
}

/// Returns a graph of one node with `outputs` outputs, and the outputs.
fn single(op: Op, inputs: &[In], outputs: usize) -> (Graph, Vec<ValueId>) {
    let mut graph = Graph::new("test");
    let add = |graph: &mut Graph, (n, input): (usize, &In)| match input {
        In::Free(ty) => Some(graph.add_input(format!("in{n}"), ty.clone())),
        In::Constant(tensor) => Some(graph.add_constant(format!("in{n}"), tensor.clone())),
        In::Absent => None,
    };
    let inputs = inputs.iter().enumerate().map(|input| add(&mut graph, input)).collect();
    let results: Vec<_> = (0..outputs).map(|n| graph.add_value(format!("out{n}"))).collect();
    let node_outputs = results.iter().copied().map(Some).collect();
    graph.add_node(Node { name: "node".into(), op, inputs, outputs: node_outputs });
    graph.set_outputs(results.clone());
    graph.validate().unwrap();
    (graph, results)
}

/// Returns the shapes of the outputs as text, separated by `|`, or the message of the error.
fn shapes(op: Op, inputs: &[In], outputs: usize) -> Result<String, String> {
    let (graph, results) = single(op, inputs, outputs);
    let types = infer(&graph).map_err(|e| e.to_string())?;
    let text = |id: &ValueId| match types.get(*id) {
        Some(ty) => format!("{:?}", ty.dims),
        None => "unknown".to_string(),
    };
    Ok(results.iter().map(text).collect::<Vec<_>>().join(" | "))
}

/// Checks a table of operators with one output, and reports all rows that fail.
fn check(table: Vec<(Op, Vec<In>, &str)>) {
    check_all(table.into_iter().map(|(op, inputs, expected)| (op, inputs, 1, expected)).collect());
}

/// Checks a table of operators that states the number of outputs of each.
fn check_all(table: Vec<(Op, Vec<In>, usize, &str)>) {
    let mut failures = Vec::new();
    for (row, (op, inputs, outputs, expected)) in table.into_iter().enumerate() {
        let name = op.name();
        let found = shapes(op, &inputs, outputs);
        if found.as_deref() != Ok(expected) {
            failures.push(format!("row {row} ({name}): expected {expected}, found {found:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
