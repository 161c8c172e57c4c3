//! The engine against the reference.

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

/// How the engine differs from the reference on this network, if it does.
pub fn difference(case: &Case) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(|| check(case))) {
        Ok(Ok(())) => None,
        Ok(Err(difference)) => Some(difference),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied());
            Some(format!("panics: {}", text.unwrap_or("without a word")))
        }
    }
}

/// What a check found.
type Check<T = ()> = Result<T, String>;

fn check(case: &Case) -> Check {
    let mut graph = case.graph.clone();
    let valid = graph.validate();
    let expected = valid.and_then(|()| reference::run(&graph, &case.inputs));
    let model = Model::from_graph(case.graph.clone(), Options::default());
    let expected = match expected {
        Ok(expected) => expected,
        Err(_) => {
            // What cannot be run is refused, somewhere.
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
    let alone = session.run(&case.inputs).map_err(refused)?;
    let mut tolerance = Tolerance::new(&graph, &case.inputs, &expected);
    tolerance.check(&alone).map_err(|e| format!("differs from the reference: {e}"))?;

    let again = session.run(&case.inputs).map_err(refused)?;
    same_bits(&again, &alone).map_err(|e| format!("a second run differs: {e}"))?;
    let observed = session.run_observed(&case.inputs, &mut |_, _| {}).map_err(refused)?;
    same_bits(&observed, &alone).map_err(|e| format!("an observed run differs: {e}"))?;
    let mut threaded = Session::with_threads(&model, 3).map_err(|e| e.to_string())?;
    let threaded = threaded.run(&case.inputs).map_err(refused)?;
    same_bits(&threaded, &alone).map_err(|e| format!("three threads differ: {e}"))?;

    files::check(case, &alone, &mut tolerance)?;
    batch::check(case, &graph, &model, &mut session)?;
    sizes::check(case, &graph, &mut session)?;
    // Other shapes in between leave no trace.
    let last = session.run(&case.inputs).map_err(refused)?;
    same_bits(&last, &alone).map_err(|e| format!("a run after another batch differs: {e}"))
}

fn run(model: &Arc<Model>, inputs: &[Tensor]) -> dyrelu::Result<Vec<Tensor>> {
    Session::new(model).run(inputs)
}

/// The types that the model declares for its outputs are those that they have. Free sizes stand for
/// at least 1, and what is computed from them need not be right where it becomes 0.
fn check_types(model: &Arc<Model>, inputs: &[Tensor], expected: &[Tensor]) -> Check {
    let sizes = sizes_of(model.graph(), inputs)?;
    for (port, tensor) in model.outputs().iter().zip(expected) {
        let Some(ty) = &port.ty else { continue };
        let fits = |(dim, &size): (&dyrelu::graph::Dim, &usize)| match dim.evaluate(&sizes) {
            Ok(wanted) => wanted == size as i64,
            // A size that depends on data.
            Err(_) => true,
        };
        let shape = tensor.shape();
        if shape.contains(&0) {
            continue;
        }
        let same = ty.dtype == tensor.dtype() && ty.dims.len() == shape.len();
        if !same || !ty.dims.iter().zip(shape).all(fits) {
            return Err(format!("output {} is declared as {ty}, and is {tensor:?}", port.name));
        }
    }
    Ok(())
}

fn sizes_of(graph: &Graph, inputs: &[Tensor]) -> Check<Bindings> {
    let mut sizes = Bindings::new();
    let given = inputs.iter().map(|tensor| (tensor.dtype(), tensor.shape()));
    bind_inputs(graph, given, &mut sizes).map_err(|e| format!("inputs are refused: {e}"))?;
    Ok(sizes)
}

/// Whether two runs gave the same to the last bit. One NaN is as good as another.
fn same_bits(found: &[Tensor], expected: &[Tensor]) -> Check {
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        if found.dtype() != expected.dtype() || found.shape() != expected.shape() {
            return Err(format!("output {i} is {found:?}, expected {expected:?}"));
        }
        if found.bytes() == expected.bytes() {
            continue;
        }
        let values = found.as_f32().ok().zip(expected.as_f32().ok());
        let Some((found, expected)) = values else {
            return Err(format!("output {i} has other elements"));
        };
        for (at, (x, y)) in found.iter().zip(expected).enumerate() {
            if x.to_bits() != y.to_bits() && !(x.is_nan() && y.is_nan()) {
                return Err(format!("output {i} at {at}: {x:e}, expected {y:e}"));
            }
        }
    }
    Ok(())
}
