//! `dyrelu classify`: classifies photos.

mod array;
mod output;
#[cfg(feature = "parquet")]
mod parquet;
mod results;
mod rows;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::results::{Format, Results};
use self::rows::{Column, RowFormat, Rows};
use crate::cli::support::outcome::Outcome;
use crate::cli::support::photos::{Source, Sources};
use crate::cli::support::pipeline::{self, Event, Settings, Stages};
use crate::cli::support::preparation::Preparation;
use crate::cli::support::progress::progress;
use crate::cli::support::values::{not_negative, positive};
use crate::cli::support::work::Work;
use crate::cli::support::{interrupt, messages, model};
use dyrelu::vision::Embedding;
use dyrelu::{Error, Model, Result};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dyrelu classify photo.jpg
  dyrelu classify photos/ --output predictions.csv
  dyrelu classify photos/ --output predictions.csv --resume   # goes on
  dyrelu classify photos/ --embed --output features.npy
  dyrelu classify -m net.onnx --preprocess clip --labels names.txt photo.jpg
  find . -name '*.jpg' -print0 | dyrelu classify --format json --list - -0
  curl https://example.com/photo.jpg | dyrelu classify -
  ffmpeg -i film.mp4 -f rawvideo -pix_fmt rgb24 - \\
      | dyrelu classify --rawvideo 1280x720:rgb24")]
pub struct Arguments {
    /// Network: a file, or a name from `dyrelu models`; by default the one that ships with dyrelu.
    #[arg(long, short, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Number of predictions per photo.
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = positive)]
    top: usize,
    /// Leave out predictions with a smaller score.
    #[arg(long, value_name = "SCORE", default_value_t = 0.0, value_parser = not_negative)]
    threshold: f64,
    /// Format of the results; by default that of the extension of --output, otherwise text.
    ///
    /// A photo that failed has one row with empty predictions in CSV and Parquet. In JSON it has error
    /// in place of predictions. A path that is not valid Unicode is printed with replacement characters;
    /// JSON then adds path_hex, its bytes in hexadecimal.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Columns of CSV and Parquet, separated by commas.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "path,rank,class,label,score",
        value_name = "NAMES"
    )]
    columns: Vec<Column>,
    /// Also write the embedding of each photo: what the last layer of the network reads, or the output of
    /// LAYER, the name of a value or a node. Of a map, it has the mean of each channel.
    ///
    /// JSON has it under embedding. The format npy makes an array [photos, features] in the order of the
    /// photos, with NaN for a photo that failed, and beside FILE.npy the other results as FILE.jsonl, whose
    /// lines are in the same order. Parquet has it in a column embedding, in the row of rank 1.
    #[arg(
        long,
        value_name = "LAYER",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = ""
    )]
    embed: Option<String>,
    /// File to write the results to, as they come.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Continue the file of --output: skip the photos that it has. They must be named as before.
    #[arg(long, requires = "output")]
    resume: bool,
    #[command(flatten)]
    work: Work,
    #[command(flatten)]
    photos: Sources,
    #[command(flatten)]
    preparation: Preparation,
    #[command(flatten)]
    engine: model::Engine,
}

pub fn run(arguments: Arguments) -> Result<Outcome> {
    let format = arguments.format()?;
    let mut source = Source::open(&arguments.photos)?;
    if source.look_ahead(1) == 0 {
        return Err(source.nothing_found());
    }
    let threads = arguments.work.threads()?;
    let (model, embedding) = arguments.open()?;
    let features = embedding.as_ref().map(|embedding| features(&model, embedding)).transpose()?;
    let (preprocess, labels) = arguments.preparation.of_model(&model)?;
    let path = arguments.output.as_deref();
    let rows = arguments.rows(format);
    let (mut results, done) =
        Results::open(format, rows, path, arguments.resume, features, &mut source)?;
    let photos = source.look_ahead(threads);
    let classifiers = arguments.work.classifiers(&model, &preprocess, &labels, photos)?;
    let (decode, max_bytes) = arguments.work.decode_options();
    let batch = arguments.work.batch(photos);
    let settings = Settings { decode, max_bytes, batch, top: arguments.top, embedding };

    let mut tally =
        Tally { failures: done.failures.len(), failed: done.failed, ..Tally::default() };
    done.failures.iter().for_each(messages::error);
    let progress = progress(&arguments.photos, photos, done.photos);
    let start = Instant::now();
    let stages = Arc::<Stages>::default();
    pipeline::run(source, classifiers, settings, &stages, |event| match event {
        Event::Photo(path, result) => {
            if let Err(e) = &result {
                tally.failed += 1;
                progress.suspend(|| messages::error(e));
            }
            progress.suspend(|| results.add(&path, &result))?;
            progress.inc(1);
            tally.photos += 1;
            tally.last = path;
            Ok(())
        }
        Event::Failure(e) => {
            tally.failures += 1;
            progress.suspend(|| messages::error(e));
            Ok(())
        }
        Event::Note(text) => {
            progress.suspend(|| messages::note(text));
            Ok(())
        }
    })?;
    let time = start.elapsed();
    progress.finish_and_clear();
    results.finish()?;
    tally.report(&arguments, done.photos, time, &stages);
    Ok(match interrupt::received() {
        Some(signal) => Outcome::Stopped(signal),
        None if tally.failed > 0 || tally.failures > 0 => Outcome::Partial,
        None => Outcome::Success,
    })
}

