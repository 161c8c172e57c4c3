//! What the decoders of all formats give, and what several of them need for it.

use super::super::photo::Photo;
use crate::error::{Error, Result};

/// The result of a format's decoder.
pub(super) struct Decoded {
    pub photo: Photo,
    /// The orientation that the camera noted, EXIF's number from 1 to 8.
    pub orientation: u32,
    /// Why pixels are missing, if some are.
    pub damage: Option<Error>,
}

/// The error for a file that ends before its last pixel.
pub(super) fn cut_off() -> Error {
    Error::format("the file is cut off: it ends before its last pixel")
}

/// The error for a file that contradicts itself.
pub(super) fn corrupt(cause: impl std::fmt::Display) -> Error {
    Error::format(format!("the file is corrupt: {cause}"))
}

/// Makes a photo of samples of 8 bits: grey, grey and alpha, RGB, or RGB and alpha.
pub(super) fn photo(width: u32, height: u32, channels: usize, samples: Vec<u8>) -> Result<Photo> {
    let pixels = match channels {
        3 => samples,
        1 | 2 => samples.chunks_exact(channels).flat_map(|p| [p[0]; 3]).collect(),
        _ => samples.chunks_exact(channels).flat_map(|p| [p[0], p[1], p[2]]).collect(),
    };
    Photo::new(width, height, pixels)
}

/// Converts inks to RGB as Pillow does. 0 is no ink.
pub(super) fn rgb_of_inks([cyan, magenta, yellow, black]: [u8; 4]) -> [u8; 3] {
    let light = u32::from(255 - black);
    [cyan, magenta, yellow].map(|ink| (light - (u32::from(ink) * light + 127) / 255) as u8)
}

/// Returns the orientation in a block of EXIF, 1 if there is none or it cannot be read.
pub(super) fn orientation(exif: Option<&[u8]>) -> u32 {
    let Some(exif) = exif else { return 1 };
    // Some writers keep the name that JPEG files put before the block.
    let exif = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let Ok(exif) = exif::Reader::new().read_raw(exif.to_vec()) else { return 1 };
    let field = exif.get_field(exif::Tag::Orientation, exif::In::PRIMARY);
    field.and_then(|field| field.value.get_uint(0)).unwrap_or(1)
}
