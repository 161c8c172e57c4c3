//! `dyrelu evaluate`: measures how often a classifier is right, and how well key points fit annotations.

mod oks;
mod pck;
mod persons;
mod pictures;
mod predictions;
mod report;
mod truth;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::support::named::DEFAULT_KEYPOINTS;
use crate::cli::support::outcome::Outcome;
use crate::cli::support::photos::{Source, Sources};
use crate::cli::support::pipeline::{self, Event, Settings, Stages};
use crate::cli::support::preparation::Preparation;
use crate::cli::support::print::{count, print, to_json};
use crate::cli::support::progress::progress;
use crate::cli::support::work::Work;
use crate::cli::support::{interrupt, labels, messages, model, target};
use dyrelu::format::Replacement;
use dyrelu::vision::{DecodeOptions, Labels, Prediction, Preprocess};
use dyrelu::{Error, Model, Result};
use report::{Evaluation, Format, Guess, TOP, Tally};
use truth::Truth;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dyrelu evaluate val/                               # a folder per class
  dyrelu evaluate photos/ --index classes.csv        # a table of files
  dyrelu evaluate val/ --format markdown > report.md
  dyrelu evaluate val/ --report report/              # with pictures
  dyrelu evaluate val/ --predictions out.csv         # of dyrelu classify
  dyrelu evaluate --boxes persons.json images/       # key points

A folder, or a class in the table, is named as the network names the class, by the class's number, or \
by a synset of ImageNet such as n01440764. If no folder is, and there is one per class, the classes are \
the folders in the order of their names, as in torchvision.")]
#[group(id = "evaluate")]
pub struct Arguments {
    /// Network: a file, or a name from `dyrelu models`; by default the one that ships with dyrelu.
    #[arg(long, short, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Table of classes (CSV) with a column `file` or `path` and a column `class`, `label` or `label0`.
    #[arg(long, value_name = "FILE.csv")]
    index: Option<PathBuf>,
    /// Annotations of COCO (JSON), for a network of key points: it sees one person per annotated box, and the
    /// report has the average precision of COCO, and PCK.
    #[arg(long, value_name = "FILE.json", conflicts_with_all = ["index", "mistakes", "confusion", "report", "batch"])]
    boxes: Option<PathBuf>,
    /// Also run a network of key points on each crop mirrored, and average.
    #[arg(long, requires = "boxes")]
    flip: bool,
    /// Evaluate the predictions in this file, CSV or JSON that `dyrelu classify --output` wrote, instead of
    /// running the network: `classify --resume` continues after an interruption, on however many photos.
    #[arg(long, value_name = "FILE", conflicts_with = "boxes")]
    predictions: Option<PathBuf>,
    /// Format of the report.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Number of worst mistakes to list: those with the highest scores.
    #[arg(long, value_name = "N", default_value_t = 10)]
    mistakes: usize,
    /// Write the confusion matrix to this file, a row per true class and a column per predicted one.
    #[arg(long, value_name = "FILE.csv")]
    confusion: Option<PathBuf>,
    /// Write a folder with report.md, report.json, the confusion matrix as CSV and PNG, the accuracy by score
    /// as SVG, and the photos of the worst mistakes as a contact sheet (PNG).
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    #[command(flatten)]
    photos: Sources,
    #[command(flatten)]
    work: Work,
    #[command(flatten)]
    preparation: Preparation,
    #[command(flatten)]
    engine: model::Engine,
}

pub fn run(arguments: Arguments) -> Result<Outcome> {
    let mut source = Source::open(&arguments.photos)?;
    if arguments.predictions.is_none() && source.look_ahead(1) == 0 {
        return Err(source.nothing_found());
    }
    let default = arguments.boxes.as_ref().map(|_| Path::new(DEFAULT_KEYPOINTS));
    let model = model::open(arguments.model.as_deref().or(default), &arguments.engine)?;
    arguments.confusion.as_deref().map_or(Ok(()), target::check_file)?;
    arguments.report.as_deref().map_or(Ok(()), target::check_folder)?;
    if let Some(boxes) = &arguments.boxes {
        let settings = persons::Settings {
            boxes,
            flip: arguments.flip,
            threads: arguments.work.threads()?,
            decode: arguments.work.decode_options().0,
            format: arguments.format,
        };
        let progress = progress(&arguments.photos, source.look_ahead(2), 0);
        return persons::run(settings, &model, source, progress);
    }
    let (preprocess, names) = arguments.preparation.of_model(&model)?;
    let scores = model.outputs().first().and_then(|port| port.ty.as_ref());
    let classes = labels::count(scores).unwrap_or(names.len());
    let names: Vec<String> = (0..classes).map(|class| names.name(class)).collect();
    let truth = match &arguments.index {
        Some(path) => Truth::of_table(path, &names)?,
        None => Truth::of_folders(&arguments.photos, &names)?,
    };
    let mut counted = Count { truth, tally: Tally::new(arguments.mistakes), failed: 0 };
    match &arguments.predictions {
        Some(file) => counted.add_file(file, &names)?,
        None => counted.classify(source, &model, preprocess, &names, &arguments)?,
    }
    let Count { tally, failed, .. } = counted;
    if tally.photos() == 0 {
        return Err(Error::input("no photo was evaluated"));
    }
    if interrupt::received().is_some() {
        let photos = tally.photos();
        messages::error(format_args!(
            "stopped after {photos} photos: the report is of these alone"
        ));
    }
    let evaluation = tally.evaluation(&names, failed);
    if let Some(path) = &arguments.confusion {
        write(path, &evaluation.confusion(&names)?)?;
    }
    if let Some(folder) = &arguments.report {
        report(folder, &evaluation, &names, &arguments.work.decode_options().0)?;
    }
    print(&match arguments.format {
        Format::Text => evaluation.as_text(),
        Format::Markdown => evaluation.as_markdown(),
        Format::Json => to_json(&evaluation)? + "\n",
    })?;
    Ok(match interrupt::received() {
        Some(signal) => Outcome::Stopped(signal),
        None if failed > 0 => Outcome::Partial,
        None => Outcome::Success,
    })
}

