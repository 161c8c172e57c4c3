//! Measures how well a network finds the key points of annotated persons.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use indicatif::ProgressBar;
use serde::Serialize;

use super::oks::{self, KEYPOINTS, Scores};
use super::pck::{Pck, label, position};
use super::report::{Format, markdown_table, text_table};
use crate::cli::support::coco::{Coco, Image, Person};
use crate::cli::support::outcome::Outcome;
use crate::cli::support::photos::{Found, Input, Source};
use crate::cli::support::print::{count, print, to_json};
use crate::cli::support::{interrupt, messages};
use dyrelu::vision::{DecodeOptions, KeypointDetector, Pose};
use dyrelu::{Error, Model, Result, Session};

/// The result.
#[derive(Serialize)]
struct Evaluation {
    photos: usize,
    failed: u64,
    /// The annotated persons who have labelled key points.
    persons: usize,
    #[serde(flatten)]
    scores: Scores,
    /// The share of labelled key points that are within a fifth of the torso, of persons whose torso is
    /// labelled.
    pck: Option<f64>,
    /// The interval that holds the share of all persons like these with a probability of 95%.
    pck_interval: Option<[f64; 2]>,
    keypoints: Vec<Keypoint>,
}

/// One key point of all persons whose torso is labelled.
#[derive(Serialize)]
struct Keypoint {
    name: String,
    labelled: u64,
    pck: Option<f64>,
}

/// How persons are found.
pub struct Settings<'a> {
    /// The file with COCO's annotations.
    pub boxes: &'a Path,
    /// Whether results are averaged over mirrored crops.
    pub flip: bool,
    pub threads: usize,
    pub decode: DecodeOptions,
    pub format: Format,
}

pub fn run(
    settings: Settings,
    model: &Arc<Model>,
    source: Source,
    progress: ProgressBar,
) -> Result<Outcome> {
    let boxes = settings.boxes;
    let coco = Coco::read(boxes).map_err(|e| e.in_file(boxes))?;
    let session = Session::with_threads(model, settings.threads)?;
    let mut detector = KeypointDetector::new(session)?.flip(settings.flip);
    let names = detector.skeleton().names().to_vec();
    if names.len() != KEYPOINTS {
        return Err(Error::input(format!(
            "the network has {}, and annotations of COCO have {KEYPOINTS}",
            count(names.len(), "key point")
        )));
    }
    // By the number of the image, which is the order of pycocotools.
    let mut photos = BTreeMap::new();
    let mut pck = Pck::default();
    let mut failed = 0;
    interrupt::finish_work(|| {});
    for found in source {
        let result = match found {
            Found::Photo(input) => {
                let name = input.name.clone();
                let result = coco.image(&name).ok_or_else(|| {
                    let file = boxes.display();
                    Error::input(format!("{file} has no image with the name of this photo"))
                });
                let added = result.and_then(|image| {
                    if photos.contains_key(&image.id) {
                        return Err(Error::input("this image was evaluated before"));
                    }
                    let (photo, poses) = find(input, image, &mut detector, &settings.decode)?;
                    pck.add(image, &poses);
                    photos.insert(image.id, photo);
                    Ok(())
                });
                progress.inc(1);
                added.map_err(|e| e.in_file(&name))
            }
            Found::Failure(e) => Err(e),
            Found::Note(text) => {
                progress.suspend(|| messages::note(text));
                Ok(())
            }
        };
        if let Err(e) = result {
            failed += 1;
            progress.suspend(|| messages::error(e));
        }
        if interrupt::received().is_some() {
            let done = count(photos.len(), "photo");
            progress.suspend(|| {
                messages::error(format_args!("stopped after {done}: the report is of these alone"));
            });
            break;
        }
    }
    progress.finish_and_clear();
    if photos.is_empty() {
        return Err(Error::input("no photo was evaluated"));
    }
    if photos.values().all(|photo: &oks::Photo| photo.found.is_empty()) {
        let message = "there is no person with labelled key points in the evaluated photos";
        return Err(Error::input(message).in_file(boxes));
    }
    let photos: Vec<oks::Photo> = photos.into_values().collect();
    let keypoint = |(k, name): (usize, String)| {
        let counts = pck.keypoint(k);
        Keypoint { name, labelled: counts.labelled, pck: counts.share() }
    };
    let evaluation = Evaluation {
        photos: photos.len(),
        failed,
        persons: photos.iter().map(|photo| photo.found.len()).sum(),
        scores: oks::scores(&photos),
        pck: pck.share(),
        pck_interval: pck.interval(),
        keypoints: names.into_iter().enumerate().map(keypoint).collect(),
    };
    print(&match settings.format {
        Format::Text => evaluation.described("", text_table),
        Format::Markdown => evaluation.described("# Evaluation\n\n", markdown_table),
        Format::Json => to_json(&evaluation)? + "\n",
    })?;
    Ok(match interrupt::received() {
        Some(signal) => Outcome::Stopped(signal),
        None if failed > 0 => Outcome::Partial,
        None => Outcome::Success,
    })
}

