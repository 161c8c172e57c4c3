//! `dyrelu classify`: classifies photos.

use std::io::Write;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rayon::ThreadPoolBuilder;
use rayon::prelude::*;
use serde::Serialize;

use super::photos::{self, Photos, Sources};
use super::{Outcome, models, output_failed, positive, print, print_stderr, threads, to_json};
use dyrelu::format::read_text;
use dyrelu::vision::{Classifier, DecodeOptions, Labels, Prediction, Preprocess};
use dyrelu::{Error, ErrorKind, Result, Session};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dyrelu classify photo.jpg
  dyrelu classify --format csv photos/ > predictions.csv
  dyrelu classify --model net.onnx --preprocess imagenet --labels labels.txt photo.jpg
  find . -name '*.jpg' | dyrelu classify --format json -")]
pub(super) struct Arguments {
    /// Network: a file, or a name from `dyrelu models`; by default the one that ships with dyrelu.
    #[arg(long, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Number of predictions per photo.
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = positive)]
    top: usize,
    /// Format of the results.
    ///
    /// CSV has the header path,rank,class,label,score. JSON has one object per line, with path and
    /// either predictions or error. A path that is not valid Unicode is printed with replacement
    /// characters; JSON then adds path_hex, its bytes in hexadecimal.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Number of threads; by default all that this process may use.
    #[arg(long, value_name = "N", value_parser = positive)]
    threads: Option<usize>,
    /// Number of photos per run of the network.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = positive)]
    batch: usize,
    /// Preparation of photos, for a model file without one: `imagenet` for torchvision's usual one, or
    /// a JSON file.
    #[arg(long, value_name = "imagenet|FILE.json")]
    preprocess: Option<PathBuf>,
    /// Class names, one per line, for a model file without them.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Accept photos whose file is truncated or damaged, with grey or black for the missing part.
    /// A truncated WebP file is an error nevertheless.
    #[arg(long)]
    allow_truncated: bool,
    /// Largest number of pixels of a photo; a larger photo is refused before it is decoded.
    /// Decoding takes up to 16 bytes per pixel on each thread.
    #[arg(long, value_name = "N", default_value_t = DecodeOptions::DEFAULT_MAX_PIXELS)]
    max_pixels: u64,
    #[command(flatten)]
    photos: Sources,
    #[command(flatten)]
    engine: models::Engine,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
    Csv,
}

pub(super) fn run(arguments: Arguments) -> Result<Outcome> {
    let Photos { paths: photos, mut failures } = photos::collect(&arguments.photos)?;
    if photos.is_empty()
        && let Some(last) = failures.pop()
    {
        failures.iter().for_each(|e| print_stderr(format_args!("error: {e}")));
        return Err(last);
    }
    let model = models::open(arguments.model.as_deref(), &arguments.engine)?;
    let threads = threads(arguments.threads);
    let mut classifier = classifier(Session::with_threads(&model, threads)?, &arguments)?;
    let (decode, preprocess) = (decode_options(&arguments), classifier.preprocess().clone());
    let prepare = |path: &PathBuf| {
        let photo = decode.load(path)?;
        preprocess.apply(&photo).map_err(|e| e.in_file(path))
    };
    let preparers = ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|e| Error::new(ErrorKind::Io, format!("cannot start {threads} threads: {e}")))?;
    let mut printer = Printer::new(arguments.format)?;
    let progress = progress(photos.len());
    failures.iter().for_each(|e| progress.suspend(|| print_stderr(format_args!("error: {e}"))));
    let mut failed = 0;
    for paths in photos.chunks(arguments.batch) {
        let prepared = preparers.install(|| paths.par_iter().map(prepare).collect());
        let results = classifier.classify_prepared(prepared, arguments.top);
        for (path, result) in paths.iter().zip(results) {
            let result = result.map_err(|e| e.in_file(path));
            if let Err(e) = &result {
                failed += 1;
                progress.suspend(|| print_stderr(format_args!("error: {e}")));
            }
            progress.suspend(|| printer.print(path, &result))?;
        }
        progress.inc(paths.len() as u64);
    }
    progress.finish_and_clear();
    if failed > 0 {
        print_stderr(format_args!("{failed} of {} images could not be classified", photos.len()));
    }
    Ok(if failed > 0 || !failures.is_empty() { Outcome::Partial } else { Outcome::Success })
}

