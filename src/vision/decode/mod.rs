//! Image files to RGB pixels, within limits, and without guessing at what is missing.
//!
//! Each format has a file. Its decoder checks what the header asks for against [`DecodeOptions`] before it
//! allocates, and reports whether all pixels were there.

mod bmp;
mod decoded;
mod formats;
mod gif;
mod jpeg;
mod options;
mod png;
#[cfg(test)]
mod tests;
mod tiff;
mod webp;

pub use formats::{decode, load};
pub use options::DecodeOptions;
