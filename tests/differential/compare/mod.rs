//! Compares the engine with the reference executor on one network.

mod batch;
mod files;
mod shrink;
mod sizes;
mod tolerance;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use dyrelu::graph::{Bindings, Graph, bind_inputs};
use dyrelu::{Model, Options, Session, Tensor, reference};

use crate::graphs::Case;
pub use shrink::shrink;
use tolerance::Tolerance;

/// Describes how the engine differs from the reference on a network. Returns `None` if it does not.
pub fn difference(case: &Case) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(|| check(case))) {
        Ok(Ok(())) => None,
        Ok(Err(difference)) => Some(difference),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied());
            Some(format!("panics: {}", text.unwrap_or("no message")))
        }
    }
}

/// The result of a check. The error describes the difference.
type Check<T = ()> = Result<T, String>;

fn check(case: &Case) -> Check {
    let mut graph = case.graph.clone();
    let valid = graph.validate();
    let expected = valid.and_then(|()| reference::run(&graph, &case.inputs));
    let model = Model::from_graph(case.graph.clone(), precise());
    let expected = match expected {
        Ok(expected) => expected,
        Err(_) => {
            // The engine may give any result or error for such a network, but must not panic.
            if let Ok(model) = model {
                let _ = run(&model, &case.inputs);
            }
            return Ok(());
        }
    };
    let model = model.map_err(|e| format!("is refused: {e}"))?;
    check_types(&model, &case.inputs, &expected)?;
    let mut session = Session::new(&model);
    let refused = |e: dyrelu::Error| format!("a run is refused: {e}");
    let outputs = session.run(&case.inputs).map_err(refused)?;
    let mut tolerance = Tolerance::new(&graph, &case.inputs, &expected);
    tolerance.check(&outputs).map_err(|e| format!("differs from the reference: {e}"))?;

    let second = session.run(&case.inputs).map_err(refused)?;
    same_bits(&second, &outputs).map_err(|e| format!("a second run differs: {e}"))?;
    let observed = session.run_observed(&case.inputs, &mut |_, _| {}).map_err(refused)?;
    same_bits(&observed, &outputs).map_err(|e| format!("an observed run differs: {e}"))?;
    let mut threaded = Session::with_threads(&model, 3).map_err(|e| e.to_string())?;
    let threaded = threaded.run(&case.inputs).map_err(refused)?;
    same_bits(&threaded, &outputs).map_err(|e| format!("three threads differ: {e}"))?;

    files::check(case, &mut tolerance)?;
    batch::check(case, &graph, &model, &mut session)?;
    sizes::check(case, &graph, &mut session)?;
    // The session has run on other shapes meanwhile.
    let last = session.run(&case.inputs).map_err(refused)?;
    same_bits(&last, &outputs).map_err(|e| format!("a run after other shapes differs: {e}"))
}

/// The options with which results keep to the bounds of single precision.
fn precise() -> Options {
    Options::default().full_precision(true)
}

fn run(model: &Arc<Model>, inputs: &[Tensor]) -> dyrelu::Result<Vec<Tensor>> {
    Session::new(model).run(inputs)
}

/// Checks that outputs have the types that the model declares. Free sizes are assumed to be at least
/// 1, so an output with a size of 0 is not checked.
fn check_types(model: &Arc<Model>, inputs: &[Tensor], expected: &[Tensor]) -> Check {
    let sizes = sizes_of(model.graph(), inputs)?;
    for (port, tensor) in model.outputs().iter().zip(expected) {
        let Some(ty) = &port.ty else { continue };
        let fits = |(dim, &size): (&dyrelu::graph::Dim, &usize)| match dim.evaluate(&sizes) {
            Ok(declared) => declared == size as i64,
            // The size depends on data.
            Err(_) => true,
        };
        let shape = tensor.shape();
        if shape.contains(&0) {
            continue;
        }
        let same_type = ty.dtype == tensor.dtype() && ty.dims.len() == shape.len();
        if !same_type || !ty.dims.iter().zip(shape).all(fits) {
            return Err(format!("output {} is declared as {ty}, but is {tensor:?}", port.name));
        }
    }
    Ok(())
}

fn sizes_of(graph: &Graph, inputs: &[Tensor]) -> Check<Bindings> {
    let mut sizes = Bindings::new();
    let types = inputs.iter().map(|tensor| (tensor.dtype(), tensor.shape()));
    bind_inputs(graph, types, &mut sizes).map_err(|e| format!("inputs are refused: {e}"))?;
    Ok(sizes)
}

/// Checks that two runs gave the same bits. Any two NaN count as equal.
fn same_bits(outputs: &[Tensor], expected: &[Tensor]) -> Check {
    for (i, (output, expected)) in outputs.iter().zip(expected).enumerate() {
        if output.dtype() != expected.dtype() || output.shape() != expected.shape() {
            return Err(format!("output {i} is {output:?}, expected {expected:?}"));
        }
        if output.bytes() == expected.bytes() {
            continue;
        }
        let values = output.as_f32().ok().zip(expected.as_f32().ok());
        let Some((output, expected)) = values else {
            return Err(format!("output {i} has other elements"));
        };
        for (at, (x, y)) in output.iter().zip(expected).enumerate() {
            if x.to_bits() != y.to_bits() && !(x.is_nan() && y.is_nan()) {
                return Err(format!("output {i} at {at}: {x:e}, expected {y:e}"));
            }
        }
    }
    Ok(())
}
