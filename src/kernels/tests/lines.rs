//! Convolutions of few channels that read NCHW line by line.

use super::*;

fn convolutions_line_by_line(isa: Isa) {
    for (channels, outputs, kernel, stride, before, input, output) in [
        (3, 32, [3, 3], 2, [1, 1], [10, 50], [5, 25]),
        (3, 16, [3, 3], 2, [0, 0], [9, 53], [4, 26]),
        (3, 24, [3, 3], 2, [1, 1], [7, 49], [4, 25]),
        (1, 64, [7, 7], 2, [3, 3], [11, 61], [6, 31]),
        (4, 40, [5, 5], 1, [2, 2], [6, 26], [6, 26]),
        (3, 8, [1, 1], 1, [0, 0], [3, 37], [3, 37]),
        (3, 13, [1, 1], 2, [0, 0], [5, 49], [3, 25]),
        (2, 56, [1, 3], 1, [0, 1], [4, 24], [4, 24]),
        (3, 48, [3, 3], 1, [-1, -1], [9, 31], [5, 27]),
        (3, 16, [3, 3], 3, [1, 1], [7, 76], [3, 26]),
        (3, 16, [3, 3], 1, [9, 30], [3, 4], [10, 32]),
    ] {
        let w = Window { kernel, stride: [stride; 2], dilation: [1, 1], before, input, output };
        let (rows, taps, width) = (output[0] * output[1], kernel[0] * kernel[1], padded(outputs));
        let x = wave(channels * input[0] * input[1], 0.37);
        let nchw = Guarded::from_numbers(&x);
        let (weight, bias) = (wave(outputs * channels * taps, 0.61), wave(outputs, 1.7));
        let packed = ConvWeights::new(&weight, Some(&bias), outputs, channels);
        let extras = Extras::new(rows, outputs);
        for (e, epilogue) in extras.epilogues().iter().enumerate().step_by(4) {
            // Blocks of one line, of several, and of parts of lines.
            for row_blocks in [output[0], 1, 2 * output[0] + 1] {
                let case = format!(
                    "{channels} to {outputs}, kernel {kernel:?}, stride {stride}, epilogue {e}, \
                     {row_blocks} blocks, {}",
                    isa.name()
                );
                let cut = Cut { images: 1, rows, width, row_blocks, column_blocks: 1, row_unit: 1 };
                let mut y = Guarded::unwritten(rows * width);
                let mut sums = Guarded::unwritten(row_blocks * width);
                let mut work = Guarded::unwritten(packed.workspace(cut.most_rows(), false));
                let image = Image { data: &nchw, layout: Layout::Nchw };
                let blocks = Blocks::new(&mut y, cut).with_sums(&mut sums, width);
                while let Some(mut block) = blocks.next() {
                    conv(isa, image, &packed, &w, None, epilogue, &mut block, &mut work);
                }
                let want = |row: usize, o: usize| {
                    let of_tap = |(tap, pixel): (usize, usize)| -> f64 {
                        let of_channel = |c: usize| {
                            let at = c * input[0] * input[1] + pixel;
                            let weight = weight[(o * channels + c) * taps + tap];
                            f64::from(x[at]) * f64::from(weight)
                        };
                        (0..channels).map(of_channel).sum()
                    };
                    let sum = f64::from(bias[o]) + taps_inside(&w, row).map(of_tap).sum::<f64>();
                    finished(epilogue, sum, row, o, width)
                };
                let got = (y.written(&case), sums.written(&case));
                check(got, (rows, outputs, row_blocks), want, &case);
            }
        }
    }
}

/// [`convolutions_line_by_line`] on each instruction set.
mod convolutions_line_by_line {
    crate::simd::testing::isa_tests!(super::convolutions_line_by_line);
}
