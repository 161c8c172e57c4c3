//! `dyrelu bench`: measures how long a network takes.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{
    Outcome, TextOrJson, arrays, models, not_negative, positive, print, serve, threads, to_json,
};
use dyrelu::graph::{cost, infer};
use dyrelu::plan::StepTime;
use dyrelu::simd::{Isa, peak};
use dyrelu::{DType, Error, Model, Port, Result, Session, Tensor};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dyrelu bench net.onnx --threads 1
  dyrelu bench net.onnx --batch 8 --format json
  dyrelu bench net.onnx --input x.npy")]
pub(super) struct Arguments {
    /// Network: a file, or a name from `dyrelu models`; by default the one that ships with dyrelu.
    model: Option<PathBuf>,
    /// Number of images per run.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive)]
    batch: usize,
    /// Number of threads; by default all that this process may use.
    #[arg(long, value_name = "N", value_parser = positive)]
    threads: Option<usize>,
    /// Duration of the measurement in seconds.
    #[arg(long, default_value_t = 5.0, value_parser = not_negative)]
    seconds: f64,
    /// Size of every input axis that the network leaves free, other than the batch.
    #[arg(long, value_name = "PIXELS", default_value_t = 224, value_parser = positive)]
    size: usize,
    /// Array for an input instead of a synthetic one; give it once per input, in order.
    #[arg(long, value_name = "FILE.npy", conflicts_with_all = ["batch", "size"])]
    input: Vec<PathBuf>,
    /// List every step instead of the slowest only.
    #[arg(long)]
    steps: bool,
    /// Format of the result.
    #[arg(long, value_enum, default_value = "text")]
    format: TextOrJson,
    /// Write the first output to this file, then measure on each request on standard input.
    #[arg(long, value_name = "FILE.npy", hide = true)]
    serve: Option<PathBuf>,
    #[command(flatten)]
    engine: models::Engine,
}

/// The result of a measurement. Times are per image.
#[derive(Serialize)]
struct Measurement {
    median_ms: f64,
    p90_ms: f64,
    /// Time of opening the file and compiling the network.
    open_ms: f64,
    /// Time from opening the file to the end of the first run.
    first_result_ms: f64,
    /// Peak memory of the process until the first result, without its memory before opening the
    /// file. Absent if the system does not report it.
    first_result_peak_bytes: Option<u64>,
    /// Size of the packed weights.
    packed_bytes: usize,
    /// Size of the working memory of a run.
    arena_bytes: usize,
    images_per_s: f64,
    gmacs_per_s: f64,
    isa: &'static str,
    threads: usize,
    batch: usize,
    runs: usize,
    /// The measured peak of one thread.
    peak_gmacs_per_s: f64,
    /// Share of the time in steps that only compute or apply dynamic coefficients and attention.
    activation_share: f64,
    /// Share of the time in steps that no kernel computes, but the plain executor of the reference.
    general_share: f64,
    share_by_operation: BTreeMap<String, f64>,
    steps: Vec<StepMeasurement>,
}

/// The part of one step in a measurement. Times and counts are per image.
#[derive(Serialize)]
struct StepMeasurement {
    name: String,
    op: String,
    /// What computes the step, "general" for operators without a kernel.
    kernel: &'static str,
    median_us: f64,
    share: f64,
    /// Multiply-adds of the direct algorithm, also where Winograd's needs fewer.
    macs: f64,
    gmacs_per_s: f64,
    weight_bytes: usize,
}

/// The names of the steps that only serve an activation.
const ACTIVATION_STEPS: [&str; 9] = [
    "Hyperfunction",
    "GlobalAveragePool",
    "SpatialAttention",
    "MaxAffine",
    "MinAffine",
    "ChannelClip",
    "TwoSlopes",
    "Acon",
    "ShiftMax",
];

/// The kernel of the steps that the reference computes.
const GENERAL: &str = "general";

