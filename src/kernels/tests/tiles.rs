//! Register tiles of every size: the bits of a row do not depend on the tile that computes it.

use super::super::activation::Activation;
use super::super::epilogue::Epilogue;
use super::super::product::STREAMED_WEIGHTS;
use super::*;

/// Returns epilogues that are applied in registers, and one that is a pass over memory.
fn epilogues(extras: &Extras) -> Vec<Epilogue<'_>> {
    let row = extras.coefficients.len() / (2 * MOST_PIECES);
    let two_pieces = Epilogue {
        activation: Activation::MaxAffine { k: 2 },
        coefficients: &extras.coefficients[..4 * row],
        ..Epilogue::NONE
    };
    let relu = Activation::Clamp { low: 0.0, high: f32::INFINITY };
    vec![
        Epilogue { before: Some(&extras.before), activation: relu, ..Epilogue::NONE },
        Epilogue { activation: Activation::HardSwish, ..Epilogue::NONE },
        two_pieces,
        Epilogue { before: Some(&extras.before), ..two_pieces },
        Epilogue { after: Some(&extras.after), ..two_pieces },
    ]
}

fn bits(map: &[f32]) -> Vec<u32> {
    map.iter().map(|x| x.to_bits()).collect()
}

fn products_of_every_height_and_width(isa: Isa) {
    let channels = 16;
    for outputs in [8, 16, 24, 40, 48, 56] {
        let (weight, bias) = (wave(outputs * channels, 0.61), wave(outputs, 1.7));
        let packed = ConvWeights::new(&weight, Some(&bias), outputs, channels);
        for rows in 1..=25 {
            let window = pointwise(rows);
            let x = wave(rows * channels, 0.37);
            let extras = Extras::new(rows, outputs);
            for (e, epilogue) in epilogues(&extras).iter().enumerate() {
                let run = |row_blocks: usize| {
                    let cut = Cut {
                        images: 1,
                        rows,
                        width: outputs,
                        row_blocks,
                        column_blocks: 1,
                        row_unit: 1,
                    };
                    let mut y = Guarded::unwritten(rows * outputs);
                    let mut sums = Guarded::unwritten(row_blocks * outputs);
                    let mut work = Guarded::unwritten(packed.workspace(rows, false));
                    let blocks = Blocks::new(&mut y, cut).with_sums(&mut sums, outputs);
                    while let Some(mut block) = blocks.next() {
                        let image = Image { data: &x, layout: Layout::Nhwc };
                        conv(isa, image, &packed, &window, None, epilogue, &mut block, &mut work);
                    }
                    let case = format!("{rows} rows, {outputs} outputs, {}", isa.name());
                    (y.written(&case).to_vec(), sums.written(&case).to_vec())
                };
                let case = format!("{rows}x{outputs}, epilogue {e}, {}", isa.name());
                let (alone, _) = run(rows);
                let (together, sums) = run(1);
                assert_eq!(bits(&together), bits(&alone), "{case}");
                let want = |row: usize, o: usize| {
                    let product =
                        |c| f64::from(weight[o * channels + c]) * f64::from(x[row * channels + c]);
                    let sum = f64::from(bias[o]) + (0..channels).map(product).sum::<f64>();
                    finished(epilogue, sum, row, o, outputs)
                };
                check((&together, &sums), (rows, outputs, 1), want, &case);
            }
        }
    }
}

/// [`products_of_every_height_and_width`] on each instruction set.
mod products_of_every_height_and_width {
    crate::simd::testing::isa_tests!(super::products_of_every_height_and_width);
}

