//! `dyrelu classify`: names what is in photos.

use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rayon::ThreadPoolBuilder;
use rayon::prelude::*;
use serde::Serialize;

use super::photos::{self, Photos, Sources};
use super::{Outcome, models, output_failed, positive, print, say, threads, to_json};
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
    /// The network, a file or a name from `dyrelu models`; the one that ships by default.
    #[arg(long, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// How many guesses to print for each photo.
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = positive)]
    top: usize,
    /// How results are printed. CSV has the header path,rank,class,label,score; JSON is one object
    /// a line, with path and predictions, or error. A path that is no valid text is printed with
    /// replacement characters; JSON then has path_hex as well, the path's bytes in hexadecimal.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Threads to run on; all that this process may use by default.
    #[arg(long, value_name = "N", value_parser = positive)]
    threads: Option<usize>,
    /// How many photos to run at once.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = positive)]
    batch: usize,
    /// How photos are prepared, as JSON, for a model file that does not say.
    #[arg(long, value_name = "FILE.json")]
    preprocess: Option<PathBuf>,
    /// Class names, one a line, for a model file that has none.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Also take photos whose file is cut off or damaged, with grey or black for what is missing;
    /// of WebP files nothing can be read then.
    #[arg(long)]
    allow_truncated: bool,
    /// The most pixels of a photo; a larger one is refused before it is decoded. Decoding takes up
    /// to 16 bytes a pixel on each thread.
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
        failures.iter().for_each(|e| say(format_args!("error: {e}")));
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
    failures.iter().for_each(|e| progress.suspend(|| say(format_args!("error: {e}"))));
    let mut failed = 0;
    for paths in photos.chunks(arguments.batch) {
        let prepared = preparers.install(|| classifier.prepare(paths));
        let results = classifier.classify(&mut session, paths, prepared);
        for (path, result) in paths.iter().zip(results) {
            if let Err(e) = &result {
                failed += 1;
                progress.suspend(|| say(format_args!("error: {e}")));
            }
            progress.suspend(|| printer.print(path, &result))?;
        }
        progress.inc(paths.len() as u64);
    }
    progress.finish_and_clear();
    if failed > 0 {
        say(format_args!("{failed} of {} images could not be classified", photos.len()));
    }
    Ok(if failed > 0 || !failures.is_empty() { Outcome::Partial } else { Outcome::Fine })
}

/// A bar on standard error where that is a terminal, and there is something to wait for.
fn progress(count: usize) -> ProgressBar {
    if count < 2 {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(count as u64), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len}  {per_sec}  {eta} left");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

struct Classifier {
    decode: DecodeOptions,
    preprocess: Preprocess,
    labels: Labels,
    /// Whether the network's outputs are probabilities already.
    normalised: bool,
    top: usize,
}

impl Classifier {
    fn new(model: &Model, arguments: &Arguments) -> Result<Self> {
        if model.inputs().len() != 1 {
            let count = model.inputs().len();
            return Err(Error::input(format!("a classifier has one input, this has {count}")));
        }
        let preprocess = match (&arguments.preprocess, model.metadata("preprocess")) {
            (Some(path), _) => {
                Preprocess::from_json(&read_text(path)?).map_err(|e| e.in_file(path))?
            }
            (None, Some(json)) => Preprocess::from_json(json)?,
            (None, None) => {
                return Err(Error::input(
                    "the model file does not say how photos are prepared; add --preprocess \
                     FILE.json, such as {\"resize\": {\"shorter_side\": 256}, \"center_crop\": \
                     [224, 224], \"mean\": [0.485, 0.456, 0.406], \"std\": [0.229, 0.224, 0.225]}",
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

    /// Reads photos and makes inputs of the network of them, in parallel.
    fn prepare(&self, paths: &[PathBuf]) -> Vec<Result<Tensor>> {
        let prepare = |path: &PathBuf| {
            let photo = self.decode.load(path)?;
            self.preprocess.apply(&photo).map_err(|e| e.in_file(path))
        };
        paths.par_iter().map(prepare).collect()
    }

    /// Classifies a batch; a photo of which nothing can be said has the reason in its place.
    fn classify(
        &self,
        session: &mut Session,
        paths: &[PathBuf],
        prepared: Vec<Result<Tensor>>,
    ) -> Vec<Result<Vec<Prediction>>> {
        let good: Vec<&Tensor> = prepared.iter().flatten().collect();
        let mut predictions = self.predict(session, &good);
        let mut next = || predictions.pop_front().unwrap_or_else(|| Ok(Vec::new()));
        let answers = prepared.into_iter().zip(paths);
        answers
            .map(|(photo, path)| photo.and_then(|_| next().map_err(|e| e.in_file(path))))
            .collect()
    }

    fn predict(
        &self,
        session: &mut Session,
        photos: &[&Tensor],
    ) -> VecDeque<Result<Vec<Prediction>>> {
        let mut predictions = VecDeque::new();
        // Photos that are not resized may differ in size, and some networks take one at a time.
        let single = session.model().inputs()[0]
            .ty
            .as_ref()
            .and_then(|ty| ty.dims.first()?.as_size())
            .is_some_and(|n| n == 1);
        let same = |a: &&Tensor, b: &&Tensor| !single && a.shape() == b.shape();
        for group in photos.chunk_by(same) {
            match self.predict_together(session, group) {
                Ok(found) => predictions.extend(found.into_iter().map(Ok)),
                Err(e) => {
                    let each = group.iter().map(|_| Err(Error::new(e.kind(), e.message())));
                    predictions.extend(each);
                }
            }
        }
        predictions
    }

    /// What the network says of photos of one size.
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
        // Networks of half and double precision take and give their own types.
        let declared = session.model().inputs()[0].ty.as_ref().map(|ty| ty.dtype);
        let dtype = declared.filter(|dtype| dtype.is_float()).unwrap_or(DType::F32);
        let outputs = session.run(&[Tensor::new(&shape, batch)?.cast(dtype)?])?;
        let scores = outputs[0].cast(DType::F32)?;
        let (scores, shape) = (scores.as_f32()?, outputs[0].shape());
        let classes = models::class_count(shape, photos.len()).ok_or_else(|| {
            Error::input(format!(
                "a classifier gives [{}, classes], the network gives {shape:?}",
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
    /// The bytes of a path that is no valid text, by which it can be told from others.
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
