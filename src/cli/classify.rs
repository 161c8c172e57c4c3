//! `dyrelu classify`: classifies photos.

use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rayon::ThreadPoolBuilder;
use rayon::prelude::*;
use serde::Serialize;

use super::photos::{self, Photos, Sources};
use super::{Outcome, models, output_failed, positive, print, print_stderr, threads, to_json};
use dyrelu::format::read_text;
use dyrelu::graph::Op;
use dyrelu::vision::{self, DecodeOptions, Labels, Prediction, Preprocess};
use dyrelu::{DType, Error, ErrorKind, Model, Result, Session, Tensor};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dyrelu classify photo.jpg
  dyrelu classify --format csv photos/ > predictions.csv
  dyrelu classify --model net.onnx --preprocess preprocess.json --labels labels.txt photo.jpg
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
    /// Description of how photos are prepared, for a model file without one.
    #[arg(long, value_name = "FILE.json")]
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
    #[arg(long, value_name = "N", default_value_t = DecodeOptions::default().max_pixels)]
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
    let classifier = Classifier::new(&model, &arguments)?;
    let threads = threads(arguments.threads);
    let mut session = Session::with_threads(&model, threads)?;
    let preparers = ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|e| Error::new(ErrorKind::Io, format!("cannot start {threads} threads: {e}")))?;
    let mut printer = Printer::new(arguments.format)?;
    let progress = progress(photos.len());
    failures.iter().for_each(|e| progress.suspend(|| print_stderr(format_args!("error: {e}"))));
    let mut failed = 0;
    for paths in photos.chunks(arguments.batch) {
        let prepared = preparers.install(|| classifier.prepare(paths));
        let results = classifier.classify(&mut session, paths, prepared);
        for (path, result) in paths.iter().zip(results) {
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

/// What turns photos into predictions, apart from the session.
struct Classifier {
    decode: DecodeOptions,
    preprocess: Preprocess,
    labels: Labels,
    /// Whether the outputs of the network are already probabilities.
    normalised: bool,
    top: usize,
}

impl Classifier {
    fn new(model: &Model, arguments: &Arguments) -> Result<Self> {
        if model.inputs().len() != 1 {
            let count = model.inputs().len();
            return Err(Error::input(format!(
                "a classifier has one input, but this network has {count}"
            )));
        }
        let preprocess = match (&arguments.preprocess, model.metadata("preprocess")) {
            (Some(path), _) => {
                Preprocess::from_json(&read_text(path)?).map_err(|e| e.in_file(path))?
            }
            (None, Some(json)) => Preprocess::from_json(json)?,
            (None, None) => {
                return Err(Error::input(
                    "the model file does not state how photos are prepared; add --preprocess \
                     FILE.json with, for example, {\"resize\": {\"shorter_side\": 256}, \
                     \"center_crop\": [224, 224], \"mean\": [0.485, 0.456, 0.406], \"std\": \
                     [0.229, 0.224, 0.225]}",
                ));
            }
        };
        let labels = match (&arguments.labels, model.metadata("labels")) {
            (Some(path), _) => {
                models::labels(&read_text(path)?, model.outputs()).map_err(|e| e.in_file(path))?
            }
            (None, Some(lines)) => models::labels(lines, model.outputs())?,
            (None, None) => Labels::default(),
        };
        let graph = model.graph();
        let producer =
            |value| graph.nodes().iter().find(|node| node.outputs.contains(&Some(value)));
        let last = producer(graph.outputs()[0]);
        let last = last.and_then(|node| match node.op {
            Op::Cast { .. } => producer(node.input(0)?),
            _ => Some(node),
        });
        let normalised = last.is_some_and(|node| matches!(node.op, Op::Softmax(_)));
        let mut decode = DecodeOptions::default();
        decode.allow_truncated = arguments.allow_truncated;
        decode.max_memory = decode.max_memory.max(arguments.max_pixels.saturating_mul(16));
        decode.max_pixels = arguments.max_pixels;
        Ok(Classifier { decode, preprocess, labels, normalised, top: arguments.top })
    }

    /// Decodes photos and prepares them as inputs of the network, in parallel.
    fn prepare(&self, paths: &[PathBuf]) -> Vec<Result<Tensor>> {
        let prepare = |path: &PathBuf| {
            let photo = self.decode.load(path)?;
            self.preprocess.apply(&photo).map_err(|e| e.in_file(path))
        };
        paths.par_iter().map(prepare).collect()
    }

    /// Classifies a batch. Returns predictions or an error for each photo, in order.
    fn classify(
        &self,
        session: &mut Session,
        paths: &[PathBuf],
        prepared: Vec<Result<Tensor>>,
    ) -> Vec<Result<Vec<Prediction>>> {
        let good: Vec<&Tensor> = prepared.iter().flatten().collect();
        let mut predictions = self.predict(session, &good);
        let mut next = || predictions.pop_front().unwrap_or_else(|| Ok(Vec::new()));
        let photos = prepared.into_iter().zip(paths);
        photos
            .map(|(photo, path)| photo.and_then(|_| next().map_err(|e| e.in_file(path))))
            .collect()
    }

    /// Runs the network on prepared photos, those of the same shape together.
    fn predict(
        &self,
        session: &mut Session,
        photos: &[&Tensor],
    ) -> VecDeque<Result<Vec<Prediction>>> {
        let mut predictions = VecDeque::new();
        // Photos differ in shape if they are not resized. Some networks take one image per run.
        let single = session.model().inputs()[0]
            .ty
            .as_ref()
            .and_then(|ty| ty.dims.first()?.as_size())
            .is_some_and(|n| n == 1);
        let same = |a: &&Tensor, b: &&Tensor| !single && a.shape() == b.shape();
        for group in photos.chunk_by(same) {
            match self.predict_together(session, group) {
                Ok(group_predictions) => predictions.extend(group_predictions.into_iter().map(Ok)),
                Err(e) => {
                    let errors = group.iter().map(|_| Err(Error::new(e.kind(), e.message())));
                    predictions.extend(errors);
                }
            }
        }
        predictions
    }

    /// Runs the network once on photos of the same shape.
    fn predict_together(
        &self,
        session: &mut Session,
        photos: &[&Tensor],
    ) -> Result<Vec<Vec<Prediction>>> {
        let mut shape = photos[0].shape().to_vec();
        shape[0] = photos.len();
        let mut batch = Vec::with_capacity(photos.len() * photos[0].len());
        for photo in photos {
            batch.extend_from_slice(photo.as_f32()?);
        }
        // Networks of half and double precision have inputs and outputs of that type.
        let declared = session.model().inputs()[0].ty.as_ref().map(|ty| ty.dtype);
        let dtype = declared.filter(|dtype| dtype.is_float()).unwrap_or(DType::F32);
        let outputs = session.run(&[Tensor::new(&shape, batch)?.cast(dtype)?])?;
        let scores = outputs[0].cast(DType::F32)?;
        let (scores, shape) = (scores.as_f32()?, outputs[0].shape());
        let classes = models::class_count(shape, photos.len()).ok_or_else(|| {
            Error::input(format!(
                "the output of a classifier has shape [{}, classes], this network's has {shape:?}",
                photos.len()
            ))
        })?;
        let predict = |scores: &[f32]| {
            if self.normalised {
                vision::top_k(scores, self.top, &self.labels)
            } else {
                vision::top_k(&vision::probabilities(scores), self.top, &self.labels)
            }
        };
        Ok(scores.chunks_exact(classes).map(predict).collect())
    }
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
