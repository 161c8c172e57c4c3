//! `dyrelu verify`: compares the engine with the reference executor, and with expected outputs.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::cli::support::numbers::{random_inputs, relative_error};
use crate::cli::support::outcome::Outcome;
use crate::cli::support::print::print;
use crate::cli::support::values::{not_negative, positive, threads};
use crate::cli::support::{arrays, model, named};
use dyrelu::{DType, Error, Result, Session, Tensor, reference};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dyrelu verify net.onnx
  dyrelu verify net.onnx --input x.npy --expect y.npy")]
pub struct Arguments {
    /// Network: a file, or a name from `dyrelu models`; by default the one that ships with dyrelu.
    model: Option<PathBuf>,
    /// Array for an input instead of random numbers; give it once per input, in order.
    #[arg(long, value_name = "FILE.npy")]
    input: Vec<PathBuf>,
    /// Expected array of an output; give it once per output, in order.
    #[arg(long, value_name = "FILE.npy")]
    expect: Vec<PathBuf>,
    /// Largest accepted error, relative to the largest magnitude in the array.
    #[arg(long, default_value_t = 1e-4, value_parser = not_negative)]
    tolerance: f64,
    /// Size of every axis of random inputs that the network leaves free, other than the batch.
    #[arg(long, value_name = "PIXELS", default_value_t = 224, value_parser = positive)]
    size: usize,
    /// Number of threads; by default all that this process may use.
    #[arg(long, short = 'j', value_name = "N", value_parser = positive)]
    threads: Option<usize>,
    #[command(flatten)]
    engine: model::Engine,
}

pub fn run(arguments: Arguments) -> Result<Outcome> {
    let path = named::find(arguments.model.as_deref())?;
    let graph = arguments.engine.files.read(&path)?;
    let inputs = if arguments.input.is_empty() {
        random_inputs(&graph, arguments.size)
            .map_err(|e| Error::input(format!("{e}; add --input FILE.npy")))?
    } else {
        arguments.input.iter().map(|path| arrays::read(path)).collect::<Result<_>>()?
    };
    if arguments.expect.len() > graph.outputs().len() {
        return Err(Error::input(format!(
            "--expect was given {} times, but the network has {} outputs",
            arguments.expect.len(),
            graph.outputs().len()
        )));
    }
    let files = arguments.expect.iter().map(|path| Ok((path, arrays::read(path)?)));
    let files: Vec<_> = files.collect::<Result<_>>()?;
    let session = |engine: &model::Engine| {
        let model = model::open(Some(&path), engine)?;
        Session::with_threads(&model, threads(arguments.threads))
    };
    // Values are compared by name: a pass that replaces a value keeps its name. Rounded weights could
    // move a value inside the network that is the small difference of large ones by more than the
    // tolerance, and the outputs by much less.
    let mut engine_values: HashMap<String, Tensor> = HashMap::new();
    session(&arguments.engine.in_full_precision())?.run_observed(
        &inputs,
        &mut |name, tensor| {
            engine_values.insert(name.to_string(), tensor.clone());
        },
    )?;
    let mut session = session(&arguments.engine)?;
    let outputs = session.run(&inputs)?;
    let model = session.model();
    let mut worst: Option<(f64, String)> = None;
    let mut compared = 0;
    let mut failure = None;
    let expected = reference::trace(&graph, &inputs, &mut |id, tensor| {
        let name = &graph.value(id).name;
        let computed = engine_values.get(name).filter(|t| t.dtype() == DType::F32);
        let Some(computed) = computed else { return };
        match relative_error(name, computed, tensor) {
            Ok(error) => {
                compared += 1;
                if worst.as_ref().is_none_or(|(w, _)| error > *w || error.is_nan()) {
                    worst = Some((error, name.clone()));
                }
            }
            Err(e) => failure = Some(e),
        }
    })?;
    if let Some(e) = failure {
        return Err(e);
    }
    let mut passed = true;
    let mut print_line = |comparison: &str, error: f64| {
        let accepted = error <= arguments.tolerance;
        passed &= accepted;
        print(&format!(
            "{}  {comparison}: relative error {error:.2e}\n",
            if accepted { "ok  " } else { "FAIL" }
        ))
    };
    if let Some((error, name)) = worst {
        let comparison = format!("{compared} values against the reference, the worst is {name:?}");
        print_line(&comparison, error)?;
    }
    for (i, (output, expected)) in outputs.iter().zip(&expected).enumerate() {
        let name = &model.outputs()[i].name;
        print_line(
            &format!("output {name:?} against the reference"),
            relative_error(name, output, expected)?,
        )?;
    }
    for (i, (path, expected)) in files.iter().enumerate() {
        let name = &model.outputs()[i].name;
        print_line(
            &format!("output {name:?} against {}", path.display()),
            relative_error(name, &outputs[i], expected)?,
        )?;
    }
    Ok(if passed { Outcome::Success } else { Outcome::Partial })
}
