//! Photos are decoded and prepared as by Pillow and torchvision.
//!
//! `tools/dyrelu_tools/goldens_images.py` writes the files, with Pillow 13.
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

/// The accepted differences, in levels of 255.
struct Tolerance {
    max: u8,
    mean: f64,
}

/// Both resamplers use rounded weights and round the result of each of the two passes.
const RESIZED: Tolerance = Tolerance { max: 1, mean: 0.02 };
const NEAREST: Tolerance = Tolerance { max: 0, mean: 0.0 };
/// The JPEG decoder computes the same pixels as Pillow's.
const DECODED: Tolerance = Tolerance { max: 0, mean: 0.0 };

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images/preprocess")
}

fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string(folder().join("cases.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The source of a case, prepared by its settings, in levels of 255.
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
    let image = prepared(case);
    assert_eq!(image.dimensions(), golden.dimensions(), "{}", case.name);
    image.as_raw().iter().zip(golden.as_raw()).map(|(a, b)| a.abs_diff(*b)).collect()
}

#[test]
fn pixels_equal_those_of_pillow() {
    let mut failures = Vec::new();
    let cases = cases();
    for case in &cases {
        let tolerance = match case.preprocess["interpolation"].as_str() {
            None => DECODED,
            Some("nearest") => NEAREST,
            Some(_) => RESIZED,
        };
        let differences = differences(case);
        let max = differences.iter().copied().max().unwrap();
        let sum: f64 = differences.iter().map(|&d| f64::from(d)).sum();
        let mean = sum / differences.len() as f64;
        let line = format!("{}: differences of at most {max}, {mean:.4} on average", case.name);
        println!("{line}");
        if max > tolerance.max || mean > tolerance.mean {
            failures.push(line);
        }
    }
    assert!(cases.len() > 20, "only {} cases", cases.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
