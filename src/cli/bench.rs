//! `dyrelu bench`: how long a network takes.

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
    /// The network, a file or a name from `dyrelu models`; the one that ships by default.
    model: Option<PathBuf>,
    /// Images a run.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive)]
    batch: usize,
    /// Threads to run on; all that this process may use by default.
    #[arg(long, value_name = "N", value_parser = positive)]
    threads: Option<usize>,
    /// How long to measure, in seconds.
    #[arg(long, default_value_t = 5.0, value_parser = not_negative)]
    seconds: f64,
    /// The size that stands for free sizes of the input beyond the batch.
    #[arg(long, value_name = "PIXELS", default_value_t = 224, value_parser = positive)]
    size: usize,
    /// An array for an input, in place of a made-up one; several in the order of the inputs.
    #[arg(long, value_name = "FILE.npy", conflicts_with_all = ["batch", "size"])]
    input: Vec<PathBuf>,
    /// Lists every step, not only the slowest.
    #[arg(long)]
    steps: bool,
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
    /// From opening the file until the model is there.
    open_ms: f64,
    /// From opening the file to the end of the first run.
    first_result_ms: f64,
    /// The most memory that the process had until then, beyond what it had before opening the
    /// file; absent where the system does not say.
    first_result_peak_bytes: Option<u64>,
    /// Bytes of packed weights.
    packed_bytes: usize,
    /// Bytes of working memory of a run.
    arena_bytes: usize,
    images_per_s: f64,
    gmacs_per_s: f64,
    isa: &'static str,
    threads: usize,
    batch: usize,
    runs: usize,
    /// Multiply-adds a second that one thread can do at best, measured.
    peak_gmacs_per_s: f64,
    /// The share of the time that goes to steps which do nothing but compute coefficients and
    /// attention or apply them.
    activation_share: f64,
    share_by_operation: BTreeMap<String, f64>,
    steps: Vec<StepMeasured>,
}

/// One step, for one image.
#[derive(Serialize)]
struct StepMeasured {
    name: String,
    op: String,
    median_us: f64,
    share: f64,
    /// Those of the direct way, where Winograd's has fewer.
    macs: f64,
    gmacs_per_s: f64,
    weight_bytes: usize,
}

/// What a step is called that only serves an activation.
const ACTIVATION_STEPS: [&str; 4] =
    ["Hyperfunction", "GlobalAveragePool", "SpatialAttention", "MaxAffine"];

pub(super) fn run(arguments: Arguments) -> Result<Outcome> {
    let threads = threads(arguments.threads);
    let before = memory_of_process("VmRSS");
    let start = Instant::now();
    let model = models::open(arguments.model.as_deref(), &arguments.engine)?;
    let open = start.elapsed();
    let inputs = match arguments.input.as_slice() {
        [] => made_up(&model, arguments.batch, arguments.size)?,
        files => files.iter().map(|file| arrays::read(file)).collect::<Result<_>>()?,
    };
    let batch = *inputs.first().and_then(|x| x.shape().first()).unwrap_or(&1);
    let start = Instant::now();
    let mut session = Session::with_threads(&model, threads)?;
    let outputs = session.run(&inputs)?;
    let first_result = open + start.elapsed();
    let first_peak = memory_of_process("VmHWM").zip(before);
    let first_peak = first_peak.map(|(most, before)| most.saturating_sub(before));
    for _ in 0..3 {
        session.run(&inputs)?;
    }
    if let Some(file) = &arguments.serve {
        let output = outputs.first().ok_or_else(|| Error::input("the network has no output"))?;
        arrays::write(file, output)?.keep()?;
        serve::serve(&mut session, &inputs, &outputs)?;
        return Ok(Outcome::Fine);
    }
    // Clocks between steps would be in the figure, so that steps are measured in runs of their own.
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
    let median = quantile(&times, 0.5);
    let measured = Measured {
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
        share_by_operation: by_operation,
        steps,
    };
    match arguments.format {
        TextOrJson::Json => print(&(to_json(&measured)? + "\n"))?,
        TextOrJson::Text => print(&as_text(&measured, arguments.steps))?,
    }
    Ok(Outcome::Fine)
}

