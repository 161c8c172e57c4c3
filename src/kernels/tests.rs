//! Tests of every kernel against its definition in f64: at sizes that are not multiples of the vector
//! width, on every instruction set of the machine, with buffers between guard margins.

mod coefficients;
mod dynamic_conv;
mod few_outputs;
mod grouped;
mod interpolate;
mod lines;
mod local_response;
mod normalisation;
mod sample;
mod sound;
mod tiles;

use super::activation::Activation;
use super::attention::spatial_attention;
use super::conv::{ConvWeights, Image, conv};
use super::depthwise::{DepthwiseWeights, depthwise};
use super::epilogue::{Epilogue, Join};
use super::guarded::Guarded;
use super::hyperfunction::{Coefficients, Squash, coefficients, storage};
use super::pool::{Pooling, pool, scaled_sum, sum_of_squares};
use super::scalar_product::{SingleOutput, scalar_products_of};
use super::transform::{transform, transform_in_place};
use super::*;
use crate::graph::{Op, Unary};
use crate::simd::{Isa, LANES, padded};
use crate::tensor::{Aligned, DType, Layout, Tensor};

fn wave(len: usize, frequency: f32) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * frequency).sin()).collect()
}

/// Pads rows of `width` elements to a multiple of eight. The padding is a value that results must not
/// depend on.
fn padded_rows(rows: &[f32], width: usize) -> Guarded {
    let padding = vec![777.0; padded(width) - width];
    let rows = rows.chunks_exact(width).flat_map(|row| row.iter().chain(&padding));
    Guarded::from_numbers(&rows.copied().collect::<Vec<_>>())
}

fn assert_close(got: f32, want: f64, case: &str) {
    let close = (f64::from(got) - want).abs() <= 2e-5 * want.abs().max(1.0);
    assert!(close, "expected {want}, found {got}: {case}");
}

/// The maps and coefficients that epilogues read, for a map of `rows` rows and `channels` channels.
struct Extras {
    before: Guarded,
    after: Guarded,
    attention: Guarded,
    coefficients: Guarded,
    shared: Guarded,
}

const MOST_PIECES: usize = 5;

impl Extras {
    fn new(rows: usize, channels: usize) -> Self {
        let map = |frequency| padded_rows(&wave(rows * channels, frequency), channels);
        Extras {
            before: map(0.23),
            after: map(0.29),
            attention: padded_rows(&wave(rows, 0.41), rows),
            coefficients: padded_rows(&wave(2 * MOST_PIECES * channels, 0.53), channels),
            shared: padded_rows(&wave(2 * MOST_PIECES, 0.67), 1),
        }
    }

