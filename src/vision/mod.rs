//! Photos to tensors, scores to names.
//!
//! The pipeline is Pillow's and torchvision's: decode, convert to RGB, resize with an antialiased
//! filter in 8 bits, crop the centre, normalise. Of 255 levels, a resized pixel is off by at most
//! one and one in a hundred is off at all; a JPEG decodes to within two levels, to within three where
//! its colours have half the resolution. `tests/preprocess.rs` holds the comparison.

mod decode;
mod preprocess;
mod top_k;

pub use decode::{decode, load};
pub use preprocess::{Interpolation, Preprocess, Resize};
pub use top_k::{Labels, Prediction, probabilities, top_k};
