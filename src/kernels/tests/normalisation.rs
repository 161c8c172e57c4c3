//! Normalisation over groups of channels, against its definition.

use super::super::normalisation::{Normalisation, group_coefficients};
use super::*;

fn normalised_groups(isa: Isa) {
    for pixels in [1, 7, 600] {
        for (groups, depth) in [(1, 1), (3, 1), (1, 19), (4, 5), (2, 8), (24, 1)] {
            let channels = groups * depth;
            let case = format!("{pixels} pixels, {groups} groups of {depth}, {}", isa.name());
            // The mean is large beside the deviations.
            let x: Vec<f32> = wave(pixels * channels, 0.37).iter().map(|x| 5.0 + x).collect();
            let (scale, bias) = (wave(channels, 0.61), wave(channels, 1.7));
            let epsilon = 1e-3;
            let norm = Normalisation { groups, epsilon, scale: &scale, bias: &bias };
            let mut y = Guarded::unwritten(2 * padded(channels));
            group_coefficients(isa, &padded_rows(&x, channels), norm, &mut y);
            let y = y.written(&case);
            for c in 0..channels {
                let group = c / depth * depth..(c / depth + 1) * depth;
                let elements: Vec<f64> = (0..pixels)
                    .flat_map(|pixel| x[pixel * channels..][group.clone()].iter())
                    .map(|&x| f64::from(x))
                    .collect();
                let count = elements.len() as f64;
                let mean = elements.iter().sum::<f64>() / count;
                let variance = elements.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
                let slope = f64::from(scale[c]) / (variance + f64::from(epsilon)).sqrt();
                assert_close(y[c], slope, &case);
                assert_close(y[padded(channels) + c], f64::from(bias[c]) - mean * slope, &case);
            }
        }
    }
}

/// [`normalised_groups`] on each instruction set.
mod normalised_groups {
    crate::simd::testing::isa_tests!(super::normalised_groups);
}
