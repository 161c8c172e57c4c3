//! Compares the engine with the reference at other sizes, where the network leaves sizes free.

use std::collections::HashMap;

use dyrelu::graph::{Dim, Graph};
use dyrelu::tensor::Storage;
use dyrelu::{Session, Tensor, reference};

use super::Check;
use super::tolerance::Tolerance;
use crate::graphs::Case;

/// Checks a session that has run at some sizes at other sizes.
pub fn check(case: &Case, graph: &Graph, session: &mut Session) -> Check {
    let mut symbols: HashMap<String, usize> = HashMap::new();
    let mut inputs = Vec::new();
    for (&id, tensor) in graph.inputs().iter().zip(&case.inputs) {
        let dims = graph.value(id).input.as_ref().map_or(&[][..], |ty| &ty.dims);
        let mut shape = tensor.shape().to_vec();
        for (size, symbol) in shape.iter_mut().zip(dims.iter().map(Dim::as_symbol)) {
            if let Some(symbol) = symbol {
                // Adding 1 and 2 in turns makes equal sizes differ.
                let increase = 1 + symbols.len() % 2;
                *size = *symbols.entry(symbol.into()).or_insert(*size + increase);
            }
        }
        inputs.push(resized(tensor, &shape));
    }
    if symbols.is_empty() {
        return Ok(());
    }
    match (reference::run(graph, &inputs), session.run(&inputs)) {
        (Ok(expected), Ok(outputs)) => Tolerance::new(graph, &inputs, &expected)
            .check(&outputs)
            .map_err(|e| format!("differs from the reference at other sizes: {e}")),
        (Ok(_), Err(e)) => Err(format!("other sizes are refused: {e}")),
        (Err(_), _) => Ok(()),
    }
}

/// A tensor of another shape that repeats the elements of `tensor`.
fn resized(tensor: &Tensor, shape: &[usize]) -> Tensor {
    let size = shape.iter().product::<usize>() * tensor.dtype().size();
    let mut bytes: Vec<u8> = tensor.bytes().iter().copied().cycle().take(size).collect();
    bytes.resize(size, 0);
    Tensor::from_storage(tensor.dtype(), shape, Storage::from_vec(bytes))
        .expect("the bytes were resized to the shape")
}