/// Counts photos by their true classes and predictions.
struct Count {
    truth: Truth,
    tally: Tally,
    /// The photos that have no prediction or no true class.
    failed: u64,
}

impl Count {
    fn add(&mut self, path: PathBuf, result: Result<Vec<Guess>>) -> Result<()> {
        let guesses = result?;
        let class = self.truth.of(&path).map_err(|e| e.in_file(&path))?;
        self.tally.add(path, class, &guesses);
        Ok(())
    }

    /// Adds the photos of a file of predictions.
    fn add_file(&mut self, file: &Path, names: &[String]) -> Result<()> {
        let mut most = 0;
        predictions::read(file, names.len(), |path, result| {
            let result = result.map_err(|e| e.in_file(&path));
            most = most.max(result.as_ref().map_or(0, Vec::len));
            if let Err(e) = self.add(path, result) {
                self.failed += 1;
                messages::error(e);
            }
            Ok(())
        })?;
        if most < TOP.min(names.len()) {
            messages::note(format_args!(
                "the file has {} per photo at most, so top-{TOP} counts no more",
                count(most, "prediction")
            ));
        }
        Ok(())
    }

    /// Runs the network on the photos of a source.
    fn classify(
        &mut self,
        mut source: Source,
        model: &Arc<Model>,
        preprocess: Preprocess,
        names: &[String],
        arguments: &Arguments,
    ) -> Result<()> {
        let photos = source.look_ahead(arguments.work.threads()?);
        let labels = Labels::from_lines(&names.join("\n"));
        let classifiers = arguments.work.classifiers(model, &preprocess, &labels, photos)?;
        let (decode, max_bytes) = arguments.work.decode_options();
        let batch = arguments.work.batch(photos);
        let settings = Settings { decode, max_bytes, batch, top: TOP, embedding: None };
        let progress = progress(&arguments.photos, photos, 0);
        let stages = Arc::<Stages>::default();
        pipeline::run(source, classifiers, settings, &stages, |event| {
            let outcome = match event {
                Event::Photo(path, result) => {
                    progress.inc(1);
                    let guess = |p: Prediction| Guess { class: p.class, score: p.score };
                    let guesses =
                        result.map(|photo| photo.predictions.into_iter().map(guess).collect());
                    self.add(path, guesses)
                }
                Event::Failure(e) => Err(e),
                Event::Note(text) => {
                    progress.suspend(|| messages::note(text));
                    Ok(())
                }
            };
            if let Err(e) = outcome {
                self.failed += 1;
                progress.suspend(|| messages::error(e));
            }
            Ok(())
        })?;
        progress.finish_and_clear();
        messages::detail(stages.times().as_text());
        Ok(())
    }
}

/// Writes the report with its pictures.
fn report(
    folder: &Path,
    evaluation: &Evaluation,
    names: &[String],
    decode: &DecodeOptions,
) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    let path = |name: &str| folder.join(name);
    pictures::confusion(evaluation)?.write(&path("confusion.png"))?;
    pictures::mistakes(evaluation, decode)?.write(&path("mistakes.png"))?;
    write(&path("calibration.svg"), pictures::calibration(evaluation).as_bytes())?;
    write(&path("confusion.csv"), &evaluation.confusion(names)?)?;
    write(&path("report.json"), to_json(evaluation)?.as_bytes())?;
    write(&path("report.md"), (evaluation.as_markdown() + PICTURES).as_bytes())
}

/// What the report says about its pictures.
const PICTURES: &str = "
![The photos of the worst mistakes](mistakes.png)

The worst mistakes, in rows, in the order of the table.

## Pictures

![Accuracy by score](calibration.svg)

The accuracy of the photos by the score of their best class. On the straight line, both are equal. The area of a
circle is the share of the photos.

![Confusion matrix](confusion.png)

A row per true class and a column per predicted one, in the order of confusion.csv. The colour is the share of the
photos of the class, from dark blue to yellow; where there are none it is white.
";

fn write(path: &Path, contents: &[u8]) -> Result<()> {
    let mut file = Replacement::of(path)?;
    file.write_all(contents).map_err(|e| Error::io(path, e))?;
    file.keep()
}
