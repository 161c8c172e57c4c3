//! `dyrelu bench`: measures how long a network takes.

mod load;
mod measure;
mod photos;
mod record;
mod serve;
mod sweep;
mod trace;
mod workload;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::time::{Duration, Instant};

use serde::Serialize;

use self::measure::{Difference, Runs, Statistics, Usage, measure_runs, quantile};
use self::record::{Old, Origin, shapes};
use crate::cli::support::outcome::Outcome;
use crate::cli::support::print::{TextOrJson, count, print, to_json};
use crate::cli::support::table::{Narrow, sentences, table};
use crate::cli::support::{arrays, messages, model, named, target};
use dyrelu::graph::{cost, infer};
use dyrelu::simd::{Isa, peak};
use dyrelu::{Error, Model, Result, RunOptions, Session, StepTime, Tensor};

pub use self::workload::Arguments;

/// The result of a measurement. Times are per image.
#[derive(Serialize)]
struct Measurement {
    #[serde(flatten)]
    origin: Origin,
    median_ms: f64,
    p90_ms: f64,
    statistics_ms: Statistics,
    usage: Usage,
    streams: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<Difference>,
    /// All times, in the order of each stream.
    samples_ms: Vec<f64>,
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

pub fn run(arguments: Arguments) -> Result<Outcome> {
    for target in [&arguments.trace, &arguments.chart].into_iter().flatten() {
        target::check_file(target)?;
    }
    arguments.check_threads()?;
    if arguments.sweep {
        return sweep::run(&arguments);
    }
    if let Some(rate) = arguments.rate {
        return load::run(&arguments, rate);
    }
    if !arguments.photos.is_empty() {
        return photos::run(&arguments);
    }
    let old = arguments.compare.as_deref().map(Old::read).transpose()?;
    let threads = arguments.threads_per_stream();
    let before = memory_of_process("VmRSS");
    let start = Instant::now();
    let path = named::find(arguments.model.as_deref())?;
    let model = model::open(Some(&path), &arguments.engine)?;
    let open = start.elapsed();
    let inputs = arguments.inputs(&model)?;
    let batch = *inputs.first().and_then(|x| x.shape().first()).unwrap_or(&1);
    let start = Instant::now();
    let mut session = Session::with_threads(&model, threads)?;
    let outputs = session.run(&inputs)?;
    let first_result = open + start.elapsed();
    let first_peak = memory_of_process("VmHWM").zip(before);
    let first_peak = first_peak.map(|(peak, before)| peak.saturating_sub(before));
    if let Some(file) = &arguments.serve {
        let output = outputs.first().ok_or_else(|| Error::input("the network has no output"))?;
        arrays::write(file, output)?.keep()?;
        for _ in 0..arguments.warmup() {
            session.run(&inputs)?;
        }
        serve::serve(&mut session, &inputs, &outputs)?;
        return Ok(Outcome::Success);
    }
    let mut sessions = vec![session];
    for _ in 1..arguments.streams {
        sessions.push(Session::with_threads(&model, threads)?);
    }
    // Reading the clock between steps takes time, so steps are measured in separate runs.
    let length = arguments.length(0.75);
    let Runs { times, usage } = measure_runs(&mut sessions, &inputs, arguments.warmup(), length)?;
    let images = batch as f64;
    let steps = measure_steps(&mut sessions[0], &inputs, 0.25 * arguments.seconds(), images)?;
    if let Some(file) = &arguments.trace {
        trace::write(file, &mut sessions, &inputs)?;
    }
    let mut by_operation: BTreeMap<String, f64> = BTreeMap::new();
    for step in &steps {
        *by_operation.entry(step.op.clone()).or_default() += step.share;
    }
    let activation_share =
        ACTIVATION_STEPS.iter().filter_map(|op| by_operation.get(*op)).fold(0.0, |a, b| a + b);
    let general = steps.iter().filter(|step| step.kernel == GENERAL);
    let general_share = general.map(|step| step.share).fold(0.0, |a, b| a + b);
    let samples_ms: Vec<f64> = times.iter().map(|time| 1e3 * time / images).collect();
    let statistics = Statistics::of(&samples_ms);
    // One stream is as fast as its median run; several disturb each other, and all their runs count.
    let images_per_s = match arguments.streams {
        1 => 1e3 / statistics.p50,
        _ => images * times.len() as f64 / usage.wall_s,
    };
    let origin = Origin::new(path, shapes(&inputs), &arguments.engine, arguments.warmup())?;
    let difference = old.map(|old| old.difference(&origin, threads, &samples_ms));
    let macs_per_image = macs(&model, &inputs)? as f64 / images;
    let measurement = Measurement {
        origin,
        median_ms: statistics.p50,
        p90_ms: statistics.p90,
        statistics_ms: statistics,
        usage,
        streams: arguments.streams,
        difference: difference.transpose()?,
        open_ms: 1e3 * open.as_secs_f64(),
        first_result_ms: 1e3 * first_result.as_secs_f64(),
        first_result_peak_bytes: first_peak,
        packed_bytes: steps.iter().map(|step| step.weight_bytes).sum(),
        arena_bytes: sessions.iter().map(Session::arena_bytes).sum(),
        images_per_s,
        gmacs_per_s: macs_per_image * images_per_s / 1e9,
        isa: Isa::get().name(),
        threads,
        batch,
        runs: times.len(),
        peak_gmacs_per_s: peak(Isa::get()) / 1e9,
        activation_share,
        general_share,
        share_by_operation: by_operation,
        steps,
        samples_ms,
    };
    match arguments.format {
        TextOrJson::Json => print(&(to_json(&measurement)? + "\n"))?,
        TextOrJson::Text => print(&as_text(&measurement, arguments.steps))?,
    }
    measurement.usage.warning().iter().for_each(messages::note);
    Ok(Outcome::Success)
}

/// The entry `key` of `/proc/self/status` in bytes. Returns `None` on systems other than Linux.
fn memory_of_process(key: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kilobytes| 1024 * kilobytes)
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
        let (_, times) = session.run_timed(inputs, &RunOptions::default())?;
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
            let (first, times) = &mut steps[position];
            let seconds = time.duration.as_secs_f64();
            match times.get_mut(runs) {
                Some(sum) => {
                    *sum += seconds;
                    first.macs += if runs == 0 { time.macs } else { 0 };
                }
                None => times.push(seconds),
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
    let header = ["µs", "share", "of the peak", "weights", "computes", "layer"].map(String::from);
    let rows = listed.iter().map(|step| {
        let of_peak = match step.macs {
            0.0 => "-".to_string(),
            _ => format!("{:.1}%", 100.0 * step.gmacs_per_s / m.peak_gmacs_per_s),
        };
        [
            format!("{:.1}", step.median_us),
            format!("{:.1}%", 100.0 * step.share),
            of_peak,
            format!("{} kB", step.weight_bytes.div_ceil(1000)),
            step.op.clone(),
            step.name.clone(),
        ]
    });
    let steps = table(header, rows.collect(), &[0, 1, 2, 3], Narrow::Shorten(5));
    let _ = write!(text, "{title}\n{steps}");
}

fn as_text(m: &Measurement, all_steps: bool) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{:.3} ms per image (median of {} runs), 90% of runs below {:.3} ms",
        m.median_ms, m.runs, m.p90_ms
    );
    let _ = writeln!(text, "{}", m.statistics_ms.as_text());
    let further = [m.usage.busy(), m.difference.map(|difference| difference.as_text())];
    for line in further.into_iter().flatten() {
        let _ = writeln!(text, "{line}");
    }
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
        "{:.1} images/s, {:.2} G multiply-adds/s, batch {}, {}, {}, {}",
        m.images_per_s,
        m.gmacs_per_s,
        m.batch,
        count(m.threads, "thread"),
        count(m.streams, "stream"),
        m.isa
    );
    let threads = (m.threads * m.streams) as f64;
    let of_peak = 100.0 * m.gmacs_per_s / m.peak_gmacs_per_s / threads;
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
    let mut text = sentences(&text);
    list_steps(&mut text, m, all_steps);
    text
}
