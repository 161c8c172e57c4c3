//! What the elements of a resized axis are computed from.
//!
//! Positions in the input are exact fractions, because the last bit of a rounded position can
//! decide which element is the nearest.

use super::{Fraction, ResizeAxis};
use crate::graph::{CoordinateTransform, NearestRounding, Resize, ResizeMode};

/// Returns the entries of the input that output entry `at` of an axis is a weighted sum of, with
/// their weights; `None` if it lies outside of the region of interest.
pub(crate) fn taps(op: &Resize, axis: &ResizeAxis, at: usize) -> Option<Vec<(usize, f64)>> {
    let position = source(op, axis, at)?;
    let last = axis.input as i128 - 1;
    let inside = |place: i128| place.clamp(0, last) as usize;
    let shrinks = axis.scale.is_less(Fraction::ONE);
    if let ResizeMode::Nearest(rounding) = op.mode {
        let nearest = match rounding {
            NearestRounding::RoundPreferFloor => position.plus_halves(-1).ceil(),
            NearestRounding::RoundPreferCeil => position.plus_halves(1).floor(),
            NearestRounding::FloorOrCeil if shrinks => position.ceil(),
            NearestRounding::Floor | NearestRounding::FloorOrCeil => position.floor(),
            NearestRounding::Ceil => position.ceil(),
        };
        return Some(vec![(inside(nearest), 1.0)]);
    }
    // With antialiasing, a filter that shrinks the input is stretched over more of it.
    let stretch = if op.antialias && shrinks { 1.0 / axis.scale.to_f64() } else { 1.0 };
    let (support, weight): (f64, Box<dyn Fn(f64) -> f64>) = match op.mode {
        ResizeMode::Cubic { coefficient } => {
            (2.0, Box::new(move |t| cubic(t, f64::from(coefficient))))
        }
        _ => (1.0, Box::new(|t: f64| (1.0 - t.abs()).max(0.0))),
    };
    // The range may include places at the ends of the filter, where weights are 0.
    let reach = (support * stretch).ceil() as i128;
    let mut weighted: Vec<(i128, f64)> = (position.floor() - reach..=position.ceil() + reach)
        .map(|place| (place, weight(position.distance(place) / stretch)))
        .collect();
    if op.exclude_outside {
        weighted.retain(|&(place, _)| (0..=last).contains(&place));
    }
    if op.exclude_outside || op.antialias {
        let sum: f64 = weighted.iter().map(|(_, w)| w).sum();
        weighted.iter_mut().for_each(|(_, w)| *w /= sum);
    }
    Some(weighted.into_iter().map(|(place, w)| (inside(place), w)).collect())
}

/// Returns the position in the input of output entry `at` of an axis; `None` if it lies outside of
/// the region of interest.
fn source(op: &Resize, axis: &ResizeAxis, at: usize) -> Option<Fraction> {
    let (x, input, output) = (at as i128, axis.input as i128, axis.output as i128);
    // The scale is p / q.
    let Fraction { numerator: p, denominator: q } = axis.scale;
    let half_pixel = Fraction { numerator: (2 * x + 1) * q - p, denominator: 2 * p };
    Some(match op.coordinates {
        CoordinateTransform::HalfPixel => half_pixel,
        CoordinateTransform::HalfPixelSymmetric => Fraction {
            // As `half_pixel`, moved by half of what rounding took off the output size.
            numerator: (input - 1) * p + (2 * x + 1 - output) * q,
            denominator: 2 * p,
        },
        CoordinateTransform::PytorchHalfPixel | CoordinateTransform::AlignCorners
            if output <= 1 =>
        {
            Fraction::ZERO
        }
        CoordinateTransform::PytorchHalfPixel => half_pixel,
        // If the network states scales, the output size before rounding counts, which is no
        // smaller.
        CoordinateTransform::AlignCorners => {
            Fraction { numerator: x * (input - 1) * q, denominator: input * p - q }
        }
        CoordinateTransform::Asymmetric => Fraction { numerator: x * q, denominator: p },
        CoordinateTransform::TfCropAndResize => {
            // Exact to 2^-40 of the axis.
            const UNIT: i128 = 1 << 40;
            let units = |at: f32| (f64::from(at) * UNIT as f64).round() as i128;
            let (from, to) = (units(axis.roi.0), units(axis.roi.1));
            let position = if output > 1 {
                Fraction {
                    numerator: (input - 1) * (from * (output - 1) + x * (to - from)),
                    denominator: UNIT * (output - 1),
                }
            } else {
                Fraction { numerator: (input - 1) * (from + to), denominator: 2 * UNIT }
            };
            let is_inside = position.numerator >= 0 && position.ceil() < input;
            return is_inside.then_some(position);
        }
    })
}

/// Keys' cubic kernel.
fn cubic(t: f64, a: f64) -> f64 {
    let t = t.abs();
    if t <= 1.0 {
        ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0
    } else if t < 2.0 {
        ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a
    } else {
        0.0
    }
}
