//! Normalisation over neighbouring channels, against its definition.

use super::super::local_response::{LocalResponse, local_response};
use super::*;

fn normalised_maps(isa: Isa) {
    for channels in [1, 3, 8, 19, 40] {
        for reach in [[0, 0], [2, 2], [1, 2], [7, 50]] {
            for beta in [0.75, 1.0, 0.4] {
                let op = LocalResponse { reach, factor: 0.3, bias: 1.5, beta };
                let case = format!("{channels} channels, {op:?}, {}", isa.name());
                let (pixels, width) = (5, padded(channels));
                let x = wave(pixels * channels, 0.37);
                let (data, mut y) = (padded_rows(&x, channels), Guarded::unwritten(pixels * width));
                let cut = Cut {
                    images: 1,
                    rows: pixels,
                    width,
                    row_blocks: 2,
                    column_blocks: 1,
                    row_unit: 1,
                };
                let mut workspace = vec![f32::NAN; op.workspace(channels)];
                let blocks = Blocks::new(&mut y, cut);
                while let Some(mut block) = blocks.next() {
                    local_response(isa, &data, channels, op, &mut block, &mut workspace);
                }
                for (pixel, y) in y.chunks_exact(width).enumerate() {
                    let x = |channel: usize| f64::from(x[pixel * channels + channel]);
                    for (c, &y) in y[..channels].iter().enumerate() {
                        let near = c.saturating_sub(reach[0])..(c + reach[1] + 1).min(channels);
                        let sum: f64 = near.map(|c| x(c) * x(c)).sum();
                        assert_close(y, x(c) / (1.5 + 0.3 * sum).powf(f64::from(beta)), &case);
                    }
                }
            }
        }
    }
}

/// [`normalised_maps`] on each instruction set.
mod normalised_maps {
    crate::simd::testing::isa_tests!(super::normalised_maps);
}
