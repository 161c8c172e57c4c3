//! What a network gives for one crop, and what decoders make of it.

/// One output of a network for one crop: its shape without the batch, and its elements.
#[derive(Clone)]
pub(super) struct Maps {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// A key point in its crop: the position as a share of the crop's width and height.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub x: f32,
    pub y: f32,
    pub score: f32,
}

impl Maps {
    /// Returns the height and the width of a map.
    pub fn size(&self) -> (usize, usize) {
        let [.., height, width] = self.shape[..] else { return (1, self.values.len()) };
        (height, width)
    }

    /// Returns the map of a channel.
    pub fn channel(&self, channel: usize) -> &[f32] {
        let length: usize = self.shape[1..].iter().product();
        &self.values[channel * length..][..length]
    }

    /// Returns the outputs for the crop whose mirror image these maps are of: rows are reversed, and the
    /// channels of left and right are exchanged. `partners` has the channel of the other side per channel.
    pub fn mirrored(&self, partners: &[usize]) -> Maps {
        let width = self.shape.last().copied().unwrap_or(1);
        let mut values = Vec::with_capacity(self.values.len());
        for &partner in partners {
            for row in self.channel(partner).chunks_exact(width) {
                values.extend(row.iter().rev());
            }
        }
        Maps { shape: self.shape.clone(), values }
    }

    pub fn average_with(&mut self, other: &Maps) {
        for (value, other) in self.values.iter_mut().zip(&other.values) {
            *value = 0.5 * (*value + other);
        }
    }
}

/// Returns the index of the largest element, of the first if several are equal. NaN is never larger.
pub(super) fn largest(values: impl Iterator<Item = f32>) -> usize {
    let mut best = (0, f32::NEG_INFINITY);
    for (index, value) in values.enumerate() {
        if value > best.1 {
            best = (index, value);
        }
    }
    best.0
}

pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}
