//! Convolutions in groups, against their definition.

use super::super::grouped::{GroupedWeights, Groups, grouped};
use super::*;

fn convolutions_in_groups(isa: Isa) {
    for (i, w) in windows().iter().enumerate() {
        let (rows, taps) = (w.output[0] * w.output[1], w.kernel[0] * w.kernel[1]);
        let pixels = w.input[0] * w.input[1];
        for (count, outputs, channels) in [
            (2, 8, 8),
            (4, 4, 3),
            (3, 16, 16),
            (5, 24, 12),
            (3, 8, 8),
            (13, 1, 2),
            (7, 2, 1),
            (13, 4, 4),
            (5, 2, 2),
            (6, 3, 1),
            (9, 5, 2),
            (4, 10, 7),
            (3, 20, 9),
        ] {
            let groups = Groups { count, outputs, channels, taps };
            let (all_outputs, all_channels) = (count * outputs, count * channels);
            let width = padded(all_outputs);
            let x = wave(pixels * all_channels, 0.37);
            let (weight, bias) =
                (wave(all_outputs * channels * taps, 0.61), wave(all_outputs, 1.7));
            let packed = GroupedWeights::new(&weight, Some(&bias), groups);
            let product = |row: usize, o: usize| -> f64 {
                let of_tap = |(tap, pixel): (usize, usize)| -> f64 {
                    let at = |c: usize| {
                        let w = weight[(o * channels + c) * taps + tap];
                        let x = x[pixel * all_channels + o / outputs * channels + c];
                        f64::from(w) * f64::from(x)
                    };
                    (0..channels).map(at).sum()
                };
                f64::from(bias[o]) + taps_inside(w, row).map(of_tap).sum::<f64>()
            };
            let data = padded_rows(&x, all_channels);
            let extras = Extras::new(rows, all_outputs);
            // Every seventh epilogue: dense convolutions, which share the code, are tested with all.
            for (e, epilogue) in extras.epilogues().iter().enumerate().skip(i).step_by(11) {
                let row_blocks = rows.min(1 + e % 3);
                let cut = Cut { images: 1, rows, width, row_blocks, column_blocks: 1, row_unit: 1 };
                let case = format!("window {i}, {groups:?}, epilogue {e}, {}", isa.name());
                let mut y = Guarded::unwritten(rows * width);
                let mut sums = Guarded::unwritten(row_blocks * width);
                let mut work = Guarded::unwritten(packed.workspace(cut.most_rows()));
                let blocks = Blocks::new(&mut y, cut).with_sums(&mut sums, width);
                while let Some(mut block) = blocks.next() {
                    grouped(isa, &data, &packed, w, epilogue, &mut block, &mut work);
                }
                let want = |row, o| finished(epilogue, product(row, o), row, o, width);
                let got = (y.written(&case), sums.written(&case));
                check(got, (rows, all_outputs, row_blocks), want, &case);
            }
        }
    }
}

/// [`convolutions_in_groups`] on each instruction set.
mod convolutions_in_groups {
    crate::simd::testing::isa_tests!(super::convolutions_in_groups);
}
