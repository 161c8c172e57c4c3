//! `dyrelu keypoints`: finds the key points of persons in photos.

mod boxes;
mod drawing;
mod printer;

use std::path::PathBuf;

use self::boxes::{Boxes, Persons};
use self::drawing::Drawings;
use self::printer::{Format, Printer};
use crate::cli::support::named::DEFAULT_KEYPOINTS;
use crate::cli::support::outcome::Outcome;
use crate::cli::support::photos::{Found, Input, Source, Sources};
use crate::cli::support::progress::progress;
use crate::cli::support::values::{not_negative, positive, threads};
use crate::cli::support::{messages, model, preparation};
use dyrelu::vision::{
    DecodeOptions, KeypointDecoder, KeypointDetector, KeypointScheme, Pose, Preprocess,
};
use dyrelu::{Error, Model, Result, Session};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dyrelu keypoints photo.jpg                          # who fills the photo
  dyrelu keypoints --boxes 120,40,200,420 photo.jpg   # x, y, width, height
  dyrelu keypoints --boxes persons.json --draw out/ photos/
  dyrelu keypoints --boxes persons.json --flip --format coco photos/ > r.json
  dyrelu keypoints --model hrnet.onnx --preprocess hrnet.json --decoder dark \\
      photo.jpg

A network sees one person at a time: give a box per person, of a detector or of COCO's annotations.")]
pub struct Arguments {
    /// Network: a file, or a name from `dyrelu models`.
    #[arg(long, short, value_name = "MODEL", default_value = DEFAULT_KEYPOINTS)]
    model: PathBuf,
    /// Box of a person, or a file with COCO's annotations; give it once per person. By default, a person
    /// is searched for in the whole photo.
    ///
    /// A box is left, top, width and height in pixels, and is used in every photo. In a file, photos are
    /// found by their names, and annotations of crowds or without labelled key points are left out.
    #[arg(long, value_name = "X,Y,W,H|FILE.json", allow_hyphen_values = true)]
    boxes: Vec<String>,
    /// Also run the network on each crop mirrored, and average: slower and more accurate.
    #[arg(long)]
    flip: bool,
    /// Format of the results.
    ///
    /// CSV has the header path,person,keypoint,x,y,score. JSON has one object per line, with path and
    /// either persons or error. COCO is a list of results that pycocotools reads; the number of an image
    /// is that of the file with boxes, or the number that is the name of the photo.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Folder, or PNG file for one photo, to which photos with skeletons are written.
    #[arg(long, value_name = "DIR|FILE.png")]
    draw: Option<PathBuf>,
    /// Also draw where the network sees key points.
    #[arg(long, requires = "draw")]
    heatmaps: bool,
    /// Lowest score of a key point that is drawn.
    #[arg(long, value_name = "SCORE", default_value_t = 0.2, value_parser = not_negative)]
    threshold: f64,
    /// How outputs give key points, for a model file that does not state it.
    #[arg(long, value_enum)]
    decoder: Option<Decoder>,
    /// Side of the crop that the network sees, as a multiple of the side of the box; by default as the
    /// model file states, otherwise 1 for movenet and 1.25 for other decoders.
    #[arg(long, value_name = "FACTOR", value_parser = scale)]
    scale: Option<f32>,
    /// Preparation of photos, for a model file without one: a JSON file with the size of the input in
    /// resize, mean and std.
    #[arg(long, value_name = "imagenet|JSON|FILE")]
    preprocess: Option<String>,
    /// Number of threads; by default all that this process may use.
    #[arg(long, short = 'j', value_name = "N", value_parser = positive)]
    threads: Option<usize>,
    /// Accept photos whose file is truncated or damaged, with grey or black for the missing part.
    #[arg(long)]
    allow_truncated: bool,
    #[command(flatten)]
    photos: Sources,
    #[command(flatten)]
    engine: model::Engine,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Decoder {
    /// MoveNet's centres, key points, regressions and offsets.
    Movenet,
    /// Heat maps, with a quarter offset (Simple Baselines, HRNet).
    Heatmaps,
    /// Heat maps, refined by DARK.
    Dark,
    /// Rows and columns (SimCC, RTMPose).
    Simcc,
}

fn scale(text: &str) -> std::result::Result<f32, String> {
    match text.parse::<f32>() {
        Ok(factor) if (0.1..=10.0).contains(&factor) => Ok(factor),
        Ok(_) => Err("must be from 0.1 to 10".into()),
        Err(e) => Err(e.to_string()),
    }
}

pub fn run(arguments: Arguments) -> Result<Outcome> {
    let mut source = Source::open(&arguments.photos)?;
    if source.look_ahead(1) == 0 {
        return Err(source.nothing_found());
    }
    let boxes = Boxes::parse(&arguments.boxes)?;
    let target = arguments.draw.as_deref();
    let mut drawings =
        target.map(|target| Drawings::to(target, arguments.photos.count())).transpose()?;
    let model = model::open(Some(&arguments.model), &arguments.engine)?;
    let (preprocess, scheme) =
        parts(&model, &arguments).map_err(|e| e.in_file(&arguments.model))?;
    let session = Session::with_threads(&model, threads(arguments.threads))?;
    let detector = KeypointDetector::with_parts(session, preprocess, scheme);
    let mut detector = detector.map_err(|e| e.in_file(&arguments.model))?.flip(arguments.flip);
    let mut printer = Printer::new(arguments.format, detector.skeleton())?;
    let mut failed = false;
    let progress = progress(&arguments.photos, source.look_ahead(2), 0);
    for found in source {
        match found {
            Found::Photo(input) => {
                let name = input.name.clone();
                let result = find(input, &boxes, &mut detector, drawings.as_mut(), &arguments);
                let result = result.map_err(|e| e.in_file(&name));
                if let Err(e) = &result {
                    failed = true;
                    progress.suspend(|| messages::error(e));
                }
                progress.suspend(|| printer.print(&name, &result))?;
                progress.inc(1);
            }
            Found::Failure(e) => {
                failed = true;
                progress.suspend(|| messages::error(e));
            }
            Found::Note(text) => progress.suspend(|| messages::note(text)),
        }
    }
    progress.finish_and_clear();
    printer.finish()?;
    Ok(if failed { Outcome::Partial } else { Outcome::Success })
}

/// The persons of one photo, which is drawn if that was asked for.
fn find(
    input: Input,
    boxes: &Boxes,
    detector: &mut KeypointDetector,
    drawings: Option<&mut Drawings>,
    arguments: &Arguments,
) -> Result<(Persons, Vec<Pose>)> {
    let decode = DecodeOptions::default().allow_truncated(arguments.allow_truncated);
    let name = input.name.clone();
    let photo = input.load(&decode)?;
    let persons = boxes.of(&name, &photo)?;
    if arguments.format == Format::Coco {
        persons.image()?;
    }
    let poses = detector.detect(&photo, &persons.regions)?;
    if let Some(drawings) = drawings {
        let mut picture = drawing::Picture::of(photo);
        if arguments.heatmaps {
            picture.add_heat_maps(detector, &persons.regions)?;
        }
        picture.add_skeletons(&poses, detector.skeleton(), arguments.threshold as f32);
        drawings.write(&name, &picture)?;
    }
    Ok((persons, poses))
}

/// The preparation of photos and the scheme of key points. Arguments override what the model file states.
fn parts(model: &Model, arguments: &Arguments) -> Result<(Preprocess, KeypointScheme)> {
    let scheme = match arguments.decoder {
        Some(decoder) => KeypointScheme::new(decoder.into()),
        None if model.metadata("keypoints").is_some() => KeypointScheme::from_model(model)?,
        None => {
            return Err(Error::input(
                "the model file does not say how its outputs give key points; name a network of key \
                 points, such as movenet-lightning, or add --decoder",
            ));
        }
    };
    let preprocess = match &arguments.preprocess {
        Some(argument) => preparation::named(argument, model)?,
        None => Preprocess::from_model(model)?,
    };
    Ok((preprocess, arguments.scale.map_or(scheme.clone(), |scale| scheme.scale(scale))))
}

impl From<Decoder> for KeypointDecoder {
    fn from(decoder: Decoder) -> Self {
        match decoder {
            Decoder::Movenet => KeypointDecoder::MoveNet,
            Decoder::Heatmaps => KeypointDecoder::Heatmaps,
            Decoder::Dark => KeypointDecoder::Dark,
            Decoder::Simcc => KeypointDecoder::SimCc,
        }
    }
}