    /// Returns epilogues that together use every activation, map and join.
    fn epilogues(&self) -> Vec<Epilogue<'_>> {
        let row = self.coefficients.len() / (2 * MOST_PIECES);
        let per_channel = |k: usize| Epilogue {
            activation: Activation::MaxAffine { k },
            coefficients: &self.coefficients[..2 * k * row],
            ..Epilogue::NONE
        };
        let of = |activation, rows: usize| Epilogue {
            activation,
            coefficients: &self.coefficients[..rows * row],
            ..Epilogue::NONE
        };
        let shared = |k: usize| Epilogue {
            activation: Activation::MaxAffine { k },
            coefficients: &self.shared[..2 * k * LANES],
            shared: true,
            ..Epilogue::NONE
        };
        let plain = |activation| Epilogue { activation, ..Epilogue::NONE };
        vec![
            Epilogue::NONE,
            plain(Activation::Clamp { low: 0.0, high: 0.5 }),
            plain(Activation::LeakyRelu { alpha: 0.1 }),
            plain(Activation::HardSigmoid { alpha: 0.2, beta: 0.5 }),
            plain(Activation::Sigmoid),
            plain(Activation::Swish { alpha: 1.5 }),
            plain(Activation::Tanh),
            plain(Activation::Gelu),
            Epilogue { clamp: Some([-0.1, 0.4]), ..plain(Activation::GeluTanh) },
            Epilogue { after: Some(&self.after), join: Join::Product, ..plain(Activation::Mish) },
            Epilogue {
                after: Some(&self.after),
                join: Join::Minimum,
                ..plain(Activation::Exponential { scale: 1.5, width: 0.5, slope: 1.25 })
            },
            Epilogue {
                attention: Some(&self.attention),
                clamp: Some([-0.5, 0.25]),
                after: Some(&self.after),
                join: Join::Difference,
                ..Epilogue::NONE
            },
            Epilogue { after: Some(&self.after), join: Join::ReverseDifference, ..Epilogue::NONE },
            Epilogue { clamp: Some([-0.25, 0.75]), ..per_channel(2) },
            Epilogue { before: Some(&self.before), ..plain(Activation::HardSwish) },
            Epilogue { after: Some(&self.after), ..per_channel(1) },
            Epilogue { attention: Some(&self.attention), ..per_channel(2) },
            per_channel(MOST_PIECES),
            shared(1),
            Epilogue { after: Some(&self.after), join: Join::Maximum, ..shared(2) },
            shared(3),
            of(Activation::MinAffine { k: 2 }, 4),
            Epilogue {
                after: Some(&self.after),
                join: Join::Product,
                ..of(Activation::MinAffine { k: 3 }, 6)
            },
            Epilogue { before: Some(&self.before), ..of(Activation::ChannelClip, 2) },
            of(Activation::TwoSlopes, 2),
            Epilogue { attention: Some(&self.attention), ..of(Activation::Acon, 3) },
            Epilogue {
                activation: Activation::Acon,
                coefficients: &self.shared[..3 * LANES],
                shared: true,
                ..Epilogue::NONE
            },
        ]
    }
}

/// Returns the result of an epilogue for one element, by its definition.
fn finished(epilogue: &Epilogue, x: f64, row: usize, channel: usize, width: usize) -> f64 {
    let at = row * width + channel;
    let map = |map: Option<&[f32]>| map.map(|map| f64::from(map[at]));
    let x = x + map(epilogue.before).unwrap_or(0.0);
    let gate = |x: f64| 1.0 / (1.0 + (-x).exp());
    let coefficient = |j: usize| {
        let at = if epilogue.shared { j * LANES } else { j * width + channel };
        f64::from(epilogue.coefficients[at])
    };
    let y = match epilogue.activation {
        Activation::Identity => x,
        Activation::Clamp { low, high } => x.clamp(low.into(), high.into()),
        Activation::LeakyRelu { alpha } => x.max(0.0) + f64::from(alpha) * x.min(0.0),
        Activation::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        Activation::HardSigmoid { alpha, beta } => {
            (f64::from(alpha) * x + f64::from(beta)).clamp(0.0, 1.0)
        }
        Activation::Sigmoid => gate(x),
        Activation::Swish { alpha } => x * gate(f64::from(alpha) * x),
        Activation::Tanh => x.tanh(),
        Activation::Gelu => unary(Unary::Gelu { tanh: false }, x),
        Activation::GeluTanh => unary(Unary::Gelu { tanh: true }, x),
        Activation::Mish => unary(Unary::Mish, x),
        Activation::Exponential { scale, width, .. } if x < 0.0 => {
            f64::from(scale) * (x / f64::from(width)).exp_m1()
        }
        Activation::Exponential { slope, .. } => f64::from(slope) * x,
        Activation::MaxAffine { k } => (0..k)
            .map(|j| coefficient(j) * x + coefficient(k + j))
            .fold(f64::NEG_INFINITY, f64::max),
        Activation::MinAffine { k } => {
            (0..k).map(|j| coefficient(j) * x + coefficient(k + j)).fold(f64::INFINITY, f64::min)
        }
        Activation::ChannelClip => x.max(coefficient(0)).min(coefficient(1)),
        Activation::TwoSlopes => coefficient(0) * x.max(0.0) + coefficient(1) * x.min(0.0),
        Activation::Acon => coefficient(0) * x * gate(coefficient(2) * x) + coefficient(1) * x,
    };
    let y = y * epilogue.attention.map_or(1.0, |pi| f64::from(pi[row]));
    let y = match epilogue.clamp {
        Some([low, high]) => y.clamp(low.into(), high.into()),
        None => y,
    };
    match (map(epilogue.after), epilogue.join) {
        (None, _) => y,
        (Some(other), Join::Sum) => y + other,
        (Some(other), Join::Maximum) => y.max(other),
        (Some(other), Join::Minimum) => y.min(other),
        (Some(other), Join::Product) => y * other,
        (Some(other), Join::Difference) => y - other,
        (Some(other), Join::ReverseDifference) => other - y,
        (Some(other), Join::Quotient) => y / other,
    }
}

