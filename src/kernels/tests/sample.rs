//! Sampling, against its definition.

use super::super::sample::{Taps, sample};
use super::*;

/// Returns `count` taps for each of `outputs` positions.
fn taps(input: usize, outputs: usize, count: usize) -> Vec<Vec<(usize, f32)>> {
    let tap = |output: usize, i: usize| {
        let weight = if count == 1 { 1.0 } else { (output as f32 + 0.7 * i as f32).cos() };
        ((output * 3 + i * i) % input, weight)
    };
    let of = |output: usize| (0..count).map(|i| tap(output, i)).collect();
    // The first of several positions lies outside.
    (0..outputs)
        .map(|output| if output == 0 && outputs > 8 { vec![] } else { of(output) })
        .collect()
}

fn sampled_maps(isa: Isa) {
    for (input, output) in [([1, 1], [3, 2]), ([5, 7], [2, 9]), ([4, 3], [8, 6])] {
        for channels in [1, 8, 19, 40] {
            for counts in [[1, 1], [1, 2], [2, 1], [2, 2], [4, 4], [3, 5]] {
                let case = format!(
                    "{input:?} to {output:?}, {channels} channels, {counts:?} taps, {}",
                    isa.name()
                );
                let width = padded(channels);
                let x = wave(input[0] * input[1] * channels, 0.37);
                let data = padded_rows(&x, channels);
                let plain = [0, 1].map(|axis| taps(input[axis], output[axis], counts[axis]));
                let packed = [0, 1].map(|axis| Taps::new(input[axis], plain[axis].iter().cloned()));
                let mut y = Guarded::unwritten(output[0] * output[1] * width);
                let row_blocks = output[0].min(2);
                let cut = Cut {
                    images: 1,
                    rows: output[0],
                    width: output[1] * width,
                    row_blocks,
                    column_blocks: 1,
                    row_unit: 1,
                };
                let blocks = Blocks::new(&mut y, cut);
                while let Some(mut block) = blocks.next() {
                    sample(isa, &data, [&packed[0], &packed[1]], width, 0.25, &mut block);
                }
                for (at, pixel) in y.written(&case).chunks_exact(width).enumerate() {
                    for (c, &y) in pixel[..channels].iter().enumerate() {
                        let of = |&(line, a): &(usize, f32)| -> f64 {
                            let of = |&(column, b): &(usize, f32)| {
                                let x = x[(line * input[1] + column) * channels + c];
                                f64::from(a) * f64::from(b) * f64::from(x)
                            };
                            plain[1][at % output[1]].iter().map(of).sum()
                        };
                        let (down, across) = (&plain[0][at / output[1]], &plain[1][at % output[1]]);
                        let is_outside = down.is_empty() || across.is_empty();
                        let sum = down.iter().map(of).sum();
                        assert_close(y, if is_outside { 0.25 } else { sum }, &case);
                    }
                }
            }
        }
    }
}

/// [`sampled_maps`] on each instruction set.
mod sampled_maps {
    crate::simd::testing::isa_tests!(super::sampled_maps);
}
