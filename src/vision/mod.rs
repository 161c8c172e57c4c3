//! Photos to tensors, scores to names.
//!
//! The pipeline is Pillow's and torchvision's: decode, convert to RGB, resize with an antialiased
//! filter in 8 bits, crop the centre, normalise. Decoders differ by a unit in some pixels, and so
//! do the resamplers; see the tests for by how much.

mod decode;
mod preprocess;
mod top_k;

pub use decode::{decode, load};
pub use preprocess::{Interpolation, Preprocess, Resize};
pub use top_k::{Labels, Prediction, probabilities, top_k};