/// The annotated persons of a photo, and those whom the network finds in the boxes of the ones with labels.
fn find(
    input: Input,
    image: &Image,
    detector: &mut KeypointDetector,
    decode: &DecodeOptions,
) -> Result<(oks::Photo, Vec<Pose>)> {
    let truth = image.persons.iter().map(annotated).collect::<Result<_>>()?;
    let photo = input.load(decode)?;
    let labelled = image.persons.iter().filter(|person| person.is_labelled());
    let regions: Vec<_> = labelled.map(Person::region).collect();
    let poses = detector.detect(&photo, &regions)?;
    let found = poses.iter().map(|pose| oks::Found {
        keypoints: std::array::from_fn(|k| position(pose, k)),
        score: f64::from(pose.score),
    });
    Ok((oks::Photo { truth, found: found.collect() }, poses))
}

fn annotated(person: &Person) -> Result<oks::True> {
    let area =
        person.area.ok_or_else(|| Error::format("an annotation of this photo has no area"))?;
    if person.keypoints.len() != 3 * KEYPOINTS {
        return Err(Error::format(format!(
            "an annotation of this photo has {} numbers for key points, expected {}",
            person.keypoints.len(),
            3 * KEYPOINTS
        )));
    }
    let keypoints = std::array::from_fn(|k| label(person, k));
    Ok(oks::True { frame: person.frame, area, keypoints, is_crowd: person.is_crowd() })
}

impl Evaluation {
    fn described(&self, title: &str, table: impl Fn(&str, Vec<Vec<String>>) -> String) -> String {
        let number = |score: Option<f64>| score.map_or("-".into(), |score| format!("{score:.3}"));
        let s = &self.scores;
        let mut text = format!(
            "{title}{} in {}: AP {}, PCK@0.2 {}\n",
            count(self.persons, "person"),
            count(self.photos, "photo"),
            number(s.ap),
            number(self.pck)
        );
        if let Some([low, high]) = self.pck_interval {
            text.push_str(&format!("95% interval of PCK: {low:.3} to {high:.3}\n"));
        }
        if self.failed > 0 {
            text.push_str(&format!("not evaluated: {}\n", count(self.failed as usize, "photo")));
        }
        let row = |cells: [&str; 3]| cells.map(String::from).to_vec();
        let scores = [
            ("AP", "over OKS from 0.50 to 0.95", s.ap),
            ("AP50", "OKS of 0.50", s.ap50),
            ("AP75", "OKS of 0.75", s.ap75),
            ("APm", "persons of 32² to 96² pixels", s.ap_medium),
            ("APl", "larger persons", s.ap_large),
            ("AR", "recall, over OKS from 0.50 to 0.95", s.ar),
        ];
        let scores = scores.map(|(name, what, score)| row([name, what, &number(score)]));
        let header = row(["score", "of", "value"]);
        text.push_str(&table("COCO", [vec![header], scores.to_vec()].concat()));
        let mut rows = vec![row(["key point", "labelled", "PCK@0.2"])];
        let of_keypoint = |k: &Keypoint| row([&k.name, &k.labelled.to_string(), &number(k.pck)]);
        rows.extend(self.keypoints.iter().map(of_keypoint));
        text.push_str(&table("Key points", rows));
        text
    }
}