/// Returns the result of the reference executor for one element.
fn unary(op: Unary, x: f64) -> f64 {
    let x = Tensor::scalar(x);
    let y = crate::reference::evaluate(&Op::Unary(op), &[Some(&x)], 1).unwrap();
    y[0].as_slice::<f64>().unwrap()[0]
}

/// Asserts that a map and its partial sums, one row per block of rows, match the definition `want`.
fn check(
    got: (&[f32], &[f32]),
    (rows, channels, row_blocks): (usize, usize, usize),
    want: impl Fn(usize, usize) -> f64,
    case: &str,
) {
    let width = padded(channels);
    for block in 0..row_blocks {
        let block_rows = block * rows / row_blocks..(block + 1) * rows / row_blocks;
        for channel in 0..channels {
            let mut sum = 0.0;
            for row in block_rows.clone() {
                let want = want(row, channel);
                assert_close(got.0[row * width + channel], want, case);
                sum += want;
            }
            let close =
                (f64::from(got.1[block * width + channel]) - sum).abs() <= 1e-4 * rows as f64;
            assert!(close, "a partial sum of {case}");
        }
    }
}

/// Returns the taps of the window that lie inside the input at output position `row`, each with the
/// input pixel that it reads.
fn taps_inside(w: &Window, row: usize) -> impl Iterator<Item = (usize, usize)> {
    let (line, column) = (row / w.output[1], row % w.output[1]);
    let taps = (0..w.kernel[0]).flat_map(|y| (0..w.kernel[1]).map(move |x| [y, x]));
    taps.enumerate().filter_map(move |(tap, [y, x])| {
        let pixel = w.source(0, line, y)? * w.input[1] + w.source(1, column, x)?;
        Some((tap, pixel))
    })
}

/// Returns windows with various kernels, strides, dilations and padding, and with more and fewer output
/// positions than a vector has lanes.
fn windows() -> Vec<Window> {
    let window = |kernel, stride, dilation, before, input, output| Window {
        kernel,
        stride: [stride; 2],
        dilation: [dilation; 2],
        before,
        input,
        output,
    };
    vec![
        window([1, 1], 1, 1, [0, 0], [1, 1], [1, 1]),
        window([1, 1], 1, 1, [0, 0], [5, 7], [5, 7]),
        window([3, 3], 1, 1, [1, 1], [4, 13], [4, 13]),
        window([3, 3], 2, 1, [0, 1], [7, 9], [4, 5]),
        window([5, 5], 1, 1, [2, 2], [3, 6], [3, 6]),
        window([5, 3], 2, 2, [3, 2], [6, 11], [3, 6]),
        window([2, 7], 3, 1, [-1, 4], [8, 10], [3, 5]),
        window([5, 1], 1, 1, [2, 0], [6, 9], [6, 9]),
    ]
}

/// The window of a pointwise convolution of one line of pixels.
fn pointwise(pixels: usize) -> Window {
    Window {
        kernel: [1, 1],
        stride: [1, 1],
        dilation: [1, 1],
        before: [0, 0],
        input: [1, pixels],
        output: [1, pixels],
    }
}

