//! `dyrelu bench --sweep`: measures combinations of threads, batches and streams.

use std::io::Write;

use serde::Serialize;

use super::measure::{Length, Runs, Statistics, Usage, measure_runs};
use super::workload::{Arguments, synthetic_inputs};
use crate::cli::support::outcome::Outcome;
use crate::cli::support::print::{TextOrJson, count, print, to_json};
use crate::cli::support::shapes::input_shapes;
use crate::cli::support::table::{Narrow, table};
use crate::cli::support::values::threads;
use crate::cli::support::{messages, model};
use dyrelu::format::Replacement;
use dyrelu::pictures::{Anchor, Svg};
use dyrelu::{Error, Result, Session};

/// The batches that are measured, if the network takes them.
const BATCHES: [usize; 3] = [1, 4, 16];

#[derive(Serialize)]
struct Combination {
    threads: usize,
    batch: usize,
    streams: usize,
    images_per_s: f64,
    statistics_ms: Statistics,
    disturbed_share: Option<f64>,
}

pub fn run(arguments: &Arguments) -> Result<Outcome> {
    let model = model::open(arguments.model.as_deref(), &arguments.engine)?;
    let all = threads(arguments.threads);
    let size = arguments.size_for(&model)?;
    let takes_batches = model.inputs().iter().all(|port| {
        let first = port.shape().and_then(|shape| shape.first().copied());
        first.is_none_or(|size| size.is_none())
    });
    let mut counts: Vec<usize> =
        std::iter::successors(Some(1), |&n| Some(2 * n)).take_while(|&n| n < all).collect();
    counts.push(all);
    let mut combinations = Vec::new();
    // The measurement that other work disturbed most.
    let mut worst: Option<Usage> = None;
    for threads in counts {
        for batch in BATCHES.into_iter().filter(|&batch| batch == 1 || takes_batches) {
            let inputs = input_shapes(&model, None, batch, size)?;
            let inputs = synthetic_inputs(&inputs, &model)?;
            let mut streams = vec![1, all / threads];
            streams.dedup();
            for streams in streams {
                let session = |_| Session::with_threads(&model, threads);
                let mut sessions = (0..streams).map(session).collect::<Result<Vec<_>>>()?;
                let length = Length::Seconds(arguments.seconds() / 5.0);
                let Runs { times, usage } =
                    measure_runs(&mut sessions, &inputs, arguments.warmup(), length)?;
                let images = batch as f64;
                let samples: Vec<f64> = times.iter().map(|time| 1e3 * time / images).collect();
                combinations.push(Combination {
                    threads,
                    batch,
                    streams,
                    images_per_s: images * times.len() as f64 / usage.wall_s,
                    statistics_ms: Statistics::of(&samples),
                    disturbed_share: usage.disturbed_share,
                });
                let share = |usage: &Usage| usage.disturbed_share.unwrap_or(0.0);
                if worst.as_ref().is_none_or(|worst| share(&usage) > share(worst)) {
                    worst = Some(usage);
                }
            }
        }
    }
    if let Some(path) = &arguments.chart {
        let mut file = Replacement::of(path)?;
        file.write_all(chart(&combinations).as_bytes()).map_err(|e| Error::io(path, e))?;
        file.keep()?;
    }
    match arguments.format {
        TextOrJson::Json => print(&(to_json(&combinations)? + "\n"))?,
        TextOrJson::Text => print(&as_text(&combinations))?,
    }
    worst.and_then(|usage| usage.warning()).iter().for_each(messages::note);
    Ok(Outcome::Success)
}

/// A bar per combination, as long as its throughput.
fn chart(combinations: &[Combination]) -> String {
    const LEFT: f64 = 260.0;
    const LONGEST: f64 = 420.0;
    const ROW: f64 = 24.0;
    let rows = combinations.len() as f64;
    let mut svg = Svg::new(LEFT + LONGEST + 330.0, ROW * (rows + 1.5));
    svg.text((LEFT, 16.0), Anchor::Start, "images/s, and the time of a run per image");
    let best = combinations.iter().map(|c| c.images_per_s).fold(0.0, f64::max);
    for (row, c) in (1u16..).zip(combinations) {
        let top = ROW * f64::from(row);
        let [threads, streams] = [(c.threads, "thread"), (c.streams, "stream")]
            .map(|(number, word)| count(number, word));
        let label = format!("{threads}, batch {}, {streams}", c.batch);
        svg.text((LEFT - 8.0, top + 15.0), Anchor::End, &label);
        let length = LONGEST * c.images_per_s / best;
        let colour = if c.images_per_s == best { "#d55e00" } else { "#3b528b" };
        svg.rectangle((LEFT, top + 3.0), (length, ROW - 6.0), colour);
        let times = &c.statistics_ms;
        let value =
            format!("{:.1} (p50 {:.3} ms, p99 {:.3} ms)", c.images_per_s, times.p50, times.p99);
        svg.text((LEFT + length + 6.0, top + 15.0), Anchor::Start, &value);
    }
    svg.finish()
}

fn as_text(combinations: &[Combination]) -> String {
    let header = ["threads", "batch", "streams", "images/s", "p50 ms per image", "p99"];
    let best = combinations.iter().map(|c| c.images_per_s).fold(0.0, f64::max);
    let rows = combinations.iter().map(|c| {
        let mark = if c.images_per_s == best { "*" } else { "" };
        [
            c.threads.to_string(),
            c.batch.to_string(),
            c.streams.to_string(),
            format!("{mark}{:.1}", c.images_per_s),
            format!("{:.3}", c.statistics_ms.p50),
            format!("{:.3}", c.statistics_ms.p99),
        ]
    });
    table(header.map(String::from), rows.collect(), &[0, 1, 2, 3, 4, 5], Narrow::Shorten(0))
}
