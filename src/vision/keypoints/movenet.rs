//! MoveNet's decoder.

use super::maps::{Maps, Point, largest, sigmoid};

/// Added to the distance, in cells, by which a probability is divided: a constant of Google's file.
const NEAR: f32 = 1.8;

/// Finds the most central person: its centre, where the regression expects its key points, the most
/// probable cell near each expectation, and the position in that cell.
pub(super) fn decode(outputs: &[Maps]) -> Vec<Point> {
    let [centre, points, regress, offset] = outputs else { return Vec::new() };
    let (height, width) = points.size();
    let nearest = |logits: &[f32], y: f32, x: f32| {
        largest(logits.iter().enumerate().map(|(cell, &logit)| {
            let (row, column) = ((cell / width) as f32, (cell % width) as f32);
            sigmoid(logit) / ((row - y).hypot(column - x) + NEAR)
        }))
    };
    let middle = ((height / 2) as f32, (width / 2) as f32);
    let person = nearest(centre.channel(0), middle.0, middle.1);
    let (row, column) = ((person / width) as f32, (person % width) as f32);
    let point = |k: usize| {
        let y = row + regress.channel(2 * k)[person];
        let x = column + regress.channel(2 * k + 1)[person];
        let cell = nearest(points.channel(k), y, x);
        let within = |channel: usize| offset.channel(channel)[cell];
        Point {
            x: ((cell % width) as f32 + within(2 * k + 1)) / width as f32,
            y: ((cell / width) as f32 + within(2 * k)) / height as f32,
            score: sigmoid(points.channel(k)[cell]),
        }
    };
    (0..points.shape[0]).map(point).collect()
}

pub(super) fn mirrored(outputs: &[Maps], partners: &[usize]) -> Vec<Maps> {
    let [centre, points, regress, offset] = outputs else { return Vec::new() };
    let vectors: Vec<usize> = partners.iter().flat_map(|&k| [2 * k, 2 * k + 1]).collect();
    // A vector between cells changes its sign, a position within a cell its side.
    let regress = with_dx(regress.mirrored(&vectors), |dx| -dx);
    let offset = with_dx(offset.mirrored(&vectors), |dx| 1.0 - dx);
    vec![centre.mirrored(&[0]), points.mirrored(partners), regress, offset]
}

fn with_dx(mut vectors: Maps, change: impl Fn(f32) -> f32) -> Maps {
    let length: usize = vectors.shape[1..].iter().product();
    for dx in vectors.values.chunks_exact_mut(length).skip(1).step_by(2) {
        dx.iter_mut().for_each(|value| *value = change(*value));
    }
    vectors
}