fn dense_convolutions(isa: Isa) {
    for (i, w) in windows().iter().enumerate() {
        for (channels, outputs) in [(3, 5), (16, 1), (17, 8), (21, 16), (16, 24), (33, 41)] {
            let (rows, taps, width) =
                (w.output[0] * w.output[1], w.kernel[0] * w.kernel[1], padded(outputs));
            let pixels = w.input[0] * w.input[1];
            let x = wave(pixels * channels, 0.37);
            let nhwc = padded_rows(&x, channels);
            let nchw: Vec<f32> =
                (0..x.len()).map(|i| x[i % pixels * channels + i / pixels]).collect();
            let nchw = Guarded::from_numbers(&nchw);
            let (weight, bias) = (wave(outputs * channels * taps, 0.61), wave(outputs, 1.7));
            let packed = ConvWeights::new(&weight, Some(&bias), outputs, channels);
            let product = |row: usize, o: usize, x: &dyn Fn(usize, usize) -> f64| -> f64 {
                let at = |tap, c| f64::from(weight[(o * channels + c) * taps + tap]);
                let of_tap =
                    |(tap, pixel)| -> f64 { (0..channels).map(|c| at(tap, c) * x(pixel, c)).sum() };
                f64::from(bias[o]) + taps_inside(w, row).map(of_tap).sum::<f64>()
            };
            let element = |pixel: usize, c: usize| f64::from(x[pixel * channels + c]);
            let (extras, inside) = (Extras::new(rows, outputs), Extras::new(pixels, channels));
            for (e, epilogue) in extras.epilogues().iter().enumerate() {
                let prologue = (w.is_pointwise() && e % 2 == 0).then(|| inside.epilogues()[e]);
                let prologue = prologue.filter(|_| !packed.gathers());
                let layouts: &[Layout] = match packed.gathers() {
                    true => &[Layout::Nhwc, Layout::Nchw],
                    false => &[Layout::Nhwc],
                };
                let x = |pixel: usize, c: usize| match &prologue {
                    Some(prologue) => {
                        finished(prologue, element(pixel, c), pixel, c, padded(channels))
                    }
                    None => element(pixel, c),
                };
                let (row_blocks, column_blocks) =
                    (rows.min(1 + e % 3), (width / COLUMN_UNIT).clamp(1, 1 + e % 2));
                let cut = Cut { images: 1, rows, width, row_blocks, column_blocks, row_unit: 1 };
                for &layout in layouts {
                    let case = format!(
                        "window {i}, {channels} to {outputs}, epilogue {e}, {layout:?}, {}",
                        isa.name()
                    );
                    let mut y = Guarded::unwritten(rows * width);
                    let mut sums = Guarded::unwritten(row_blocks * width);
                    let mut work =
                        Guarded::unwritten(packed.workspace(cut.most_rows(), prologue.is_some()));
                    let data = if layout == Layout::Nhwc { &nhwc } else { &nchw };
                    let image = Image { data, layout };
                    let blocks = Blocks::new(&mut y, cut).with_sums(&mut sums, width);
                    while let Some(mut block) = blocks.next() {
                        let block = &mut block;
                        conv(isa, image, &packed, w, prologue.as_ref(), epilogue, block, &mut work);
                    }
                    let want = |row, o| finished(epilogue, product(row, o, &x), row, o, width);
                    let got = (y.written(&case), sums.written(&case));
                    check(got, (rows, outputs, row_blocks), want, &case);
                }
            }
        }
    }
}

/// [`dense_convolutions`] on each instruction set.
mod dense_convolutions {
    crate::simd::testing::isa_tests!(super::dense_convolutions);
}