/// What the system says of the memory of this process in bytes under `key`, on Linux.
fn memory_of_process(key: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kilobytes| 1024 * kilobytes)
}

/// The value below which a share `q` of sorted `values` lies.
fn quantile(values: &[f64], q: f64) -> f64 {
    values[((values.len() - 1) as f64 * q).round() as usize]
}

fn made_up(model: &Model, batch: usize, size: usize) -> Result<Vec<Tensor>> {
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

/// The multiply-adds of a whole run.
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

/// The steps of a run, in order; those that run image by image once.
fn measure_steps(
    session: &mut Session,
    inputs: &[Tensor],
    seconds: f64,
    images: f64,
) -> Result<Vec<StepMeasured>> {
    let mut steps: Vec<(StepTime, Vec<f64>)> = Vec::new();
    let mut places: HashMap<(String, String), usize> = HashMap::new();
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut runs = 0;
    while Instant::now() < end || runs < 5 {
        let (_, times) = session.run_timed(inputs)?;
        for time in times {
            let key = (time.name.clone(), time.op.clone());
            // A hyperfunction is two steps of one name.
            let key = match time.weight_bytes {
                0 => key,
                bytes => (key.0, format!("{} {bytes}", key.1)),
            };
            let place = *places.entry(key).or_insert_with(|| {
                steps.push((time.clone(), Vec::new()));
                steps.len() - 1
            });
            let (first, seconds) = &mut steps[place];
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
    let measured = |(step, mut times): (StepTime, Vec<f64>)| {
        let (median, macs) = (median(&mut times), step.macs as f64 / images);
        StepMeasured {
            name: step.name,
            op: step.op,
            median_us: 1e6 * median,
            share: median,
            macs,
            gmacs_per_s: macs / median / 1e9,
            weight_bytes: step.weight_bytes,
        }
    };
    let mut steps: Vec<_> = steps.into_iter().map(measured).collect();
    let all: f64 = steps.iter().map(|step| step.share).sum();
    steps.iter_mut().for_each(|step| step.share /= all);
    Ok(steps)
}

/// Steps that are listed where not all are asked for.
const MOST_LISTED: usize = 8;

fn list_steps(text: &mut String, m: &Measured, all: bool) {
    let mut listed: Vec<&StepMeasured> = m.steps.iter().collect();
    if !all {
        listed.sort_by(|a, b| b.share.total_cmp(&a.share));
        listed.truncate(MOST_LISTED);
    }
    let what = if all { "steps" } else { "slowest steps, --steps lists all" };
    let _ = writeln!(text, "{what}: microseconds, share, of the peak, weights");
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

fn as_text(m: &Measured, all_steps: bool) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{:.3} ms an image (median of {} runs), 90% below {:.3} ms",
        m.median_ms, m.runs, m.p90_ms
    );
    let _ = writeln!(
        text,
        "{:.3} ms from opening the file to the first result, {:.3} of them to open it",
        m.first_result_ms, m.open_ms
    );
    let megabytes = |bytes: f64| bytes / 1e6;
    let _ = writeln!(
        text,
        "{:.1} MB of packed weights, {:.1} MB of working memory{}",
        megabytes(m.packed_bytes as f64),
        megabytes(m.arena_bytes as f64),
        m.first_result_peak_bytes.map_or(String::new(), |peak| {
            format!(", at most {:.1} MB until the first result", megabytes(peak as f64))
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
        "{of_peak:.0}% of the peak, which is {:.1} G multiply-adds/s a thread",
        m.peak_gmacs_per_s
    );
    let activations = 100.0 * m.activation_share;
    let _ = writeln!(text, "{activations:.1}% in steps that only serve activations");
    let mut shares: Vec<_> = m.share_by_operation.iter().collect();
    shares.sort_by(|a, b| b.1.total_cmp(a.1));
    for (op, share) in shares {
        let _ = writeln!(text, "  {:5.1}%  {op}", 100.0 * share);
    }
    list_steps(&mut text, m, all_steps);
    text
}
