//! `dyrelu bench`: how long a network takes.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Outcome, TextOrJson, arrays, models, print, serve, threads, to_json};
use dyrelu::graph::{cost, infer};
use dyrelu::{DType, Error, Model, Result, Session, Tensor};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dyrelu bench net.onnx --threads 1
  dyrelu bench net.onnx --batch 8 --format json
  dyrelu bench net.onnx --input x.npy")]
pub(super) struct Arguments {
    /// The network; the one that ships by default.
    model: Option<PathBuf>,
    /// Images a run.
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch: usize,
    /// Threads to run on; all that this process may use by default.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// How long to measure, in seconds.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// The size that stands for free sizes of the input beyond the batch.
    #[arg(long, value_name = "PIXELS", default_value_t = 224)]
    size: usize,
    /// An array for an input, in place of a made-up one; several in the order of the inputs.
    #[arg(long, value_name = "FILE.npy", conflicts_with_all = ["batch", "size"])]
    input: Vec<PathBuf>,
    /// How the result is printed.
    #[arg(long, value_enum, default_value = "text")]
    format: TextOrJson,
    /// Leaves the first output here, then measures when told to on standard input.
    #[arg(long, value_name = "FILE.npy", hide = true)]
    serve: Option<PathBuf>,
    #[command(flatten)]
    engine: models::Engine,
}

/// Times are for one image.
#[derive(Serialize)]
struct Measured {
    median_ms: f64,
    p90_ms: f64,
    /// From opening the file to the end of the first run.
    first_result_ms: f64,
    images_per_s: f64,
    gmacs_per_s: f64,
    isa: &'static str,
    threads: usize,
    batch: usize,
    runs: usize,
    share_by_operation: BTreeMap<String, f64>,
}

pub(super) fn run(arguments: Arguments) -> Result<Outcome> {
    if arguments.batch == 0 {
        return Err(Error::input("--batch must be at least 1"));
    }
    let threads = threads(arguments.threads);
    let start = Instant::now();
    let model = models::open(arguments.model.as_deref(), &arguments.engine)?;
    let mut first_result = start.elapsed();
    let inputs = match arguments.input.as_slice() {
        [] => made_up(&model, arguments.batch, arguments.size)?,
        files => files.iter().map(|file| arrays::read(file)).collect::<Result<_>>()?,
    };
    let batch = *inputs.first().and_then(|x| x.shape().first()).unwrap_or(&1);
    let start = Instant::now();
    let mut session = Session::with_threads(&model, threads)?;
    let outputs = session.run(&inputs)?;
    first_result += start.elapsed();
    for _ in 0..3 {
        session.run(&inputs)?;
    }
    if let Some(file) = &arguments.serve {
        let output = outputs.first().ok_or_else(|| Error::input("the network has no output"))?;
        arrays::write(file, output)?;
        serve::serve(&mut session, &inputs)?;
        return Ok(Outcome::Fine);
    }
    let mut times = Vec::new();
    let mut by_operation: BTreeMap<String, f64> = BTreeMap::new();
    let end = Instant::now() + Duration::from_secs_f64(arguments.seconds.clamp(0.1, 3600.0));
    while Instant::now() < end || times.len() < 10 {
        let start = Instant::now();
        let (_, steps) = session.run_timed(&inputs)?;
        times.push(start.elapsed().as_secs_f64());
        for step in steps {
            *by_operation.entry(step.op).or_default() += step.seconds;
        }
    }
    times.sort_by(f64::total_cmp);
    let all: f64 = by_operation.values().sum();
    by_operation.values_mut().for_each(|t| *t /= all);
    let images = batch as f64;
    let median = quantile(&times, 0.5);
    let measured = Measured {
        median_ms: 1e3 * median / images,
        p90_ms: 1e3 * quantile(&times, 0.9) / images,
        first_result_ms: 1e3 * first_result.as_secs_f64(),
        images_per_s: images / median,
        gmacs_per_s: macs(&model, &inputs)? as f64 / median / 1e9,
        isa: dyrelu::simd::Isa::get().name(),
        threads,
        batch,
        runs: times.len(),
        share_by_operation: by_operation,
    };
    match arguments.format {
        TextOrJson::Json => print(&(to_json(&measured)? + "\n"))?,
        TextOrJson::Text => print(&as_text(&measured))?,
    }
    Ok(Outcome::Fine)
}

/// The value below which a share `q` of sorted `values` lies.
fn quantile(values: &[f64], q: f64) -> f64 {
    values[((values.len() - 1) as f64 * q).round() as usize]
}

fn made_up(model: &Model, batch: usize, size: usize) -> Result<Vec<Tensor>> {
    let tensor = |port: &dyrelu::Port| {
        let ty = port.ty.as_ref().filter(|ty| ty.dtype == DType::F32).ok_or_else(|| {
            Error::input(format!("input {:?} is not a feature map of f32", port.name))
        })?;
        let size = |(axis, d): (usize, &dyrelu::graph::Dim)| {
            d.as_size().unwrap_or(if axis == 0 { batch } else { size })
        };
        let shape: Vec<usize> = ty.dims.iter().enumerate().map(size).collect();
        if shape.first() != Some(&batch) {
            return Err(Error::input(format!(
                "the network takes batches of {} only; add --batch {0}",
                shape.first().unwrap_or(&0)
            )));
        }
        let count = dyrelu::tensor::num_elements(&shape)
            .filter(|&n| n < 1 << 30)
            .ok_or_else(|| Error::input(format!("an input of shape {shape:?} is too large")))?;
        let wave = (0..count).map(|i| ((i % 8191) as f32 * 0.37).sin());
        Tensor::new(&shape, wave.collect::<Vec<f32>>())
    };
    model.inputs().iter().map(tensor).collect()
}

/// The multiply-adds of a whole run.
fn macs(model: &Model, inputs: &[Tensor]) -> Result<u64> {
    let mut graph = model.graph().clone();
    for (i, tensor) in inputs.iter().enumerate() {
        let id = graph.inputs()[i];
        graph.value_mut(id).input = Some(dyrelu::graph::TensorType::of(tensor));
    }
    let types = infer::infer(&graph)?;
    let macs = graph.nodes().iter().map(|node| cost::multiply_adds(&types, node));
    Ok(macs.fold(0, u64::saturating_add))
}

fn as_text(m: &Measured) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{:.3} ms an image (median of {} runs), 90% below {:.3} ms",
        m.median_ms, m.runs, m.p90_ms
    );
    let _ = writeln!(text, "{:.3} ms from opening the file to the first result", m.first_result_ms);
    let _ = writeln!(
        text,
        "{:.1} images/s, {:.2} G multiply-adds/s, batch {}, {} threads, {}",
        m.images_per_s, m.gmacs_per_s, m.batch, m.threads, m.isa
    );
    let mut shares: Vec<_> = m.share_by_operation.iter().collect();
    shares.sort_by(|a, b| b.1.total_cmp(a.1));
    for (op, share) in shares {
        let _ = writeln!(text, "  {:5.1}%  {op}", 100.0 * share);
    }
    text
}