fn depthwise_convolutions(isa: Isa) {
    let mut windows = windows();
    // Some columns of the output lie outside of the input.
    let [kernel, input, output] = [[3, 1], [5, 6], [5, 11]];
    windows.push(Window { kernel, before: [1, 2], input, output, ..windows[1] });
    for (i, w) in windows.iter().enumerate() {
        for channels in [1, 8, 19, 24, 40] {
            let (rows, taps, width) =
                (w.output[0] * w.output[1], w.kernel[0] * w.kernel[1], padded(channels));
            let pixels = w.input[0] * w.input[1];
            let x = wave(pixels * channels, 0.37);
            let (weight, bias) = (wave(channels * taps, 0.61), wave(channels, 1.7));
            let packed = DepthwiseWeights::new(&weight, Some(&bias), channels);
            let product = |row: usize, c: usize| -> f64 {
                let of_tap = |(tap, pixel): (usize, usize)| {
                    f64::from(weight[c * taps + tap]) * f64::from(x[pixel * channels + c])
                };
                f64::from(bias[c]) + taps_inside(w, row).map(of_tap).sum::<f64>()
            };
            let x = padded_rows(&x, channels);
            let extras = Extras::new(rows, channels);
            for (e, epilogue) in extras.epilogues().iter().enumerate() {
                let row_blocks = w.output[0].min(1 + e % 3);
                let line = w.output[1] * width;
                let cut = Cut {
                    images: 1,
                    rows: w.output[0],
                    width: line,
                    row_blocks,
                    column_blocks: 1,
                    row_unit: 1,
                };
                let case = format!("window {i}, {channels} channels, epilogue {e}, {}", isa.name());
                let mut y = Guarded::unwritten(rows * width);
                let mut sums = Guarded::unwritten(row_blocks * width);
                let blocks = Blocks::new(&mut y, cut).with_sums(&mut sums, width);
                while let Some(mut block) = blocks.next() {
                    depthwise(isa, &x, &packed, w, epilogue, &mut block);
                }
                let want = |row, c| finished(epilogue, product(row, c), row, c, width);
                y.written(&case);
                sums.written(&case);
                for block in 0..row_blocks {
                    let lines = |i: usize| i * w.output[0] / row_blocks * w.output[1];
                    let (first, end) = (lines(block), lines(block + 1));
                    let got = (&y[first * width..end * width], &sums[block * width..]);
                    let want = |row, c| want(first + row, c);
                    check(got, (end - first, channels, 1), want, &case);
                }
            }
        }
    }
}

/// [`depthwise_convolutions`] on each instruction set.
mod depthwise_convolutions {
    crate::simd::testing::isa_tests!(super::depthwise_convolutions);
}

fn transformations(isa: Isa) {
    for (rows, channels) in [(1, 1), (3, 8), (8, 17), (19, 24), (33, 40)] {
        let x = wave(rows * channels, 0.37);
        let (map, width) = (padded_rows(&x, channels), padded(channels));
        let extras = Extras::new(rows, channels);
        for (e, epilogue) in extras.epilogues().iter().enumerate() {
            let case = format!("{rows} rows, {channels} channels, epilogue {e}, {}", isa.name());
            let want = |row: usize, c: usize| {
                finished(epilogue, x[row * channels + c].into(), row, c, width)
            };
            let row_blocks = rows.min(2);
            let cut = Cut { images: 1, rows, width, row_blocks, column_blocks: 1, row_unit: 1 };
            for in_place in [false, true] {
                let mut y = if in_place {
                    Guarded::from_numbers(&map)
                } else {
                    Guarded::unwritten(rows * width)
                };
                let mut sums = Guarded::unwritten(row_blocks * width);
                let blocks = Blocks::new(&mut y, cut).with_sums(&mut sums, width);
                while let Some(mut block) = blocks.next() {
                    if in_place {
                        transform_in_place(isa, epilogue, &mut block);
                    } else {
                        transform(isa, &map, epilogue, &mut block);
                    }
                }
                let got = (y.written(&case), sums.written(&case));
                check(got, (rows, channels, row_blocks), want, &case);
            }
        }
    }
}

/// [`transformations`] on each instruction set.
mod transformations {
    crate::simd::testing::isa_tests!(super::transformations);
}

