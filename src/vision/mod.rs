//! Photos to tensors, scores to names.
//!
//! A [`Classifier`] does all of it: it prepares photos, runs a network, and names the best classes.
//! Its parts are public too: [`load`] and [`decode`] read a file, [`Preprocess`] prepares a [`Photo`] or
//! a [`Frame`] in memory of the caller, [`probabilities`] and [`top_k`] read scores. A [`KeypointDetector`] finds the key points of persons.
//!
//! Photos are prepared as Pillow and torchvision do it: decode, convert to RGB, resize in 8 bits with an
//! antialiased filter, crop the centre, normalise. A JPEG file decodes to Pillow's pixels. A resized pixel
//! is off by at most one level of 255, and one in a hundred is off at all; `tests/preprocess.rs` holds the
//! comparison.

mod classifier;
mod decode;
mod embedding;
mod frame;
mod keypoints;
mod photo;
mod preprocess;
mod published;
mod resize;
mod top_k;
mod yuv;

pub use classifier::Classifier;
#[doc(hidden)]
pub use classifier::{Classified, class_count};
pub use decode::{DecodeOptions, decode, load};
#[doc(hidden)]
pub use embedding::Embedding;
pub use frame::{Frame, PixelFormat};
pub use keypoints::{
    Keypoint, KeypointDecoder, KeypointDetector, KeypointScheme, Pose, Region, Skeleton,
};
pub use photo::Photo;
pub use preprocess::{Color, Preprocess};
pub use resize::{Interpolation, Resize};
pub use top_k::{Labels, Prediction, probabilities, top_k};
pub use yuv::YuvEncoding;
