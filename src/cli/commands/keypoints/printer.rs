//! Prints the persons of photos in one of the formats.

use std::path::Path;

use serde::Serialize;

use super::boxes::Persons;
use crate::cli::support::print::{output_failed, print, to_json};
use dyrelu::vision::{Pose, Skeleton};
use dyrelu::{Error, Result};

/// The format of results.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Text,
    Json,
    Csv,
    Coco,
}

pub struct Printer {
    names: Vec<String>,
    output: Output,
}

enum Output {
    Text,
    Json,
    Csv(Box<csv::Writer<std::io::Stdout>>),
    /// The results so far. A list is complete or not there.
    Coco(Vec<CocoResult>),
}

/// A line of JSON. One optional field is present.
#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    persons: Option<Vec<Person<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct Person<'a> {
    #[serde(rename = "box")]
    region: [f32; 4],
    score: f32,
    keypoints: Vec<Point<'a>>,
}

#[derive(Serialize)]
struct Point<'a> {
    name: &'a str,
    x: f32,
    y: f32,
    score: f32,
}

/// A detection as pycocotools reads it.
#[derive(Serialize)]
struct CocoResult {
    image_id: u64,
    category_id: u64,
    /// x, y and score of each key point.
    keypoints: Vec<f32>,
    score: f32,
}

/// The number of COCO's category of persons.
const PERSON: u64 = 1;

impl Printer {
    pub fn new(format: Format, skeleton: &Skeleton) -> Result<Self> {
        let output = match format {
            Format::Text => Output::Text,
            Format::Json => Output::Json,
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(std::io::stdout());
                let header = ["path", "person", "keypoint", "x", "y", "score"];
                writer.write_record(header).map_err(csv_failed)?;
                Output::Csv(Box::new(writer))
            }
            Format::Coco => Output::Coco(Vec::new()),
        };
        Ok(Printer { names: skeleton.names().to_vec(), output })
    }

    /// Prints the result for a photo. Errors of photos appear in JSON only.
    pub fn print(&mut self, path: &Path, result: &Result<(Persons, Vec<Pose>)>) -> Result<()> {
        let name = path.to_string_lossy();
        let names = &self.names;
        let text = match (&mut self.output, result) {
            (Output::Text, Ok((_, poses))) => text(&name, names, poses),
            (Output::Json, result) => {
                let persons = result
                    .as_ref()
                    .ok()
                    .map(|(_, poses)| poses.iter().map(|pose| Person::new(names, pose)).collect());
                let error = result.as_ref().err().map(Error::message);
                to_json(&Line { path: &name, persons, error })? + "\n"
            }
            (Output::Csv(writer), Ok((_, poses))) => {
                for (number, pose) in poses.iter().enumerate() {
                    for (keypoint, point) in names.iter().zip(&pose.keypoints) {
                        let numbers = [point.x, point.y, point.score].map(|n| n.to_string());
                        let [x, y, score] = numbers.each_ref().map(String::as_str);
                        let person = (number + 1).to_string();
                        let record = [&*name, &person, keypoint, x, y, score];
                        writer.write_record(record).map_err(csv_failed)?;
                    }
                }
                return writer.flush().map_err(output_failed);
            }
            (Output::Coco(results), Ok((persons, poses))) => {
                let image_id = persons.image()?;
                results.extend(poses.iter().map(|pose| CocoResult {
                    image_id,
                    category_id: PERSON,
                    keypoints: pose.keypoints.iter().flat_map(|p| [p.x, p.y, p.score]).collect(),
                    score: pose.score,
                }));
                return Ok(());
            }
            (Output::Text | Output::Csv(_) | Output::Coco(_), Err(_)) => return Ok(()),
        };
        print(&text)
    }

    /// Prints what is printed once all photos are done.
    pub fn finish(self) -> Result<()> {
        match self.output {
            Output::Coco(results) => print(&(to_json(&results)? + "\n")),
            _ => Ok(()),
        }
    }
}

fn text(path: &str, names: &[String], poses: &[Pose]) -> String {
    let mut text = format!("{path}\n");
    if poses.is_empty() {
        text.push_str("  no person\n");
    }
    let longest = names.iter().map(String::len).max().unwrap_or(0);
    for (number, pose) in poses.iter().enumerate() {
        let number = number + 1;
        text.push_str(&format!("  person {number}, mean score {:.2}\n", pose.score));
        for (name, point) in names.iter().zip(&pose.keypoints) {
            let line = format!(
                "    {name:longest$} {:8.1} {:8.1}   {:.2}\n",
                point.x, point.y, point.score
            );
            text.push_str(&line);
        }
    }
    text
}

impl<'a> Person<'a> {
    fn new(names: &'a [String], pose: &Pose) -> Self {
        let region = [pose.region.x, pose.region.y, pose.region.width, pose.region.height];
        let points = names.iter().zip(&pose.keypoints);
        let point = |(name, p): (&'a String, &dyrelu::vision::Keypoint)| Point {
            name,
            x: p.x,
            y: p.y,
            score: p.score,
        };
        Person { region, score: pose.score, keypoints: points.map(point).collect() }
    }
}

fn csv_failed(e: csv::Error) -> Error {
    match e.into_kind() {
        csv::ErrorKind::Io(e) => output_failed(e),
        other => Error::format(format!("cannot write CSV: {other:?}")),
    }
}