fn poolings(isa: Isa) {
    for (i, w) in windows().iter().enumerate() {
        for channels in [1, 8, 19] {
            let (pixels, width) = (w.input[0] * w.input[1], padded(channels));
            let x = wave(pixels * channels, 0.37);
            let map = padded_rows(&x, channels);
            for kind in [Pooling::Max, Pooling::Average, Pooling::AverageWithBorder] {
                let case = format!("window {i}, {channels} channels, {kind:?}, {}", isa.name());
                let rows = w.output[0] * w.output[1];
                let mut y = Guarded::unwritten(rows * width);
                let block = &mut Block::whole(&mut y, w.output[1] * width);
                pool(isa, &map, width, kind, w, block);
                for (row, y) in y.written(&case).chunks_exact(width).enumerate() {
                    for (c, &y) in y[..channels].iter().enumerate() {
                        let element = |(_, pixel)| f64::from(x[pixel * channels + c]);
                        let elements: Vec<f64> = taps_inside(w, row).map(element).collect();
                        let sum: f64 = elements.iter().sum();
                        let want = match kind {
                            Pooling::Max => {
                                elements.iter().copied().fold(f64::NEG_INFINITY, f64::max)
                            }
                            Pooling::Average => sum / elements.len() as f64,
                            Pooling::AverageWithBorder => sum / (w.kernel[0] * w.kernel[1]) as f64,
                        };
                        assert_close(y, want, &case);
                    }
                }
            }
        }
    }
}

/// [`poolings`] on each instruction set.
mod poolings {
    crate::simd::testing::isa_tests!(super::poolings);
}

fn means(isa: Isa) {
    for (rows, width) in [(1, 8), (7, 24), (300, 16)] {
        let x = Guarded::from_numbers(&wave(rows * width, 0.37));
        let mut y = Guarded::unwritten(width);
        scaled_sum(isa, &x, 0.25, &mut y);
        for (c, &y) in y.written(isa.name()).iter().enumerate() {
            let sum: f64 = x[c..].iter().step_by(width).map(|&x| f64::from(x)).sum();
            assert_close(y, 0.25 * sum, isa.name());
        }
        let mut y = Guarded::unwritten(width);
        sum_of_squares(isa, &x, &mut y);
        for (c, &y) in y.written(isa.name()).iter().enumerate() {
            let sum: f64 = x[c..].iter().step_by(width).map(|&x| f64::from(x).powi(2)).sum();
            assert_close(y, sum, isa.name());
        }
    }
}

/// [`means`] on each instruction set.
mod means {
    crate::simd::testing::isa_tests!(super::means);
}

/// Rounds `weights [outputs][hidden]` to 16-bit integers that have a factor per hidden unit.
fn rounded_to_integers(weights: &[f32], hidden: usize) -> Vec<f32> {
    let largest = |unit: usize| {
        weights[unit..].iter().step_by(hidden).fold(0.0f32, |largest, w| largest.max(w.abs()))
    };
    let round = |(i, &w): (usize, &f32)| {
        let factor = largest(i % hidden) / 32767.0;
        (w * (1.0 / factor)).round_ties_even() * factor
    };
    weights.iter().enumerate().map(round).collect()
}

/// Rounds `weights [outputs][hidden]` to integers of eight bits that have a factor per output.
fn rounded_to_eight_bits(weights: &[f32], hidden: usize) -> Vec<f32> {
    let round = |weights: &[f32]| {
        let largest = weights.iter().fold(0.0f32, |largest, w| largest.max(w.abs()));
        let factor = largest.max(f32::MIN_POSITIVE) / 127.0;
        weights.iter().map(|w| (w / factor).round_ties_even() * factor).collect::<Vec<f32>>()
    };
    weights.chunks_exact(hidden).flat_map(round).collect()
}

/// A single weight between two integers of eight bits keeps all weights from being stored as such.
#[test]
fn integers_of_eight_bits_are_exact() {
    let (outputs, hidden) = (12, 31);
    let integers = rounded_to_eight_bits(&wave(outputs * hidden, 0.61), hidden);
    let stored = |weights: &[f32]| storage(bytemuck::cast_slice(weights), hidden, false);
    assert_eq!(stored(&integers), DType::I8);
    for i in [1, 17, outputs * hidden - 1] {
        let mut changed = integers.clone();
        changed[i] *= 1.0 + 1e-5;
        assert_eq!(stored(&changed), DType::F32, "weight {i}");
    }
}