/// A progress bar on standard error, hidden if that is not a terminal or there is only one photo.
fn progress(count: usize) -> ProgressBar {
    if count < 2 {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(count as u64), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len}  {per_sec}  {eta} left");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// The classifier of a session. Arguments override what the model file states.
fn classifier(session: Session, arguments: &Arguments) -> Result<Classifier> {
    let model = session.model();
    let preprocess = match &arguments.preprocess {
        Some(argument) => models::preprocess(argument)?,
        None if model.metadata("preprocess").is_some() => Preprocess::from_model(model)?,
        None => {
            return Err(Error::input(
                "the model file does not state how photos are prepared; add --preprocess imagenet, \
                 or a JSON file with, for example, {\"resize\": {\"shorter_side\": 256}, \
                 \"center_crop\": [224, 224], \"mean\": [0.485, 0.456, 0.406], \"std\": [0.229, \
                 0.224, 0.225]}",
            ));
        }
    };
    let labels = match &arguments.labels {
        Some(path) => {
            let scores = model.outputs().first().and_then(|port| port.ty.as_ref());
            models::labels(&read_text(path)?, scores).map_err(|e| e.in_file(path))?
        }
        None => Labels::from_model(model)?,
    };
    Classifier::with_parts(session, preprocess, labels)
}

fn decode_options(arguments: &Arguments) -> DecodeOptions {
    let options = DecodeOptions::default()
        .max_pixels(arguments.max_pixels)
        .allow_truncated(arguments.allow_truncated);
    if arguments.max_pixels <= DecodeOptions::DEFAULT_MAX_PIXELS {
        return options;
    }
    // The limit of memory grows with the limit of pixels.
    options.max_memory(arguments.max_pixels.saturating_mul(16))
}

/// Prints results in one of the formats.
enum Printer {
    Text,
    Json,
    Csv(Box<csv::Writer<std::io::Stdout>>),
}

#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    /// The bytes of a path that is not valid Unicode, which distinguish it from others.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    predictions: Option<&'a [Prediction]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Printer {
    fn new(format: Format) -> Result<Self> {
        Ok(match format {
            Format::Text => Printer::Text,
            Format::Json => Printer::Json,
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(std::io::stdout());
                writer
                    .write_record(["path", "rank", "class", "label", "score"])
                    .map_err(csv_failed)?;
                Printer::Csv(Box::new(writer))
            }
        })
    }

    fn print(&mut self, path: &Path, result: &Result<Vec<Prediction>>) -> Result<()> {
        let name = path.to_string_lossy();
        match (self, result) {
            (Printer::Text, Ok(predictions)) => {
                let mut text = format!("{name}\n");
                for p in predictions {
                    text.push_str(&format!("  {:6.2}%  {}\n", 100.0 * p.score, p.label));
                }
                print(&text)
            }
            (Printer::Json, result) => {
                let line = Line {
                    path: &name,
                    path_hex: path.to_str().is_none().then(|| hexadecimal(path)),
                    predictions: result.as_ref().ok().map(Vec::as_slice),
                    error: result.as_ref().err().map(|e| e.message().to_string()),
                };
                print(&(to_json(&line)? + "\n"))
            }
            (Printer::Csv(writer), Ok(predictions)) => {
                for (i, p) in predictions.iter().enumerate() {
                    let (rank, class) = ((i + 1).to_string(), p.class.to_string());
                    let score = p.score.to_string();
                    let record = [&*name, &rank, &class, &p.label, &score];
                    writer.write_record(record).map_err(csv_failed)?;
                }
                writer.flush().map_err(output_failed)
            }
            (Printer::Text | Printer::Csv(_), Err(_)) => {
                std::io::stdout().flush().map_err(output_failed)
            }
        }
    }
}

fn hexadecimal(path: &Path) -> String {
    path.as_os_str().as_encoded_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn csv_failed(e: csv::Error) -> Error {
    match e.into_kind() {
        csv::ErrorKind::Io(e) => output_failed(e),
        other => Error::format(format!("cannot write CSV: {other:?}")),
    }
}
