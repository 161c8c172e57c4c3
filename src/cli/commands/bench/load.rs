//! `dyrelu bench --rate`: measures latencies under a load that does not wait for results.

use std::sync::{Barrier, Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::measure::{Period, Statistics, Usage};
use super::record::{Origin, shapes};
use super::workload::Arguments;
use crate::cli::support::numbers::Uniform;
use crate::cli::support::outcome::Outcome;
use crate::cli::support::print::{TextOrJson, count, print, to_json};
use crate::cli::support::table::{Narrow, table};
use crate::cli::support::{messages, model, named};
use dyrelu::simd::Isa;
use dyrelu::{Result, Session, Tensor};

/// The result. Times are per request, which is one run.
#[derive(Serialize)]
struct Load {
    #[serde(flatten)]
    origin: Origin,
    isa: &'static str,
    threads: usize,
    streams: usize,
    batch: usize,
    requests: usize,
    requests_per_s: f64,
    /// Results per second, from the first request until the last result.
    results_per_s: f64,
    /// From when a request is due to its result.
    latency_ms: Statistics,
    /// The part of the latency in which the network runs.
    run_ms: Statistics,
    usage: Usage,
    /// All latencies, in the order of each stream.
    latencies_ms: Vec<f64>,
}

/// A request that was answered. Times are in seconds.
struct Request {
    latency: f64,
    run: f64,
}

/// The times at which requests are due, in seconds after the beginning, until an end.
struct Arrivals {
    uniform: Uniform,
    mean_gap: f64,
    next: f64,
    end: f64,
}

impl Arrivals {
    /// Of a Poisson process, of which the first event is at the beginning.
    fn new(rate: f64, seconds: f64) -> Self {
        Arrivals { uniform: Uniform::new(), mean_gap: 1.0 / rate, next: 0.0, end: seconds }
    }
}

impl Iterator for Arrivals {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        let due = self.next;
        self.next -= self.mean_gap * (1.0 - self.uniform.sample()).ln();
        (due < self.end).then_some(due)
    }
}

/// How long before a request is due a stream stops sleeping, because a sleep ends late.
const AWAKE: Duration = Duration::from_micros(200);

fn wait_until(due: Instant) {
    let left = due.saturating_duration_since(Instant::now());
    if left > AWAKE {
        std::thread::sleep(left - AWAKE);
    }
    while Instant::now() < due {
        std::hint::spin_loop();
    }
}