/// Weights that rounding would change too much keep single precision.
#[test]
fn weights_of_hyperfunctions_are_rounded_where_that_is_precise() {
    let smooth = wave(400, 0.61);
    let with = |outlier: f32| {
        let mut weights = smooth.clone();
        weights[7] = outlier;
        weights
    };
    for (outlier, expected) in [
        (1.5, DType::I16),
        (-5.0, DType::I16),
        (100.0, DType::F32),
        (f32::NAN, DType::F32),
        (f32::INFINITY, DType::F32),
        (f32::MAX, DType::F32),
    ] {
        let dtype = storage(bytemuck::cast_slice(&with(outlier)), 4, true);
        assert_eq!(dtype, expected, "with {outlier}");
    }
}

fn hyperfunctions(isa: Isa) {
    for (images, channels, hidden, k) in
        [(1, 1, 2, 1), (2, 19, 5, 2), (3, 24, 21, 3), (7, 19, 21, 2)]
    {
        let rows = 2 * k;
        let outputs = rows * channels;
        // Half of the units are zero, as after a ReLU.
        let units: Vec<f32> = wave(images * hidden, 0.7).iter().map(|x| x.max(0.0)).collect();
        let bias = wave(outputs, 1.7);
        let (init, lambda) = (wave(rows, 0.3), wave(rows, 0.9));
        let weight = wave(outputs * hidden, 0.61);
        let halves: Vec<f32> = weight.iter().map(|&w| half::f16::from_f32(w).to_f32()).collect();
        let integers = rounded_to_integers(&weight, hidden);
        let eight_bits = rounded_to_eight_bits(&weight, hidden);
        let layers = [
            (&weight, &weight, false, DType::F32),
            (&halves, &halves, true, DType::F16),
            (&weight, &integers, true, DType::I16),
            (&eight_bits, &eight_bits, false, DType::I8),
        ];
        for (given, weight, may_round, dtype) in layers {
            assert_eq!(storage(bytemuck::cast_slice(given), hidden, may_round), dtype);
            for squash in [Squash::Tanh, Squash::Clamp, Squash::None] {
                let given_bias = Some(bias.as_slice());
                let layer =
                    Coefficients::new(given, given_bias, &init, &lambda, squash, hidden, may_round);
                let x = padded_rows(&units, hidden);
                let case =
                    format!("{channels} channels, {hidden} units, {squash:?}, {}", isa.name());
                let width = layer.outputs();
                let mut y = Guarded::unwritten(images * width);
                let mut work = Guarded::unwritten(layer.workspace());
                let cut = Cut {
                    images: 1,
                    rows: images,
                    width,
                    row_blocks: 1,
                    column_blocks: (width / COLUMN_UNIT).clamp(1, 2),
                    row_unit: 1,
                };
                let blocks = Blocks::new(&mut y, cut);
                while let Some(mut block) = blocks.next() {
                    coefficients(isa, &layer, &x, &mut block, &mut work);
                }
                let y = y.written(&case);
                for (image, j, c) in (0..images * outputs)
                    .map(|i| (i / outputs, i % outputs / channels, i % channels))
                {
                    let o = j * channels + c;
                    let unit = |h: usize| {
                        f64::from(units[image * hidden + h]) * f64::from(weight[o * hidden + h])
                    };
                    let z = f64::from(bias[o]) + (0..hidden).map(unit).sum::<f64>();
                    let squashed = match squash {
                        Squash::Tanh => (z / 2.0).tanh(),
                        Squash::Clamp => (z / 3.0).clamp(-1.0, 1.0),
                        Squash::None => z,
                    };
                    let want = f64::from(init[j]) + f64::from(lambda[j]) * squashed;
                    assert_close(y[image * width + j * padded(channels) + c], want, &case);
                }
            }
        }
    }
}

/// [`hyperfunctions`] on each instruction set.
mod hyperfunctions {
    crate::simd::testing::isa_tests!(super::hyperfunctions);
}