/// What happened so far.
#[derive(Default)]
struct Tally {
    /// The photos that have rows now, without those that had them before.
    photos: u64,
    /// The last one.
    last: PathBuf,
    /// The photos that could not be classified, with those before.
    failed: u64,
    /// The folders that could not be searched.
    failures: usize,
}

impl Tally {
    /// Prints how the work ended. `before` is the number of photos that had rows before.
    fn report(&self, arguments: &Arguments, before: u64, time: Duration, stages: &Stages) {
        let all = before + self.photos;
        // A single photo has had its error.
        if self.failed > 0 && all > 1 {
            messages::error(format_args!(
                "{} of {all} photos could not be classified",
                self.failed
            ));
        }
        if interrupt::received().is_some() {
            let last = self.last.display();
            let hint = if arguments.output.is_some() { "; --resume continues" } else { "" };
            messages::error(match self.photos {
                0 => format!("stopped before the first photo{hint}"),
                _ => format!("stopped after photo {all}, {last}{hint}"),
            });
        }
        let seconds = time.as_secs_f64();
        if before > 0 {
            messages::summary(format_args!("{before} photos had results before"));
        }
        if self.photos > 1 {
            messages::summary(format_args!(
                "{} photos in {seconds:.2} s, {:.1} photos/s: {}",
                self.photos,
                self.photos as f64 / seconds.max(1e-9),
                stages.times().as_text()
            ));
        }
    }
}

impl Arguments {
    /// The format of the results. Options that do not go together are errors.
    fn format(&self) -> Result<Format> {
        let of_output = || self.output.as_ref().map_or(Format::Text, |path| Format::of_file(path));
        let format = self.format.unwrap_or_else(of_output);
        let refused = |message| Err(Error::input(message));
        let needed = [Column::Path, Column::Rank];
        match format {
            Format::Parquet if cfg!(not(feature = "parquet")) => refused(
                "this dyrelu was built without Parquet: build it with `cargo build --release --features \
                 parquet`, or use --format csv",
            ),
            Format::Npy | Format::Parquet if self.output.is_none() => {
                refused("this format needs a file: add --output FILE")
            }
            Format::Npy if self.embed.is_none() => {
                refused("an array has embeddings only: add --embed")
            }
            Format::Text | Format::Csv if self.embed.is_some() => {
                refused("--embed needs --format npy, json or parquet")
            }
            Format::Text | Format::Parquet if self.resume => {
                refused("--resume needs --format csv, json or npy")
            }
            Format::Csv
                if self.resume && !needed.iter().all(|column| self.columns.contains(column)) =>
            {
                refused("--resume needs the columns path and rank")
            }
            _ => Ok(format),
        }
    }

    fn rows(&self, format: Format) -> Rows {
        let rows = match format {
            Format::Text => RowFormat::Text,
            Format::Json | Format::Npy => RowFormat::Json,
            Format::Csv | Format::Parquet => RowFormat::Csv,
        };
        Rows {
            format: rows,
            columns: self.columns.clone(),
            threshold: self.threshold as f32,
            embeddings: format == Format::Json && self.embed.is_some(),
        }
    }

    /// Opens the network, with the embedding that is asked for as an output.
    fn open(&self) -> Result<(Arc<Model>, Option<Embedding>)> {
        let path = self.model.as_deref();
        let Some(layer) = &self.embed else {
            return Ok((model::open(path, &self.engine)?, None));
        };
        let layer = Some(layer.as_str()).filter(|layer| !layer.is_empty());
        let (model, embedding) = model::open_with_embedding(path, &self.engine, layer)?;
        Ok((model, Some(embedding)))
    }
}

/// The number of features of an embedding, which is an output of the network.
fn features(model: &Model, embedding: &Embedding) -> Result<usize> {
    let features = embedding.features(model.outputs()[embedding.output].ty.as_ref())?;
    messages::detail(format_args!("embedding {:?}, {features} features", embedding.name));
    Ok(features)
}
