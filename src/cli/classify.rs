//! `dyrelu classify`: names what is in photos.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rayon::prelude::*;
use serde::Serialize;

use super::{Outcome, models, output_failed, positive, print, say, threads, to_json};
use dyrelu::graph::Op;
use dyrelu::vision::{self, DecodeOptions, Labels, Prediction, Preprocess};
use dyrelu::{Error, Model, Result, Session, Tensor};

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
    /// a line, with path and predictions, or error.
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
    /// A file with one path a line.
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
    /// Photos, and folders that are searched for photos; - reads paths from standard input.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
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
    let photos = collect(&arguments)?;
    let model = models::open(arguments.model.as_deref(), &arguments.engine)?;
    let classifier = Classifier::new(&model, &arguments)?;
    let mut session = Session::with_threads(&model, threads(arguments.threads))?;
    let mut printer = Printer::new(arguments.format)?;
    let progress = progress(photos.len());
    let mut failed = 0;
    for paths in photos.chunks(arguments.batch) {
        for (path, result) in paths.iter().zip(classifier.classify(&mut session, paths)) {
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
        return Ok(Outcome::Partial);
    }
    Ok(Outcome::Fine)
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
        let text = |path: &Path| std::fs::read_to_string(path).map_err(|e| Error::io(path, e));
        let preprocess = match (&arguments.preprocess, model.metadata("preprocess")) {
            (Some(path), _) => Preprocess::from_json(&text(path)?).map_err(|e| e.in_file(path))?,
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
                models::labels(&text(path)?, model.outputs()).map_err(|e| e.in_file(path))?
            }
            (None, Some(lines)) => models::labels(lines, model.outputs())?,
            (None, None) => Labels::default(),
        };
        let normalised =
            model.graph().nodes().iter().any(|n| {
                matches!(n.op, Op::Softmax(_)) && model.graph().outputs()[0] == n.output()
            });
        let mut decode = DecodeOptions::default();
        decode.allow_truncated = arguments.allow_truncated;
        decode.max_memory = decode.max_memory.max(arguments.max_pixels.saturating_mul(16));
        decode.max_pixels = arguments.max_pixels;
        Ok(Classifier { decode, preprocess, labels, normalised, top: arguments.top })
    }

    /// Classifies a batch; a photo of which nothing can be said has the reason in its place.
    fn classify(&self, session: &mut Session, paths: &[PathBuf]) -> Vec<Result<Vec<Prediction>>> {
        let prepare = |path: &PathBuf| {
            let photo = self.decode.load(path)?;
            self.preprocess.apply(&photo).map_err(|e| e.in_file(path))
        };
        let prepared: Vec<Result<Tensor>> =
            session.install(|| paths.par_iter().map(prepare).collect());
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
        let outputs = session.run(&[Tensor::new(&shape, batch)?])?;
        let scores = outputs[0].as_f32()?;
        let shape = outputs[0].shape();
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

/// Endings of the files that are taken from folders.
const PHOTO_ENDINGS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff"];

/// All photos that the arguments name, in order.
fn collect(arguments: &Arguments) -> Result<Vec<PathBuf>> {
    let mut named = Vec::new();
    if let Some(list) = &arguments.list {
        let lines = std::fs::read(list).map_err(|e| Error::io(list, e))?;
        named.extend(paths_in(&lines).map_err(|e| e.in_file(list))?);
    }
    for path in &arguments.paths {
        if path.as_os_str() == "-" {
            let mut lines = Vec::new();
            let stdin = std::io::stdin().lock().read_to_end(&mut lines);
            stdin.map_err(|e| Error::io("standard input", e))?;
            named.extend(paths_in(&lines).map_err(|e| e.in_file("standard input"))?);
        } else {
            named.push(path.clone());
        }
    }
    let mut photos = Vec::new();
    for path in named {
        if path.is_dir() {
            let before = photos.len();
            search(&path, &mut photos)?;
            if photos.len() == before {
                return Err(Error::input("there are no photos in this folder").in_file(path));
            }
        } else {
            photos.push(path);
        }
    }
    if photos.is_empty() {
        return Err(Error::input("no photos were named; give files, folders, --list or -"));
    }
    Ok(photos)
}

/// The paths in a list, one a line.
fn paths_in(list: &[u8]) -> Result<Vec<PathBuf>> {
    let lines = list.split(|&byte| byte == b'\n');
    let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.filter(|line| !line.is_empty()).map(as_path).collect()
}

/// A path as the system has it, which need not be text.
#[cfg(unix)]
fn as_path(bytes: &[u8]) -> Result<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    Ok(std::ffi::OsStr::from_bytes(bytes).into())
}

#[cfg(not(unix))]
fn as_path(bytes: &[u8]) -> Result<PathBuf> {
    let text = std::str::from_utf8(bytes);
    text.map(PathBuf::from).map_err(|_| Error::format("a path in the list is no valid text"))
}

fn search(folder: &Path, photos: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let mut paths = entries
        .map(|entry| entry.map(|e| e.path()).map_err(|e| Error::io(folder, e)))
        .collect::<Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() && !path.is_symlink() {
            search(&path, photos)?;
        } else {
            let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
            if ending.is_some_and(|e| PHOTO_ENDINGS.contains(&e.as_str())) {
                photos.push(path);
            }
        }
    }
    Ok(())
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

fn csv_failed(e: csv::Error) -> Error {
    match e.into_kind() {
        csv::ErrorKind::Io(e) => output_failed(e),
        other => Error::format(format!("cannot write CSV: {other:?}")),
    }
}