fn attentions(isa: Isa) {
    for positions in [1, 7, 8, 49, 1000] {
        let z: Vec<f32> = wave(positions, 0.7).iter().map(|z| 20.0 * z).collect();
        let (tau, gamma) = (10.0, positions as f32 / 3.0);
        let sum: f64 = z.iter().map(|&z| (f64::from(z) / f64::from(tau)).exp()).sum();
        let case = format!("{positions} positions, {}", isa.name());
        let mut pi = Guarded::unwritten(padded(positions));
        pi[..positions].copy_from_slice(&z);
        spatial_attention(isa, &mut pi, positions, tau, gamma);
        let pi = pi.written(&case);
        assert!(pi[positions..].iter().all(|&pi| pi == 0.0), "{case}");
        for (&pi, &z) in pi.iter().zip(&z) {
            let share = (f64::from(z) / f64::from(tau)).exp() / sum;
            assert_close(pi, (f64::from(gamma) * share).min(1.0), &case);
        }
    }
}

/// [`attentions`] on each instruction set.
mod attentions {
    crate::simd::testing::isa_tests!(super::attentions);
}

/// Sums over an image are vectors of eight lanes also where the processor has sixteen.
#[test]
fn attention_has_the_same_bits_with_sixteen_lanes() {
    let wide = |isa: &Isa| ["avx2", "avx512"].contains(&isa.name());
    let results = Isa::available().into_iter().filter(wide).map(|isa| {
        let (pixels, depth) = (1000, 40);
        let (mut map, mut plane) = (wave(pixels * depth, 0.7), vec![0.0; pixels]);
        let weight = Aligned::from(wave(depth, 0.3).as_slice()).into();
        let (images, width, row_blocks, column_blocks, row_unit) = (1, depth, 1, 1, 1);
        let cut = Cut { images, rows: pixels, width, row_blocks, column_blocks, row_unit };
        let blocks = Blocks::new(&mut map, cut).with_products(&mut plane, depth);
        let layer = SingleOutput { weight, bias: 0.25 };
        scalar_products_of(isa, &layer, &mut blocks.next().unwrap());
        spatial_attention(isa, &mut plane, pixels, 2.0, 300.0);
        plane.iter().map(|pi| pi.to_bits()).collect::<Vec<u32>>()
    });
    let results: Vec<_> = results.collect();
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn inside_is_where_the_source_exists() {
    for (stride, dilation, before, input, output) in
        [(1, 1, 1, 5, 5), (2, 1, 0, 6, 3), (2, 2, 3, 7, 5), (1, 1, -1, 6, 3), (3, 1, 4, 2, 3)]
    {
        let w = Window {
            kernel: [3, 3],
            stride: [stride; 2],
            dilation: [dilation; 2],
            before: [before; 2],
            input: [input; 2],
            output: [output; 2],
        };
        for tap in 0..3 {
            let want: Vec<usize> =
                (0..output).filter(|&at| w.source(1, at, tap).is_some()).collect();
            assert_eq!(w.inside(1, tap).collect::<Vec<_>>(), want, "{w:?} tap {tap}");
        }
    }
}

fn a_map_changes_its_layout(isa: Isa) {
    for channels in [1, 3, 8, 13, 16, 24] {
        for count in [1, 7, 8, 49, 64, 77, 130] {
            let case = format!("{channels} channels, {count} pixels, {}", isa.name());
            let planes = wave(channels * count, 0.37);
            let mut pixels = Guarded::unwritten(count * padded(channels));
            layout::planes_to_pixels(isa, &Guarded::from_numbers(&planes), channels, &mut pixels);
            for (p, pixel) in pixels.written(&case).chunks(padded(channels)).enumerate() {
                for (c, &x) in pixel.iter().enumerate() {
                    let want = if c < channels { planes[c * count + p] } else { 0.0 };
                    assert_eq!(x, want, "channel {c} of pixel {p}: {case}");
                }
            }
            let mut back = Guarded::unwritten(planes.len());
            layout::pixels_to_planes(isa, &pixels, channels, &mut back);
            assert_eq!(back.written(&case), planes, "{case}");
        }
    }
}

/// [`a_map_changes_its_layout`] on each instruction set.
mod a_map_changes_its_layout {
    crate::simd::testing::isa_tests!(super::a_map_changes_its_layout);
}
