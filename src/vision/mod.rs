//! Photos to tensors, scores to names.
//!
//! The pipeline is Pillow's and torchvision's: decode, convert to RGB, resize with an antialiased
//! filter in 8 bits, crop the centre, normalise. Of 255 levels, a resized pixel is off by at most
//! one and one in a hundred is off at all; a JPEG decodes to the same pixels. `tests/preprocess.rs`
//! holds the comparison.

mod decode;
mod photo;
mod preprocess;
mod top_k;

pub use decode::{DecodeOptions, decode, load};
pub use photo::Photo;
pub use preprocess::{Interpolation, Preprocess, Resize};
pub use top_k::{Labels, Prediction, probabilities, top_k};