pub(super) fn run(arguments: Arguments) -> Result<Outcome> {
    let threads = threads(arguments.threads);
    let before = memory_of_process("VmRSS");
    let start = Instant::now();
    let model = models::open(arguments.model.as_deref(), &arguments.engine)?;
    let open = start.elapsed();
    let inputs = match arguments.input.as_slice() {
        [] => synthetic_inputs(&model, arguments.batch, arguments.size)?,
        files => files.iter().map(|file| arrays::read(file)).collect::<Result<_>>()?,
    };
    let batch = *inputs.first().and_then(|x| x.shape().first()).unwrap_or(&1);
    let start = Instant::now();
    let mut session = Session::with_threads(&model, threads)?;
    let outputs = session.run(&inputs)?;
    let first_result = open + start.elapsed();
    let first_peak = memory_of_process("VmHWM").zip(before);
    let first_peak = first_peak.map(|(peak, before)| peak.saturating_sub(before));
    for _ in 0..3 {
        session.run(&inputs)?;
    }
    if let Some(file) = &arguments.serve {
        let output = outputs.first().ok_or_else(|| Error::input("the network has no output"))?;
        arrays::write(file, output)?.keep()?;
        serve::serve(&mut session, &inputs, &outputs)?;
        return Ok(Outcome::Success);
    }
    // Reading the clock between steps takes time, so steps are measured in separate runs.
    let seconds = arguments.seconds.clamp(0.1, 3600.0);
    let mut times = Vec::new();
    let end = Instant::now() + Duration::from_secs_f64(0.75 * seconds);
    while Instant::now() < end || times.len() < 10 {
        let start = Instant::now();
        session.run(&inputs)?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let images = batch as f64;
    let steps = measure_steps(&mut session, &inputs, 0.25 * seconds, images)?;
    let mut by_operation: BTreeMap<String, f64> = BTreeMap::new();
    for step in &steps {
        *by_operation.entry(step.op.clone()).or_default() += step.share;
    }
    let activation_share =
        ACTIVATION_STEPS.iter().filter_map(|op| by_operation.get(*op)).fold(0.0, |a, b| a + b);
    let general = steps.iter().filter(|step| step.kernel == GENERAL);
    let general_share = general.map(|step| step.share).fold(0.0, |a, b| a + b);
    let median = quantile(&times, 0.5);
    let measurement = Measurement {
        median_ms: 1e3 * median / images,
        p90_ms: 1e3 * quantile(&times, 0.9) / images,
        open_ms: 1e3 * open.as_secs_f64(),
        first_result_ms: 1e3 * first_result.as_secs_f64(),
        first_result_peak_bytes: first_peak,
        packed_bytes: steps.iter().map(|step| step.weight_bytes).sum(),
        arena_bytes: session.arena_bytes(),
        images_per_s: images / median,
        gmacs_per_s: macs(&model, &inputs)? as f64 / median / 1e9,
        isa: Isa::get().name(),
        threads,
        batch,
        runs: times.len(),
        peak_gmacs_per_s: peak(Isa::get()) / 1e9,
        activation_share,
        general_share,
        share_by_operation: by_operation,
        steps,
    };
    match arguments.format {
        TextOrJson::Json => print(&(to_json(&measurement)? + "\n"))?,
        TextOrJson::Text => print(&as_text(&measurement, arguments.steps))?,
    }
    Ok(Outcome::Success)
}

/// The entry `key` of `/proc/self/status` in bytes. Returns `None` on systems other than Linux.
fn memory_of_process(key: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kilobytes| 1024 * kilobytes)
}

/// The `q`-quantile of `values`, which are sorted.
fn quantile(values: &[f64], q: f64) -> f64 {
    values[((values.len() - 1) as f64 * q).round() as usize]
}

/// Inputs with the values of a sine wave.
fn synthetic_inputs(model: &Model, batch: usize, size: usize) -> Result<Vec<Tensor>> {
    let tensor = |(shape, port): (Vec<usize>, &Port)| {
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
        let wave = Tensor::new(&shape, wave.collect::<Vec<f32>>())?;
        wave.cast(port.ty.as_ref().map_or(DType::F32, |ty| ty.dtype))
    };
    let shapes = models::input_shapes(model, None, batch, size)?;
    shapes.into_iter().zip(model.inputs()).map(tensor).collect()
}

/// The number of multiply-adds of a run.
fn macs(model: &Model, inputs: &[Tensor]) -> Result<u64> {
    let mut graph = model.graph().clone();
    for (i, tensor) in inputs.iter().enumerate() {
        let id = graph.inputs()[i];
        graph.value_mut(id).input = Some(dyrelu::graph::TensorType::from_tensor(tensor));
    }
    let types = infer::infer(&graph)?;
    let macs = graph.nodes().iter().map(|node| cost::multiply_adds(&types, node));
    Ok(macs.fold(0, u64::saturating_add))
}

