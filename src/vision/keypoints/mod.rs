//! Key points of persons, from networks of pose estimation.
//!
//! A [`KeypointDetector`] cuts the box of each person out of a photo, runs a network on it and decodes its
//! outputs. [`KeypointScheme`] says how: by which [`KeypointDecoder`], from how large a crop, and what the
//! key points are called.

mod decoder;
mod detector;
mod heatmaps;
mod maps;
mod movenet;
mod region;
mod scheme;
mod simcc;
#[cfg(test)]
mod tests;

pub use decoder::KeypointDecoder;
pub use detector::{Keypoint, KeypointDetector, Pose};
pub use region::Region;
pub use scheme::{KeypointScheme, Skeleton};
