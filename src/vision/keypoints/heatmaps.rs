//! Decoders of heat maps: one map per key point, whose maximum is where the key point is.

use super::maps::{Maps, Point, largest};

/// The side of the square that DARK smooths with, for maps that were trained on Gaussians with a deviation
/// of 2 cells.
const SMOOTHING: usize = 11;

/// Returns the maximum of each map, moved within its cell by `refine`, which gets a map with its width and
/// the row and column of the maximum, and returns the distances to move, down and right.
pub(super) fn decode(
    maps: &Maps,
    refine: impl Fn(&[f32], usize, (usize, usize)) -> (f32, f32),
) -> Vec<Point> {
    let (height, width) = maps.size();
    let point = |k: usize| {
        let map = maps.channel(k);
        let best = largest(map.iter().copied());
        let (row, column) = (best / width, best % width);
        let (down, right) = refine(map, width, (row, column));
        let x = (column as f32 + right) / width as f32;
        let y = (row as f32 + down) / height as f32;
        Point { x, y, score: map[best] }
    };
    (0..maps.shape[0]).map(point).collect()
}

/// Returns a quarter of a cell towards the larger neighbour on either axis, nothing at the border.
pub(super) fn quarter(map: &[f32], width: usize, (row, column): (usize, usize)) -> (f32, f32) {
    let height = map.len() / width;
    if !(2..height.saturating_sub(1)).contains(&row)
        || !(2..width.saturating_sub(1)).contains(&column)
    {
        return (0.0, 0.0);
    }
    let at = row * width + column;
    let towards = |larger: f32, smaller: f32| match larger - smaller {
        difference if difference > 0.0 => 0.25,
        difference if difference < 0.0 => -0.25,
        _ => 0.0,
    };
    (towards(map[at + width], map[at - width]), towards(map[at + 1], map[at - 1]))
}

/// DARK: smooths each map, scales it back to its maximum, and moves the maximum by one step of Newton's
/// method on the logarithm.
pub(super) fn decode_dark(maps: &Maps) -> Vec<Point> {
    let (_, width) = maps.size();
    decode(maps, |map, _, place| {
        let peak = map.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let smooth = smoothed(map, width);
        let smooth_peak = smooth.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let log = smooth.iter().map(|value| (value * peak / smooth_peak).max(1e-10).ln());
        newton(&log.collect::<Vec<_>>(), width, place)
    })
}

/// Returns the step from `place` to the maximum of the parabola through its neighbours, nothing near the
/// border or where there is no maximum.
fn newton(map: &[f32], width: usize, (row, column): (usize, usize)) -> (f32, f32) {
    let height = map.len() / width;
    if !(2..height.saturating_sub(2)).contains(&row)
        || !(2..width.saturating_sub(2)).contains(&column)
    {
        return (0.0, 0.0);
    }
    let at = |down: isize, right: isize| {
        let index = (row.wrapping_add_signed(down)) * width + column.wrapping_add_signed(right);
        map[index]
    };
    let (dx, dy) = (0.5 * (at(0, 1) - at(0, -1)), 0.5 * (at(1, 0) - at(-1, 0)));
    let dxx = 0.25 * (at(0, 2) - 2.0 * at(0, 0) + at(0, -2));
    let dyy = 0.25 * (at(2, 0) - 2.0 * at(0, 0) + at(-2, 0));
    let dxy = 0.25 * (at(1, 1) - at(-1, 1) - at(1, -1) + at(-1, -1));
    let determinant = dxx * dyy - dxy * dxy;
    if determinant == 0.0 || !determinant.is_finite() {
        return (0.0, 0.0);
    }
    ((dxy * dx - dxx * dy) / determinant, (dxy * dy - dyy * dx) / determinant)
}

/// Returns a map smoothed by a Gaussian, with zeros beyond its border. The deviation follows from the side
/// of the square, as in OpenCV.
fn smoothed(map: &[f32], width: usize) -> Vec<f32> {
    let radius = SMOOTHING / 2;
    let deviation = 0.3 * ((SMOOTHING as f32 - 1.0) * 0.5 - 1.0) + 0.8;
    let weight =
        |i: usize| (-(i as f32 - radius as f32).powi(2) / (2.0 * deviation * deviation)).exp();
    let weights: Vec<f32> = (0..SMOOTHING).map(weight).collect();
    let sum: f32 = weights.iter().sum();
    let height = map.len() / width;
    // The sum along one axis, around the element at `place` of `length`, which are `step` apart.
    let along = |map: &[f32], at: usize, place: usize, length: usize, step: usize| {
        let taps = (0..SMOOTHING).filter_map(|i| {
            let other = (place + i).checked_sub(radius).filter(|&other| other < length)?;
            Some(weights[i] / sum * map[at + other * step - place * step])
        });
        taps.sum::<f32>()
    };
    let cells = 0..map.len();
    let rows: Vec<f32> = cells.clone().map(|at| along(map, at, at % width, width, 1)).collect();
    cells.map(|at| along(&rows, at, at / width, height, width)).collect()
}

/// Returns the maps for a crop from those for its mirror image. Cell `x` of a map stands for the share
/// `x / width` of the crop, so the maps move right by one cell.
pub(super) fn mirrored(maps: &Maps, partners: &[usize]) -> Maps {
    let mut mirrored = maps.mirrored(partners);
    let width = maps.size().1;
    for row in mirrored.values.chunks_exact_mut(width) {
        row.copy_within(..width - 1, 1);
    }
    mirrored
}
