//! Coefficients of a batch.

use super::super::block::Block;
use super::super::guarded::Guarded;
use super::super::hyperfunction::{Coefficients, Squash, coefficients};
use super::{padded_rows, wave};
use crate::simd::{Isa, padded};

/// Units that are zero in some images only are added to all, which must change no bit.
fn coefficients_do_not_depend_on_the_batch(isa: Isa) {
    let (images, channels, hidden) = (7, 19, 21);
    let units: Vec<f32> = wave(images * hidden, 0.7).iter().map(|x| x.max(0.0)).collect();
    let units = padded_rows(&units, hidden);
    // The first sum of the first image is minus zero alone, and zero with the other images' units.
    let mut weight = wave(4 * channels * hidden, 0.61);
    for (weight, unit) in weight.iter_mut().zip(&units[..hidden]) {
        *weight = if *unit > 0.0 { -0.0 } else { 0.0 };
    }
    let eight_bits = super::rounded_to_eight_bits(&weight, hidden);
    let mut bias = wave(4 * channels, 1.7);
    bias[0] = -0.0;
    let (init, lambda) = ([-0.0, 0.0, 0.5, 0.0], [1.0, -1.0, 0.5, 0.5]);
    for (weight, squash, may_round) in [
        (&weight, Squash::Tanh, true),
        (&weight, Squash::Clamp, false),
        (&eight_bits, Squash::None, false),
    ] {
        let layer =
            Coefficients::new(weight, Some(&bias), &init, &lambda, squash, hidden, may_round);
        let width = layer.outputs();
        let mut work = Guarded::unwritten(layer.workspace());
        let mut compute = |units: &[f32], images: usize| {
            let mut y = Guarded::unwritten(images * width);
            coefficients(isa, &layer, units, &mut Block::whole(&mut y, width), &mut work);
            y.written(isa.name()).iter().map(|y| y.to_bits()).collect::<Vec<u32>>()
        };
        let together = compute(&units, images);
        let rows = units.chunks_exact(padded(hidden)).zip(together.chunks_exact(width));
        for (image, (units, together)) in rows.enumerate() {
            assert_eq!(compute(units, 1), together, "image {image}, {squash:?}, {}", isa.name());
        }
    }
}

/// [`coefficients_do_not_depend_on_the_batch`] on each instruction set.
mod coefficients_do_not_depend_on_the_batch {
    crate::simd::testing::isa_tests!(super::coefficients_do_not_depend_on_the_batch);
}
