//! `dyrelu verify`: the engine against the reference, and against what is expected.

use std::collections::HashMap;
use std::path::PathBuf;

use super::{Outcome, arrays, models, not_negative, positive, print, threads, zoo};
use dyrelu::graph::Graph;
use dyrelu::{DType, Error, Result, Session, Tensor, reference};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dyrelu verify net.onnx
  dyrelu verify net.onnx --input x.npy --expect y.npy")]
pub(super) struct Arguments {
    /// The network, a file or a name from `dyrelu models`; the one that ships by default.
    model: Option<PathBuf>,
    /// An array for each input, in order; random numbers by default.
    #[arg(long, value_name = "FILE.npy")]
    input: Vec<PathBuf>,
    /// What each output should be, in order.
    #[arg(long, value_name = "FILE.npy")]
    expect: Vec<PathBuf>,
    /// The largest error that passes, as a share of the largest element.
    #[arg(long, default_value_t = 1e-4, value_parser = not_negative)]
    tolerance: f64,
    /// The size that stands for free sizes of random inputs beyond the batch.
    #[arg(long, value_name = "PIXELS", default_value_t = 224, value_parser = positive)]
    size: usize,
    /// Threads to run on; all that this process may use by default.
    #[arg(long, value_name = "N", value_parser = positive)]
    threads: Option<usize>,
    #[command(flatten)]
    engine: models::Engine,
}

pub(super) fn run(arguments: Arguments) -> Result<Outcome> {
    let path = zoo::find(arguments.model.as_deref())?;
    let graph = arguments.engine.files.read(&path)?;
    let model = models::open(Some(&path), &arguments.engine)?;
    let inputs = if arguments.input.is_empty() {
        random_inputs(&graph, arguments.size)?
    } else {
        arguments.input.iter().map(|path| arrays::read(path)).collect::<Result<_>>()?
    };
    // Values are compared by name: passes that replace a value keep its name.
    let mut engine: HashMap<String, Tensor> = HashMap::new();
    let mut session = Session::with_threads(&model, threads(arguments.threads))?;
    let outputs = session.run_observed(&inputs, &mut |name, tensor| {
        engine.insert(name.to_string(), tensor.clone());
    })?;
    let mut worst: Option<(f64, String)> = None;
    let mut compared = 0;
    let mut failure = None;
    let expected = reference::trace(&graph, &inputs, &mut |id, tensor| {
        let name = &graph.value(id).name;
        let Some(found) = engine.get(name).filter(|t| t.dtype() == DType::F32) else { return };
        match relative_error(name, found, tensor) {
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
    let mut line = |what: &str, error: f64| {
        let good = error <= arguments.tolerance;
        passed &= good;
        print(&format!(
            "{}  {what}: error {error:.2e} of the scale\n",
            if good { "ok  " } else { "OFF " }
        ))
    };
    if let Some((error, name)) = worst {
        line(&format!("{compared} values against the reference, the worst is {name:?}"), error)?;
    }
    for (i, (found, expected)) in outputs.iter().zip(&expected).enumerate() {
        let name = &model.outputs()[i].name;
        line(
            &format!("output {name:?} against the reference"),
            relative_error(name, found, expected)?,
        )?;
    }
    if arguments.expect.len() > outputs.len() {
        return Err(Error::input(format!("the network has {} outputs", outputs.len())));
    }
    for (i, path) in arguments.expect.iter().enumerate() {
        let name = &model.outputs()[i].name;
        let expected = arrays::read(path)?;
        line(
            &format!("output {name:?} against {}", path.display()),
            relative_error(name, &outputs[i], &expected)?,
        )?;
    }
    Ok(if passed { Outcome::Fine } else { Outcome::Partial })
}

/// The largest difference as a share of the largest element; NaN where only one side has one.
fn relative_error(name: &str, found: &Tensor, expected: &Tensor) -> Result<f64> {
    if found.shape() != expected.shape() {
        return Err(Error::shape(format!(
            "{name:?} has shape {:?}, expected {:?}",
            found.shape(),
            expected.shape()
        )));
    }
    // What is rounded to half precision may be rounded the other way.
    let unit = match found.dtype() {
        DType::F16 => 1.0 / f64::from(1 << 10),
        DType::BF16 => 1.0 / f64::from(1 << 7),
        _ => 0.0,
    };
    let (found, expected) = (found.cast(DType::F64)?, expected.cast(DType::F64)?);
    let (found, expected) = (found.as_slice::<f64>()?, expected.as_slice::<f64>()?);
    let mut scale = f64::MIN_POSITIVE;
    let mut worst = 0f64;
    for (&a, &b) in found.iter().zip(expected) {
        let is_neighbour = b.is_finite() && (a - b).abs() <= unit * b.abs();
        if a == b || is_neighbour || (a.is_nan() && b.is_nan()) {
            scale = if b.is_finite() { scale.max(b.abs()) } else { scale };
            continue;
        }
        if !(a - b).is_finite() {
            return Ok(f64::NAN);
        }
        scale = scale.max(b.abs());
        worst = worst.max((a - b).abs());
    }
    Ok(worst / scale)
}

/// Normally distributed numbers, the same at every call.
fn random_inputs(graph: &Graph, size: usize) -> Result<Vec<Tensor>> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut uniform = move || {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    };
    let tensor = |id: &_| {
        let value = graph.value(*id);
        let Some(ty) = &value.input else { return Err(Error::graph("an input without a type")) };
        if !ty.dtype.is_float() {
            return Err(Error::input(format!(
                "input {:?} is of type {}: give its values with --input",
                value.name, ty.dtype
            )));
        }
        let size = |(axis, d): (usize, &dyrelu::graph::Dim)| {
            d.as_size().unwrap_or(if axis == 0 { 2 } else { size })
        };
        let shape: Vec<usize> = ty.dims.iter().enumerate().map(size).collect();
        let count = dyrelu::tensor::num_elements(&shape)
            .filter(|&n| n < 1 << 30)
            .ok_or_else(|| Error::input(format!("an input of shape {shape:?} is too large")))?;
        let values = (0..count).map(|_| (0..12).map(|_| uniform()).sum::<f64>() - 6.0);
        Tensor::new(&shape, values.map(|x| x as f32).collect::<Vec<f32>>())?.cast(ty.dtype)
    };
    graph.inputs().iter().map(tensor).collect()
}