/// Runs the requests of `arrivals`, each on the session that is free first.
fn answer(
    sessions: &mut [Session],
    inputs: &[Tensor],
    warmup: usize,
    arrivals: Arrivals,
) -> Result<(Vec<Request>, Usage)> {
    let arrivals = Mutex::new(arrivals);
    let (begin, end) = (Barrier::new(sessions.len() + 1), Barrier::new(sessions.len() + 1));
    let start = OnceLock::new();
    let next = || arrivals.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
    let serve = |session: &mut Session| {
        let mut result = (0..warmup).try_for_each(|_| session.run(inputs).map(drop));
        begin.wait();
        let start = *start.get_or_init(Instant::now);
        let mut requests = Vec::new();
        while result.is_ok()
            && let Some(due) = next()
        {
            let due = start + Duration::from_secs_f64(due);
            wait_until(due);
            let run = Instant::now();
            result = session.run(inputs).map(drop);
            let done = Instant::now();
            let [latency, run] = [due, run].map(|from| (done - from).as_secs_f64());
            requests.push(Request { latency, run });
        }
        end.wait();
        // The system forgets the times of a thread that has ended.
        end.wait();
        result.map(|()| requests)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            sessions.iter_mut().map(|session| scope.spawn(|| serve(session))).collect();
        begin.wait();
        let period = Period::begin();
        end.wait();
        let usage = period.end();
        end.wait();
        let requests = threads.into_iter().map(|thread| match thread.join() {
            Ok(requests) => requests,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        let requests = requests.collect::<Result<Vec<_>>>()?;
        Ok((requests.into_iter().flatten().collect(), usage))
    })
}

pub fn run(arguments: &Arguments, rate: f64) -> Result<Outcome> {
    let threads = arguments.threads_per_stream();
    let path = named::find(arguments.model.as_deref())?;
    let model = model::open(Some(&path), &arguments.engine)?;
    let inputs = arguments.inputs(&model)?;
    let session = |_| Session::with_threads(&model, threads);
    let mut sessions = (0..arguments.streams).map(session).collect::<Result<Vec<_>>>()?;
    let seconds = arguments.seconds();
    // The first run of a session is slower.
    let warmup = arguments.warmup() + 1;
    let (requests, usage) = answer(&mut sessions, &inputs, warmup, Arrivals::new(rate, seconds))?;
    let times = |time: fn(&Request) -> f64| -> Vec<f64> {
        requests.iter().map(|request| 1e3 * time(request)).collect()
    };
    let latencies_ms = times(|request| request.latency);
    let load = Load {
        origin: Origin::new(path, shapes(&inputs), &arguments.engine, arguments.warmup())?,
        isa: Isa::get().name(),
        threads,
        streams: arguments.streams,
        batch: *inputs.first().and_then(|x| x.shape().first()).unwrap_or(&1),
        requests: requests.len(),
        requests_per_s: rate,
        results_per_s: requests.len() as f64 / usage.wall_s,
        latency_ms: Statistics::of(&latencies_ms),
        run_ms: Statistics::of(&times(|request| request.run)),
        usage,
        latencies_ms,
    };
    match arguments.format {
        TextOrJson::Json => print(&(to_json(&load)? + "\n"))?,
        TextOrJson::Text => print(&as_text(&load))?,
    }
    load.usage.warning().iter().for_each(messages::note);
    // Requests that are due until the end are answered after it.
    if usage.wall_s > 1.1 * seconds {
        messages::note(format_args!(
            "the requests of {seconds:.1} s took {:.1} s: the rate is too high for this machine, and \
             latencies grow with --seconds",
            usage.wall_s
        ));
    }
    Ok(Outcome::Success)
}

fn as_text(load: &Load) -> String {
    let header = ["ms", "min", "mean", "p50", "p90", "p95", "p99", "max"];
    let rows = [("latency", &load.latency_ms), ("of which the run", &load.run_ms)];
    let rows = rows.map(|(name, s)| {
        let times = [s.min, s.mean, s.p50, s.p90, s.p95, s.p99, s.max];
        let [min, mean, p50, p90, p95, p99, max] = times.map(|time| format!("{time:.3}"));
        [name.to_string(), min, mean, p50, p90, p95, p99, max]
    });
    let right = [1, 2, 3, 4, 5, 6, 7];
    let times = table(header.map(String::from), rows.to_vec(), &right, Narrow::Records);
    let busy = load.usage.busy().map_or(String::new(), |busy| format!(", {busy}"));
    format!(
        "{} at {:.1} per second, {:.1} results per second{busy}\n{times}batch {}, {}, {}, {}\n",
        count(load.requests, "request"),
        load.requests_per_s,
        load.results_per_s,
        load.batch,
        count(load.threads, "thread"),
        count(load.streams, "stream"),
        load.isa
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_at_the_rate_and_at_random() {
        let due: Vec<f64> = Arrivals::new(50.0, 200.0).collect();
        assert_eq!(due[0], 0.0);
        // Of 10,000 events, the standard deviation is 100.
        assert!((9_600..=10_400).contains(&due.len()), "{}", due.len());
        let gaps: Vec<f64> = due.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|&gap| gap >= 0.0));
        // The share of gaps that are longer than the mean is 1/e.
        let longer = gaps.iter().filter(|&&gap| gap > 0.02).count() as f64 / gaps.len() as f64;
        assert!((longer - 0.368).abs() < 0.02, "{longer}");
        assert_eq!(due, Arrivals::new(50.0, 200.0).collect::<Vec<_>>());
    }
}
