//! `dyrelu bench --photos`: measures the rate from files to classes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use serde::Serialize;

use super::measure::{Difference, Length, Period, Statistics, Usage};
use super::record::{Old, Origin, Photos};
use super::workload::{Arguments, num_elements};
use crate::cli::support::outcome::Outcome;
use crate::cli::support::photos::{Contents, Found, Input, Source, Sources};
use crate::cli::support::pipeline::{self, Event, Settings, StageTimes, Stages};
use crate::cli::support::preparation::{Preparation, check_scores};
use crate::cli::support::print::{TextOrJson, count, print, to_json};
use crate::cli::support::table::sentences;
use crate::cli::support::work::Work;
use crate::cli::support::{interrupt, messages, model, named};
use dyrelu::simd::Isa;
use dyrelu::vision::Labels;
use dyrelu::{Error, Result};

/// The result. Times are per photo that has a class.
#[derive(Serialize)]
struct EndToEnd {
    #[serde(flatten)]
    origin: Origin,
    isa: &'static str,
    threads: usize,
    batch: usize,
    runs: usize,
    photos_per_run: usize,
    /// The photos of a run without a class.
    failed_per_run: usize,
    images_per_s: f64,
    statistics_ms: Statistics,
    usage: Usage,
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<Difference>,
    stages: Vec<Stage>,
    /// The time of each run.
    samples_ms: Vec<f64>,
}

/// A stage in a measurement.
#[derive(Serialize)]
struct Stage {
    name: &'static str,
    /// Of all threads together.
    ms: f64,
    share: f64,
}

pub fn run(arguments: &Arguments) -> Result<Outcome> {
    let old = arguments.compare.as_deref().map(Old::read).transpose()?;
    let files = files(&arguments.photos)?;
    let path = named::find(arguments.model.as_deref())?;
    let model = model::open(Some(&path), &arguments.engine)?;
    check_scores(&model)?;
    let preparation = Preparation::of_argument(arguments.preprocess.clone());
    let preprocess = preparation.photos_of_model(&model)?;
    let bytes = files.iter().filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum();
    let photos = Photos { count: files.len(), bytes, preprocess: preprocess.clone() };
    let shapes = preprocess.size().map(|[h, w]| vec![arguments.batch, 3, h as usize, w as usize]);
    num_elements(shapes.as_deref().unwrap_or(&[arguments.batch]))?;
    let shapes = shapes.into_iter().collect();
    let origin = Origin::new(path, shapes, &arguments.engine, arguments.warmup())?;
    let origin = origin.with_photos(photos);

    // Runs follow each other without a gap, so there are never fewer photos than threads.
    let work = Work::of_arguments(arguments.threads, arguments.batch);
    let threads = work.threads()?;
    let classifiers = work.classifiers(&model, &preprocess, &Labels::from_lines(""), usize::MAX)?;
    let (decode, max_bytes) = work.decode_options();
    let settings = Settings { decode, max_bytes, batch: arguments.batch, top: 1, embedding: None };
    let stages = Arc::<Stages>::default();
    let least = LEAST_PER_THREAD * threads * arguments.batch;
    let mut runs = Runs::new(files.len(), least, arguments, &stages);
    let photos = runs.photos(files);
    pipeline::run(photos, classifiers, settings, &stages, |event| runs.add(event))?;
    let Some((usage, times)) = runs.measured else {
        messages::error("stopped before the measurement was complete");
        return Ok(interrupt::received().map_or(Outcome::Partial, Outcome::Stopped));
    };

    let images = (runs.photos_per_run() - runs.failed_per_run()) as f64;
    let samples_ms: Vec<f64> = runs.seconds.iter().map(|time| 1e3 * time / images).collect();
    let all = images * samples_ms.len() as f64;
    let difference = old.map(|old| old.difference(&origin, threads, &samples_ms));
    let stage = |(name, time, share)| Stage { name, ms: 1e3 * time / all, share };
    let measurement = EndToEnd {
        origin,
        isa: Isa::get().name(),
        threads,
        batch: arguments.batch,
        runs: samples_ms.len(),
        photos_per_run: runs.photos_per_run(),
        failed_per_run: runs.failed_per_run(),
        images_per_s: all / usage.wall_s,
        statistics_ms: Statistics::of(&samples_ms),
        usage,
        difference: difference.transpose()?,
        stages: times.shares().map(stage).into(),
        samples_ms,
    };
    match arguments.format {
        TextOrJson::Json => print(&(to_json(&measurement)? + "\n"))?,
        TextOrJson::Text => print(&measurement.as_text(&times))?,
    }
    measurement.usage.warning().iter().for_each(messages::note);
    Ok(if runs.failed > 0 { Outcome::Partial } else { Outcome::Success })
}

