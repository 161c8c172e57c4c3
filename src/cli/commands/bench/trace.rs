//! The steps of runs in the format of Chrome's traces, which `chrome://tracing` and Perfetto show.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use crate::cli::support::print::to_json;
use dyrelu::format::Replacement;
use dyrelu::{Error, Result, RunOptions, Session, StepTime, Tensor};

/// The number of traced runs per stream.
const RUNS: usize = 5;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Trace<'a> {
    trace_events: Vec<Event<'a>>,
    display_time_unit: &'static str,
}

/// An event of the format. Times are in microseconds.
#[derive(Serialize)]
struct Event<'a> {
    name: &'a str,
    /// `X` for something that takes time, `M` for the name of a row.
    ph: &'static str,
    ts: f64,
    dur: f64,
    pid: usize,
    /// The row: the number of the stream.
    tid: usize,
    args: Arguments<'a>,
}

/// What is shown for an event when it is selected.
#[derive(Serialize)]
#[serde(untagged)]
enum Arguments<'a> {
    Row { name: String },
    Run { run: usize },
    Step { node: &'a str, kernel: &'a str, macs: usize, weight_bytes: usize },
}

/// A run of a stream.
struct Run {
    start: Instant,
    end: Instant,
    steps: Vec<StepTime>,
}

/// Runs all sessions at the same time, and writes the steps of their runs to the file at `path`.
pub fn write(path: &Path, sessions: &mut [Session], inputs: &[Tensor]) -> Result<()> {
    let mut file = Replacement::of(path)?;
    let begin = Instant::now();
    let streams = std::thread::scope(|scope| {
        let threads: Vec<_> =
            sessions.iter_mut().map(|session| scope.spawn(|| runs(session, inputs))).collect();
        let runs = threads.into_iter().map(|thread| match thread.join() {
            Ok(runs) => runs,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        runs.collect::<Result<Vec<_>>>()
    })?;
    let json = to_json(&trace(begin, &streams))?;
    file.write_all(json.as_bytes()).map_err(|e| Error::io(path, e))?;
    file.keep()
}

fn runs(session: &mut Session, inputs: &[Tensor]) -> Result<Vec<Run>> {
    let run = |_| {
        let start = Instant::now();
        let (_, steps) = session.run_timed(inputs, &RunOptions::default())?;
        Ok(Run { start, end: Instant::now(), steps })
    };
    (0..RUNS).map(run).collect()
}

fn trace(begin: Instant, streams: &[Vec<Run>]) -> Trace<'_> {
    let microseconds = |instant: Instant| 1e6 * (instant - begin).as_secs_f64();
    let mut events = Vec::new();
    for (stream, runs) in streams.iter().enumerate() {
        let event =
            |name, ph, ts, dur, args| Event { name, ph, ts, dur, pid: 1, tid: stream, args };
        let row = Arguments::Row { name: format!("stream {stream}") };
        events.push(event("thread_name", "M", 0.0, 0.0, row));
        for (number, run) in runs.iter().enumerate() {
            let (ts, dur) = (microseconds(run.start), 1e6 * (run.end - run.start).as_secs_f64());
            events.push(event("run", "X", ts, dur, Arguments::Run { run: number }));
            for step in &run.steps {
                let (ts, dur) = (microseconds(step.start), 1e6 * step.duration.as_secs_f64());
                let StepTime { name: node, kernel, macs, weight_bytes, .. } = step;
                let (macs, weight_bytes) = (*macs, *weight_bytes);
                let args = Arguments::Step { node, kernel, macs, weight_bytes };
                events.push(event(&step.op, "X", ts, dur, args));
            }
        }
    }
    Trace { trace_events: events, display_time_unit: "ms" }
}
