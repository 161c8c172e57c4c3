//! Every pair of small sizes, compared with the formulas of the ONNX specification on reduced
//! fractions.

use std::ops::{Add, Div, Mul, Sub};

use crate::graph::{
    AspectRatioPolicy, CoordinateTransform, NearestRounding, Op, Resize, ResizeMode,
};
use crate::reference::evaluate;
use crate::tensor::Tensor;

/// A reduced fraction with a positive denominator.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ratio(i128, i128);

fn ratio(numerator: i128, denominator: i128) -> Ratio {
    let (mut a, mut b) = (numerator.abs(), denominator.abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    let sign = denominator.signum();
    Ratio(sign * numerator / a.max(1), sign * denominator / a.max(1))
}

fn whole(number: usize) -> Ratio {
    Ratio(number as i128, 1)
}

const HALF: Ratio = Ratio(1, 2);

impl Add for Ratio {
    type Output = Ratio;

    fn add(self, other: Ratio) -> Ratio {
        ratio(self.0 * other.1 + other.0 * self.1, self.1 * other.1)
    }
}

impl Sub for Ratio {
    type Output = Ratio;

    fn sub(self, other: Ratio) -> Ratio {
        ratio(self.0 * other.1 - other.0 * self.1, self.1 * other.1)
    }
}

impl Mul for Ratio {
    type Output = Ratio;

    fn mul(self, other: Ratio) -> Ratio {
        ratio(self.0 * other.0, self.1 * other.1)
    }
}

impl Div for Ratio {
    type Output = Ratio;

    fn div(self, other: Ratio) -> Ratio {
        ratio(self.0 * other.1, self.1 * other.0)
    }
}

impl Ratio {
    fn floor(self) -> i128 {
        self.0.div_euclid(self.1)
    }

    /// Returns the nearest integer, with halves rounded down or up.
    fn round(self, halves_up: bool) -> i128 {
        let below = self.floor();
        let rest = self - Ratio(below, 1);
        let up = 2 * rest.0 > rest.1 || (halves_up && 2 * rest.0 == rest.1);
        below + i128::from(up)
    }

    fn ceil(self) -> i128 {
        self.floor() + i128::from(self.1 != 1)
    }
}

const COORDINATES: [CoordinateTransform; 6] = [
    CoordinateTransform::HalfPixel,
    CoordinateTransform::HalfPixelSymmetric,
    CoordinateTransform::PytorchHalfPixel,
    CoordinateTransform::AlignCorners,
    CoordinateTransform::Asymmetric,
    CoordinateTransform::TfCropAndResize,
];

const ROUNDINGS: [NearestRounding; 5] = [
    NearestRounding::RoundPreferFloor,
    NearestRounding::RoundPreferCeil,
    NearestRounding::Floor,
    NearestRounding::Ceil,
    NearestRounding::FloorOrCeil,
];

/// The region of interest of `tf_crop_and_resize`, in units of 2^-10: 0.125 to 0.7001953125.
const REGION: (i128, i128) = (128, 717);

/// Computes `x_original` of the ONNX specification. `length` is the size of the result, which is
/// `exact` rounded.
fn original(
    coordinates: CoordinateTransform,
    (input, length): (usize, usize),
    scale: Ratio,
    x: usize,
) -> Ratio {
    let (x, size) = (whole(x), whole(input));
    let exact = scale * size;
    let half_pixel = (x + HALF) / scale - HALF;
    match coordinates {
        CoordinateTransform::HalfPixel => half_pixel,
        CoordinateTransform::HalfPixelSymmetric => {
            let adjustment = whole(length) / exact;
            let centre = size / whole(2);
            let offset = centre * (whole(1) - adjustment);
            offset + (x + HALF) / scale - HALF
        }
        CoordinateTransform::PytorchHalfPixel if length > 1 => half_pixel,
        CoordinateTransform::PytorchHalfPixel => whole(0),
        CoordinateTransform::AlignCorners if length > 1 => {
            x * (size - whole(1)) / (exact - whole(1))
        }
        CoordinateTransform::AlignCorners => whole(0),
        CoordinateTransform::Asymmetric => x / scale,
        CoordinateTransform::TfCropAndResize => {
            let (from, to) = (ratio(REGION.0, 1024), ratio(REGION.1, 1024));
            let last = size - whole(1);
            if length > 1 {
                from * last + x * (to - from) * last / whole(length - 1)
            } else {
                HALF * (from + to) * last
            }
        }
    }
}

fn nearest(rounding: NearestRounding, at: Ratio, scale: Ratio) -> i128 {
    match rounding {
        NearestRounding::RoundPreferFloor => at.round(false),
        NearestRounding::RoundPreferCeil => at.round(true),
        NearestRounding::Floor => at.floor(),
        NearestRounding::Ceil => at.ceil(),
        NearestRounding::FloorOrCeil if scale.0 < scale.1 => at.ceil(),
        NearestRounding::FloorOrCeil => at.floor(),
    }
}

/// Resizes one axis whose entries are 0, 1, 2 and so on.
fn resized(
    mode: ResizeMode,
    coordinates: CoordinateTransform,
    input: usize,
    to: Result<usize, f32>,
) -> Vec<f32> {
    let op = Op::Resize(Resize {
        mode,
        coordinates,
        axes: vec![],
        antialias: false,
        exclude_outside: false,
        extrapolation_value: -5.0,
        keep_aspect_ratio: AspectRatioPolicy::Stretch,
    });
    let x = Tensor::vector((0..input).map(|x| x as f32).collect());
    let roi = Tensor::vector(vec![REGION.0 as f32 / 1024.0, REGION.1 as f32 / 1024.0]);
    let (scales, sizes) = match to {
        Ok(size) => (None, Some(Tensor::vector(vec![size as i64]))),
        Err(scale) => (Some(Tensor::vector(vec![scale])), None),
    };
    let inputs = [Some(&x), Some(&roi), scales.as_ref(), sizes.as_ref()];
    evaluate(&op, &inputs, 1).unwrap()[0].as_f32().unwrap().to_vec()
}

/// Checks the result of resizing an axis of `input` entries by a size or by a scale.
fn check(coordinates: CoordinateTransform, input: usize, to: Result<usize, f32>, scale: Ratio) {
    let (last, mut size) = (input as i128 - 1, 0);
    let crops = coordinates == CoordinateTransform::TfCropAndResize;
    for rounding in ROUNDINGS {
        let found = resized(ResizeMode::Nearest(rounding), coordinates, input, to);
        size = found.len();
        let expected = (0..size).map(|x| {
            let at = original(coordinates, (input, size), scale, x);
            nearest(rounding, at, scale).clamp(0, last) as f32
        });
        let expected: Vec<f32> = expected.collect();
        assert_eq!(found, expected, "{coordinates:?} {rounding:?} {input} to {to:?}");
    }
    let found = resized(ResizeMode::Linear, coordinates, input, to);
    assert_eq!(found.len(), size);
    for (x, found) in found.into_iter().enumerate() {
        let at = original(coordinates, (input, size), scale, x);
        // The value of an entry is its position, within the axis.
        let place = (at.0 as f64 / at.1 as f64).clamp(0.0, last as f64) as f32;
        assert!(!crops || (at.0 >= 0 && at.ceil() <= last));
        assert!(
            (found - place).abs() <= 1e-5,
            "{coordinates:?} {input} to {to:?}: {found} {place}"
        );
    }
}

#[test]
fn sizes_decide_exactly() {
    for coordinates in COORDINATES {
        for (input, output) in (1..=64).flat_map(|n| (1..=64).map(move |m| (n, m))) {
            check(coordinates, input, Ok(output), ratio(output as i128, input as i128));
        }
    }
}

#[test]
fn scales_are_taken_as_they_are_written() {
    let scales = [0.6f32, 0.7, 0.1, 1.0 / 3.0, 2.0 / 3.0, 0.5, 1.5, 2.0, 2.5, 3.3, 8.0 / 3.0, 7.0];
    for coordinates in COORDINATES {
        for (input, scale) in (1..=64).flat_map(|n| scales.map(|s| (n, s))) {
            // All of them are multiples of 2^-30.
            let unit = (1i64 << 30) as f64;
            let exact = ratio((f64::from(scale) * unit) as i128, 1 << 30);
            check(coordinates, input, Err(scale), exact);
        }
    }
}

/// The aspect ratio of an image is kept exactly: 3 of 7 is 6 of 14.
#[test]
fn a_common_scale_is_exact_too() {
    for (policy, small) in [(AspectRatioPolicy::NotLarger, 0), (AspectRatioPolicy::NotSmaller, 1)] {
        for (rows, columns) in (1..=24).flat_map(|n| (1..=24).map(move |m| (n, m))) {
            let (wanted, shape) = ([9, 14], [rows, columns]);
            let ratios = [0, 1].map(|i| ratio(wanted[i] as i128, shape[i] as i128));
            let first_is_less = ratios[0].0 * ratios[1].1 < ratios[1].0 * ratios[0].1;
            let scale = ratios[usize::from(first_is_less == (small == 1))];
            let size = |n: usize| (scale * whole(n)).round(true) as usize;
            let op = Op::Resize(Resize {
                mode: ResizeMode::Nearest(NearestRounding::Floor),
                coordinates: CoordinateTransform::Asymmetric,
                axes: vec![],
                antialias: false,
                exclude_outside: false,
                extrapolation_value: 0.0,
                keep_aspect_ratio: policy,
            });
            let data = (0..rows * columns).map(|x| x as f32).collect();
            let x = Tensor::new(&[rows, columns], data).unwrap();
            let sizes = Tensor::vector(wanted.map(|size| size as i64).to_vec());
            let inputs = [Some(&x), None, None, Some(&sizes)];
            let found = evaluate(&op, &inputs, 1).unwrap().remove(0);
            assert_eq!(found.shape(), [size(rows), size(columns)]);
            let place = |at: usize, n: usize| ((whole(at) / scale).floor() as usize).min(n - 1);
            let expected = (0..size(rows)).flat_map(|r| {
                (0..size(columns))
                    .map(move |c| (place(r, rows) * columns + place(c, columns)) as f32)
            });
            assert_eq!(found.as_f32().unwrap(), expected.collect::<Vec<_>>());
        }
    }
}