/// Tiles ask for the weights of the next columns, of the next block and beyond the last.
fn products_with_streamed_weights(isa: Isa) {
    let (channels, outputs) = (4096, 56);
    assert!(outputs * channels >= STREAMED_WEIGHTS);
    let (weight, bias) = (wave(outputs * channels, 0.61), wave(outputs, 1.7));
    let packed = ConvWeights::new(&weight, Some(&bias), outputs, channels);
    for rows in [1, 25] {
        let (window, x) = (pointwise(rows), wave(rows * channels, 0.37));
        let run = |row_blocks: usize, column_blocks: usize| {
            let (images, width, row_unit) = (1, outputs, 1);
            let cut = Cut { images, rows, width, row_blocks, column_blocks, row_unit };
            let mut y = Guarded::unwritten(rows * outputs);
            let mut work = Guarded::unwritten(packed.workspace(rows, false));
            let blocks = Blocks::new(&mut y, cut);
            while let Some(mut block) = blocks.next() {
                let image = Image { data: &x, layout: Layout::Nhwc };
                conv(isa, image, &packed, &window, None, &Epilogue::NONE, &mut block, &mut work);
            }
            bits(y.written(&format!("{rows} rows, {}", isa.name())))
        };
        let alone = run(rows, 1);
        for (row, o) in [(0, 0), (rows - 1, 17), (rows / 2, outputs - 1)] {
            let product =
                |c: usize| f64::from(weight[o * channels + c]) * f64::from(x[row * channels + c]);
            let want = f64::from(bias[o]) + (0..channels).map(product).sum::<f64>();
            let got = f64::from(f32::from_bits(alone[row * outputs + o]));
            assert!((got - want).abs() <= 1e-3, "{got}, expected {want}, {}", isa.name());
        }
        for (row_blocks, column_blocks) in [(1, 1), (1, 3), (2.min(rows), 1)] {
            assert_eq!(run(row_blocks, column_blocks), alone, "{rows} rows, {}", isa.name());
        }
    }
}

/// [`products_with_streamed_weights`] on each instruction set.
mod products_with_streamed_weights {
    crate::simd::testing::isa_tests!(super::products_with_streamed_weights);
}

fn depthwise_convolutions_of_every_width(isa: Isa) {
    let channels = 24;
    for (kernel, stride) in [(3, 1), (3, 2), (5, 1), (5, 2)] {
        let (weight, bias) = (wave(channels * kernel * kernel, 0.61), wave(channels, 1.7));
        let packed = DepthwiseWeights::new(&weight, Some(&bias), channels);
        for width in 1..=23 {
            let window = Window {
                kernel: [kernel; 2],
                stride: [stride; 2],
                dilation: [1, 1],
                before: [(kernel / 2) as isize; 2],
                input: [2, (width - 1) * stride + 1],
                output: [2usize.div_ceil(stride), width],
            };
            let pixels = window.input[0] * window.input[1];
            let rows = window.output[0] * window.output[1];
            let x = wave(pixels * channels, 0.37);
            let extras = Extras::new(rows, channels);
            let want = |row: usize, c: usize| {
                let of_tap = |(tap, pixel): (usize, usize)| {
                    f64::from(weight[c * kernel * kernel + tap])
                        * f64::from(x[pixel * channels + c])
                };
                f64::from(bias[c]) + taps_inside(&window, row).map(of_tap).sum::<f64>()
            };
            for (e, epilogue) in epilogues(&extras).iter().enumerate() {
                let case = format!(
                    "{kernel}x{kernel} by {stride}, {width} pixels, epilogue {e}, {}",
                    isa.name()
                );
                let mut y = Guarded::unwritten(rows * channels);
                let mut sums = Guarded::unwritten(channels);
                let line = window.output[1] * channels;
                let cut = Cut {
                    images: 1,
                    rows: window.output[0],
                    width: line,
                    row_blocks: 1,
                    column_blocks: 1,
                    row_unit: 1,
                };
                let blocks = Blocks::new(&mut y, cut).with_sums(&mut sums, channels);
                while let Some(mut block) = blocks.next() {
                    depthwise(isa, &x, &packed, &window, epilogue, &mut block);
                }
                let want = |row, c| finished(epilogue, want(row, c), row, c, channels);
                let got = (y.written(&case), sums.written(&case));
                check(got, (rows, channels, 1), want, &case);
            }
        }
    }
}

/// [`depthwise_convolutions_of_every_width`] on each instruction set.
mod depthwise_convolutions_of_every_width {
    crate::simd::testing::isa_tests!(super::depthwise_convolutions_of_every_width);
}
