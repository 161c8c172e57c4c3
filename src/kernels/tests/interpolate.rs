//! Samples at computed positions, against their definition.

use super::super::interpolate::{MOST_NEIGHBOURS, Neighbours, Parts, interpolate};
use super::*;

const PIXELS: usize = 11;

/// The pixels and weights of a sample: none for some, up to sixteen for others.
fn chosen(line: usize, column: usize, part: usize) -> Vec<(usize, f32)> {
    let count = [4, 0, 1, 2, MOST_NEIGHBOURS][(line + 2 * column + 3 * part) % 5];
    let pixel =
        |i: usize| ((line * 5 + column * 3 + part + i * i) % PIXELS, (i as f32 + 0.3).cos());
    (0..count).map(pixel).collect()
}

fn interpolated_maps(isa: Isa) {
    for (groups, channels) in [(1, 1), (1, 8), (1, 19), (2, 8), (3, 5), (2, 16)] {
        for (count, size) in [(1, [1, 1]), (9, [3, 2]), (4, [2, 5])] {
            let count = count * groups;
            let case = format!("{count} parts of {channels}, {groups} groups, {}", isa.name());
            let (depth, width) = (groups * channels, padded(count * channels));
            let x = wave(PIXELS * depth, 0.37);
            let (data, mut y) =
                (padded_rows(&x, depth), Guarded::unwritten(size[0] * size[1] * width));
            let cut = Cut {
                images: 1,
                rows: size[0],
                width: size[1] * width,
                row_blocks: size[0].min(2),
                column_blocks: 1,
                row_unit: 1,
            };
            let neighbours = |line, column, part| {
                let mut sample = Neighbours::none(0.25);
                chosen(line, column, part).iter().for_each(|&(p, weight)| sample.push(p, weight));
                sample
            };
            let parts = Parts { count, groups, channels };
            let blocks = Blocks::new(&mut y, cut);
            while let Some(mut block) = blocks.next() {
                interpolate(isa, &data, padded(depth), parts, neighbours, width, &mut block);
            }
            for (at, pixel) in y.chunks_exact(width).enumerate() {
                let (line, column) = (at / size[1], at % size[1]);
                for (i, &y) in pixel[..count * channels].iter().enumerate() {
                    let (part, channel) = (i / channels, i % channels);
                    let element = part % groups * channels + channel;
                    let taps = chosen(line, column, part);
                    let of = |&(p, weight): &(usize, f32)| {
                        f64::from(weight) * f64::from(x[p * depth + element])
                    };
                    let sum = if taps.is_empty() { 0.25 } else { taps.iter().map(of).sum() };
                    assert_close(y, sum, &case);
                }
            }
        }
    }
}

/// [`interpolated_maps`] on each instruction set.
mod interpolated_maps {
    crate::simd::testing::isa_tests!(super::interpolated_maps);
}

#[test]
#[should_panic(expected = "a pixel of the map")]
fn a_pixel_that_the_map_does_not_have() {
    let parts = Parts { count: 1, groups: 1, channels: 8 };
    let mut y = [0.0; 8];
    let neighbours = |_, _, _| {
        let mut sample = Neighbours::none(0.0);
        sample.push(usize::MAX / 8, 1.0);
        sample
    };
    let mut block = Block::whole(&mut y, 8);
    interpolate(Isa::get(), &[0.0; 16], 8, parts, neighbours, 8, &mut block);
}