/// Measures the steps of a run, in order. A step that runs once per image is listed once, with the
/// sum of its times.
fn measure_steps(
    session: &mut Session,
    inputs: &[Tensor],
    seconds: f64,
    images: f64,
) -> Result<Vec<StepMeasurement>> {
    let mut steps: Vec<(StepTime, Vec<f64>)> = Vec::new();
    let mut positions: HashMap<(String, String), usize> = HashMap::new();
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut runs = 0;
    while Instant::now() < end || runs < 5 {
        let (_, times) = session.run_timed(inputs)?;
        for time in times {
            let key = (time.name.clone(), time.op.clone());
            // The two layers of a hyperfunction are steps with the same name and operator.
            let key = match time.weight_bytes {
                0 => key,
                bytes => (key.0, format!("{} {bytes}", key.1)),
            };
            let position = *positions.entry(key).or_insert_with(|| {
                steps.push((time.clone(), Vec::new()));
                steps.len() - 1
            });
            let (first, seconds) = &mut steps[position];
            match seconds.get_mut(runs) {
                Some(sum) => {
                    *sum += time.seconds;
                    first.macs += if runs == 0 { time.macs } else { 0 };
                }
                None => seconds.push(time.seconds),
            }
        }
        runs += 1;
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        quantile(times, 0.5) / images
    };
    let measurement = |(step, mut times): (StepTime, Vec<f64>)| {
        let (median, macs) = (median(&mut times), step.macs as f64 / images);
        StepMeasurement {
            name: step.name,
            op: step.op,
            kernel: step.kernel,
            median_us: 1e6 * median,
            share: median,
            macs,
            gmacs_per_s: macs / median / 1e9,
            weight_bytes: step.weight_bytes,
        }
    };
    let mut steps: Vec<_> = steps.into_iter().map(measurement).collect();
    let total: f64 = steps.iter().map(|step| step.share).sum();
    steps.iter_mut().for_each(|step| step.share /= total);
    Ok(steps)
}

/// The number of steps that are listed without `--steps`.
const SLOWEST_STEPS: usize = 8;

fn list_steps(text: &mut String, m: &Measurement, all_steps: bool) {
    let mut listed: Vec<&StepMeasurement> = m.steps.iter().collect();
    if !all_steps {
        listed.sort_by(|a, b| b.share.total_cmp(&a.share));
        listed.truncate(SLOWEST_STEPS);
    }
    let title = if all_steps { "steps" } else { "slowest steps (--steps lists all)" };
    let _ = writeln!(text, "{title}: microseconds, share, share of the peak, weights");
    for step in listed {
        let of_peak = match step.macs {
            0.0 => "     -".to_string(),
            _ => format!("{:5.1}%", 100.0 * step.gmacs_per_s / m.peak_gmacs_per_s),
        };
        let (us, share) = (step.median_us, 100.0 * step.share);
        let kilobytes = step.weight_bytes.div_ceil(1000);
        let (op, name) = (&step.op, &step.name);
        let _ = writeln!(text, "{us:9.1} {share:5.1}% {of_peak} {kilobytes:6} kB  {op}  {name}");
    }
}

fn as_text(m: &Measurement, all_steps: bool) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{:.3} ms per image (median of {} runs), 90% of runs below {:.3} ms",
        m.median_ms, m.runs, m.p90_ms
    );
    let _ = writeln!(
        text,
        "{:.3} ms from opening the file to the first result, of which {:.3} ms are opening",
        m.first_result_ms, m.open_ms
    );
    let megabytes = |bytes: f64| bytes / 1e6;
    let _ = writeln!(
        text,
        "{:.1} MB of packed weights, {:.1} MB of working memory{}",
        megabytes(m.packed_bytes as f64),
        megabytes(m.arena_bytes as f64),
        m.first_result_peak_bytes.map_or(String::new(), |peak| {
            format!(", peak of {:.1} MB until the first result", megabytes(peak as f64))
        })
    );
    let _ = writeln!(
        text,
        "{:.1} images/s, {:.2} G multiply-adds/s, batch {}, {} threads, {}",
        m.images_per_s, m.gmacs_per_s, m.batch, m.threads, m.isa
    );
    let of_peak = 100.0 * m.gmacs_per_s / m.peak_gmacs_per_s / m.threads as f64;
    let _ = writeln!(
        text,
        "{of_peak:.0}% of the peak, which is {:.1} G multiply-adds/s per thread",
        m.peak_gmacs_per_s
    );
    let activations = 100.0 * m.activation_share;
    let _ = writeln!(text, "{activations:.1}% in steps that only serve activations");
    if m.steps.iter().any(|step| step.kernel == GENERAL) {
        let general = 100.0 * m.general_share;
        let _ = writeln!(text, "{general:.1}% in steps without a kernel, which are slow");
    }
    let mut shares: Vec<_> = m.share_by_operation.iter().collect();
    shares.sort_by(|a, b| b.1.total_cmp(a.1));
    for (op, share) in shares {
        let _ = writeln!(text, "  {:5.1}%  {op}", 100.0 * share);
    }
    list_steps(&mut text, m, all_steps);
    text
}
