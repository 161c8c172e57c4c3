//! What a sample of a map reads, at a position that the network computes.

use crate::graph::{GridSample, SampleMode, SamplePadding};

/// The most entries of an axis that a sample reads.
const MOST_TAPS: usize = 4;

/// The entries of an axis that a sample is a weighted sum of. Those outside of the axis are left out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AxisTaps {
    taps: [(usize, f64); MOST_TAPS],
    count: usize,
}

impl AxisTaps {
    /// Adds an entry, if the axis of `size` entries has it.
    fn push(&mut self, place: f64, weight: f64, size: usize) {
        if place >= 0.0 && place < size as f64 {
            self.taps[self.count] = (place as usize, weight);
            self.count += 1;
        }
    }

    /// Returns the entries with their weights.
    pub fn iter(&self) -> std::slice::Iter<'_, (usize, f64)> {
        self.taps[..self.count].iter()
    }
}

/// Returns both neighbours of a position, with the weights of linear interpolation.
pub(crate) fn linear_taps(position: f64, size: usize) -> AxisTaps {
    let (low, mut taps) = (position.floor(), AxisTaps::default());
    taps.push(low, low + 1.0 - position, size);
    taps.push(low + 1.0, position - low, size);
    taps
}

/// Returns what a sample reads of an axis of `size` entries, whose ends have the coordinates -1 and 1.
pub(crate) fn grid_taps(op: &GridSample, coordinate: f64, size: usize) -> AxisTaps {
    let entries = size as f64;
    let position = match op.align_corners {
        true => (coordinate + 1.0) / 2.0 * (entries - 1.0),
        false => ((coordinate + 1.0) * entries - 1.0) / 2.0,
    };
    match op.mode {
        SampleMode::Linear => linear_taps(padded(op, position, size), size),
        SampleMode::Nearest => {
            let mut taps = AxisTaps::default();
            taps.push(padded(op, position, size).round_ties_even(), 1.0, size);
            taps
        }
        SampleMode::Cubic => {
            let (low, mut taps) = (position.floor(), AxisTaps::default());
            for (i, weight) in cubic_weights(position - low).into_iter().enumerate() {
                taps.push(padded(op, low - 1.0 + i as f64, size), weight, size);
            }
            taps
        }
    }
}

/// Moves a position into the axis, unless zeros are outside.
fn padded(op: &GridSample, position: f64, size: usize) -> f64 {
    let last = size.saturating_sub(1) as f64;
    match op.padding {
        SamplePadding::Zeros => position,
        SamplePadding::Border => position.clamp(0.0, last),
        SamplePadding::Reflection => reflected(position, size, op.align_corners).clamp(0.0, last),
    }
}

/// Reflects a position at the borders of an axis until it is inside.
fn reflected(position: f64, size: usize, align_corners: bool) -> f64 {
    let (low, span) = match align_corners {
        true => (0.0, size as f64 - 1.0),
        false => (-0.5, size as f64),
    };
    if span <= 0.0 {
        return 0.0;
    }
    let distance = (position - low).abs();
    let (flips, rest) = ((distance / span).floor(), distance % span);
    if flips % 2.0 == 0.0 { low + rest } else { low + span - rest }
}

/// Returns the weights of cubic convolution for the four elements around a position that is `t` after the
/// second one (Keys, 1981, with `a = -0.75`).
fn cubic_weights(t: f64) -> [f64; MOST_TAPS] {
    const A: f64 = -0.75;
    let near = |d: f64| ((A + 2.0) * d - (A + 3.0)) * d * d + 1.0;
    let far = |d: f64| ((A * d - 5.0 * A) * d + 8.0 * A) * d - 4.0 * A;
    [far(1.0 + t), near(t), near(1.0 - t), far(2.0 - t)]
}
