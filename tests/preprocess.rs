//! Photos are decoded and prepared as Pillow and torchvision do it.
//!
//! `tools/dyrelu_tools/goldens_images.py` made the files, with Pillow 13.
#![cfg(feature = "vision")]

use std::path::{Path, PathBuf};

use dyrelu::vision::{self, Preprocess};
use image::RgbImage;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Case {
    name: String,
    source: String,
    preprocess: Value,
}

/// How many levels of 255 a pixel may be off, and all pixels in the mean.
struct Tolerance {
    worst: u8,
    mean: f64,
}

/// Both resamplers work with rounded weights and round each of the two passes.
const RESIZED: Tolerance = Tolerance { worst: 1, mean: 0.02 };
const NEAREST: Tolerance = Tolerance { worst: 0, mean: 0.0 };
/// The JPEG decoder computes what Pillow's does.
const DECODED: Tolerance = Tolerance { worst: 0, mean: 0.0 };

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images/preprocess")
}

fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string(folder().join("cases.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// What the settings of a case make of its source, in levels of 255.
fn prepared(case: &Case) -> RgbImage {
    let mut settings = case.preprocess.clone();
    (settings["mean"], settings["std"]) = (json!([0, 0, 0]), json!([1, 1, 1]));
    let settings = Preprocess::from_json(&settings.to_string()).unwrap();
    let photo = vision::load(folder().join(&case.source)).unwrap();
    let x = settings.apply(&photo).unwrap();
    let &[1, 3, height, width] = x.shape() else { panic!("{:?}", x.shape()) };
    let values = x.as_f32().unwrap();
    RgbImage::from_fn(width as u32, height as u32, |column, row| {
        let at = row as usize * width + column as usize;
        let level = |channel: usize| (255.0 * values[channel * height * width + at]).round() as u8;
        image::Rgb([0, 1, 2].map(level))
    })
}

fn differences(case: &Case) -> Vec<u8> {
    let golden = image::open(folder().join(format!("{}.png", case.name))).unwrap().into_rgb8();
    let found = prepared(case);
    assert_eq!(found.dimensions(), golden.dimensions(), "{}", case.name);
    found.as_raw().iter().zip(golden.as_raw()).map(|(a, b)| a.abs_diff(*b)).collect()
}

#[test]
fn pixels_are_those_of_pillow() {
    let mut failures = Vec::new();
    let cases = cases();
    for case in &cases {
        let tolerance = match case.preprocess["interpolation"].as_str() {
            None => DECODED,
            Some("nearest") => NEAREST,
            Some(_) => RESIZED,
        };
        let off = differences(case);
        let worst = off.iter().copied().max().unwrap();
        let mean = off.iter().map(|&d| f64::from(d)).sum::<f64>() / off.len() as f64;
        let line = format!("{}: off by at most {worst}, {mean:.4} in the mean", case.name);
        println!("{line}");
        if worst > tolerance.worst || mean > tolerance.mean {
            failures.push(line);
        }
    }
    assert!(cases.len() > 20, "only {} cases", cases.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