/// The files of photos that arguments name.
fn files(named: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let source = Source::open(&Sources::of_paths(named.to_vec()))?;
    let mut files = Vec::new();
    for found in source {
        match found {
            Found::Photo(Input { name, contents: Contents::File }) => files.push(name),
            Found::Photo(_) => {
                let message = "--photos -: each run reads the photos again; give files or folders";
                return Err(Error::input(message));
            }
            Found::Failure(e) => return Err(e),
            Found::Note(text) => messages::note(text),
        }
    }
    if files.is_empty() {
        return Err(Error::input("--photos: no photos were found"));
    }
    Ok(files)
}

/// The least number of photos of a run, per thread and image of a batch. Results come in the order of the
/// photos, several at once, which a short run would show as times that differ.
const LEAST_PER_THREAD: usize = 10;

/// Runs over all photos, without a gap between them.
struct Runs<'a> {
    stages: &'a Stages,
    /// The number of different photos.
    count: usize,
    /// How often a run has each of them.
    repeats: usize,
    warmup: usize,
    length: Length,
    /// The photos of all runs that are done.
    done: usize,
    /// The number of different photos that have no class.
    failed: usize,
    /// When the last run ended.
    last: Instant,
    /// The measurement in progress, with the times of the stages before it.
    begun: Option<(Period, StageTimes)>,
    /// The durations of the measured runs.
    seconds: Vec<f64>,
    /// What the measured runs took, once they are done.
    measured: Option<(Usage, StageTimes)>,
    /// Whether no more photos are needed.
    ended: Arc<AtomicBool>,
}

impl<'a> Runs<'a> {
    /// Runs over `count` photos, of at least `least` photos each.
    fn new(count: usize, least: usize, arguments: &Arguments, stages: &'a Stages) -> Self {
        let warmup = arguments.warmup();
        Runs {
            stages,
            count,
            repeats: least.div_ceil(count),
            warmup,
            length: arguments.length(1.0),
            done: 0,
            failed: 0,
            last: Instant::now(),
            begun: (warmup == 0).then(|| (Period::begin(), stages.times())),
            seconds: Vec::new(),
            measured: None,
            ended: Arc::default(),
        }
    }

    fn photos_per_run(&self) -> usize {
        self.count * self.repeats
    }

    fn failed_per_run(&self) -> usize {
        self.failed * self.repeats
    }

    /// The photos of `files` again and again, until the runs are measured.
    fn photos(&self, files: Vec<PathBuf>) -> impl Iterator<Item = Found> + Send + 'static {
        let ended = self.ended.clone();
        let photo = move |number: usize| {
            let name = files[number % files.len()].clone();
            (!ended.load(Relaxed)).then_some(Found::Photo(Input { name, contents: Contents::File }))
        };
        (0..).map_while(photo)
    }

    /// Counts a photo.
    fn add(&mut self, event: Event) -> Result<()> {
        if self.measured.is_some() {
            return Ok(());
        }
        if let Event::Photo(_, Err(e)) = event
            && self.done < self.count
        {
            self.failed += 1;
            messages::error(e);
        }
        self.done += 1;
        if self.failed == self.count {
            return Err(Error::input("no photo could be classified"));
        }
        if self.done.is_multiple_of(self.photos_per_run()) {
            self.end_run();
        }
        Ok(())
    }

    fn end_run(&mut self) {
        let now = Instant::now();
        let seconds = (now - self.last).as_secs_f64();
        self.last = now;
        let Some((period, before)) = self.begun.take() else {
            let begins = self.done / self.photos_per_run() == self.warmup;
            self.begun = begins.then(|| (Period::begin(), self.stages.times()));
            return;
        };
        self.seconds.push(seconds);
        let is_enough = match self.length {
            Length::Seconds(least) => self.seconds.iter().sum::<f64>() >= least,
            Length::Runs(count) => self.seconds.len() >= count,
        };
        if is_enough {
            self.measured = Some((period.end(), self.stages.times().since(&before)));
            self.ended.store(true, Relaxed);
        } else {
            self.begun = Some((period, before));
        }
    }
}

impl EndToEnd {
    fn as_text(&self, times: &StageTimes) -> String {
        let mut lines = vec![
            format!(
                "{:.1} images/s from files to classes, {} of {}",
                self.images_per_s,
                count(self.runs, "run"),
                count(self.photos_per_run, "photo")
            ),
            format!("{:.3} ms per image (median of the runs)", self.statistics_ms.p50),
        ];
        if self.runs > 1 {
            lines.push(self.statistics_ms.as_text());
        }
        lines.push(format!("{} of the threads' time", times.as_text()));
        lines.extend(self.usage.busy());
        lines.extend(self.difference.map(|difference| difference.as_text()));
        lines.push(format!(
            "batch {}, {}, {}",
            self.batch,
            count(self.threads, "thread"),
            self.isa
        ));
        if self.failed_per_run > 0 {
            lines.push(format!(
                "{} of the {} photos of a run failed and are not counted",
                self.failed_per_run, self.photos_per_run
            ));
        }
        sentences(&(lines.join("\n") + "\n"))
    }
}
