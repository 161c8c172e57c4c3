//! Pictures of an evaluation.

use std::path::Path;

use super::report::Evaluation;
use crate::cli::support::canvas::Canvas;
use dyrelu::Result;
use dyrelu::pictures::{Anchor, Svg, colour};
use dyrelu::vision::{DecodeOptions, Photo, Preprocess, Resize};

/// The side of the confusion matrix in pixels, unless it has more classes or very few.
const MATRIX: usize = 800;
const LARGEST_CELL: usize = 40;

/// The side of a photo on a contact sheet, the distance between two, and their number per row.
const SIDE: u32 = 160;
const GAP: u32 = 8;
const PER_ROW: u32 = 5;

/// The confusion matrix: a row per true class, a column per predicted one, and in each place the share of the
/// photos of the class, from dark blue to yellow. Where there are none it is white.
pub fn confusion(evaluation: &Evaluation) -> Result<Canvas> {
    let classes = evaluation.confused_classes();
    let cell = (MATRIX / classes.len().max(1)).clamp(1, LARGEST_CELL);
    let side = cell * classes.len();
    let mut pixels = vec![255; 3 * side * side];
    for (row, &class) in classes.iter().enumerate() {
        let counts = classes.iter().map(|&predicted| evaluation.count(class, predicted));
        let all: u64 = counts.clone().sum();
        for (column, count) in counts.enumerate().filter(|&(_, count)| count > 0) {
            let colour = colour(count as f32 / all as f32);
            for y in row * cell..(row + 1) * cell {
                let at = 3 * (y * side + column * cell);
                pixels[at..at + 3 * cell].as_chunks_mut().0.fill(colour);
            }
        }
    }
    Ok(Canvas::of(&Photo::new(side as u32, side as u32, pixels)?))
}

/// The accuracy by the score of the best class, beside a line where both are equal. The area of a circle is
/// the share of the photos.
pub fn calibration(evaluation: &Evaluation) -> String {
    let (left, top, side) = (60.0, 20.0, 400.0);
    let mut svg = Svg::new(left + side + 30.0, top + side + 60.0);
    let place = |score: f64, accuracy: f64| (left + side * score, top + side * (1.0 - accuracy));
    let frame = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0), (0.0, 0.0)];
    svg.polyline(&frame.map(|(x, y)| place(x, y)), "#888888");
    svg.polyline(&[place(0.0, 0.0), place(1.0, 1.0)], "#bbbbbb");
    for percent in [0, 25, 50, 75, 100] {
        let share = f64::from(percent) / 100.0;
        let (x, y) = place(share, 0.0);
        svg.text((x, y + 20.0), Anchor::Middle, &format!("{percent}%"));
        let (x, y) = place(0.0, share);
        svg.text((x - 8.0, y + 5.0), Anchor::End, &format!("{percent}%"));
    }
    svg.text((left + side / 2.0, top + side + 45.0), Anchor::Middle, "mean score");
    svg.text((left + 8.0, top + 20.0), Anchor::Start, "accuracy");
    let bins = evaluation.calibration.iter();
    let points: Vec<_> = bins.clone().map(|bin| place(bin.mean_score, bin.accuracy)).collect();
    svg.polyline(&points, "#3b528b");
    for (&point, bin) in points.iter().zip(bins) {
        let share = bin.photos as f64 / evaluation.photos as f64;
        svg.circle(point, (30.0 * share.sqrt()).max(2.0).round(), "#3b528b");
    }
    svg.finish()
}

/// The photos of the worst mistakes, in rows from the top left. A photo that cannot be read again is grey.
pub fn mistakes(evaluation: &Evaluation, decode: &DecodeOptions) -> Result<Canvas> {
    let count = evaluation.mistakes.len() as u32;
    let (columns, rows) = (count.clamp(1, PER_ROW), count.div_ceil(PER_ROW).max(1));
    let [width, height] = [columns, rows].map(|tiles| tiles * (SIDE + GAP) + GAP);
    let mut pixels = vec![255; 3 * (width * height) as usize];
    for (number, mistake) in (0..).zip(&evaluation.mistakes) {
        let tile = tile(Path::new(&mistake.path), decode)
            .unwrap_or_else(|_| vec![128; 3 * (SIDE * SIDE) as usize]);
        let (left, top) = (number % PER_ROW, number / PER_ROW);
        let [left, top] = [left, top].map(|at| at * (SIDE + GAP) + GAP);
        for (y, row) in (top..).zip(tile.chunks_exact(3 * SIDE as usize)) {
            let at = 3 * (y * width + left) as usize;
            pixels[at..at + row.len()].copy_from_slice(row);
        }
    }
    Ok(Canvas::of(&Photo::new(width, height, pixels)?))
}

/// The pixels of the square in the middle of a photo.
fn tile(path: &Path, decode: &DecodeOptions) -> Result<Vec<u8>> {
    let square = Preprocess::new([0.0; 3], [1.0; 3]);
    let square = square.resize(Resize::ShorterSide(SIDE)).center_crop([SIDE, SIDE]);
    let tensor = square.apply(&decode.load(path)?)?;
    let levels = tensor.as_f32()?;
    let area = (SIDE * SIDE) as usize;
    let level = |at: usize| (255.0 * levels[at]).round() as u8;
    Ok((0..area).flat_map(|at| [level(at), level(area + at), level(2 * area + at)]).collect())
}
