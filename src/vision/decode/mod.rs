//! Image files to RGB pixels, within limits and without guessing at what is missing.
//!
//! A file a format. Each checks what the header asks for against [`DecodeOptions`] before it
//! allocates, and says whether the pixels are whole.

mod bmp;
mod gif;
mod jpeg;
mod png;
mod tiff;
mod webp;

use std::io::Read;
use std::path::Path;

use super::photo::Photo;
use crate::error::{Error, Result};

/// What decoding may take, and whether it may make do with a part.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DecodeOptions {
    /// The most pixels of an image, 2^27 (134 megapixels) by default: more than cameras of medium
    /// format (102) and most telephones (108) give. The work on a progressive JPEG, its scans times
    /// its pixels, may be 16 times as much.
    pub max_pixels: u64,
    /// The most bytes that a file and what is decoded from it may take together: 2 GiB by default,
    /// which is 16 a pixel.
    pub max_memory: u64,
    /// Whether a file that is cut off or damaged gives the pixels that can be read, and grey or
    /// black in place of the others, where its format is another than WebP. Otherwise, and by
    /// default, it is an error.
    pub allow_truncated: bool,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        DecodeOptions { max_pixels: 1 << 27, max_memory: 2 << 30, allow_truncated: false }
    }
}

/// Decodes the image in the file at `path` with the default options, whatever its name ends in.
///
/// # Errors
/// As [`DecodeOptions::load`].
pub fn load(path: impl AsRef<Path>) -> Result<Photo> {
    DecodeOptions::default().load(path)
}

/// Decodes the image in `bytes` with the default options.
///
/// # Errors
/// As [`DecodeOptions::decode`].
pub fn decode(bytes: &[u8]) -> Result<Photo> {
    DecodeOptions::default().decode(bytes)
}

/// What the decoder of a format gives.
struct Decoded {
    photo: Photo,
    /// What a camera noted, 1 to 8 as EXIF numbers it.
    orientation: u32,
    /// Why the pixels are not whole, where they are not.
    damage: Option<Error>,
}

impl DecodeOptions {
    /// Decodes the image in the file at `path`, whatever its name ends in.
    ///
    /// # Errors
    /// `Io` where the file cannot be read, otherwise as [`DecodeOptions::decode`].
    pub fn load(&self, path: impl AsRef<Path>) -> Result<Photo> {
        let path = path.as_ref();
        let file = crate::format::open_regular(path)?;
        let mut bytes = Vec::new();
        let longest = self.max_memory.saturating_add(1);
        file.take(longest).read_to_end(&mut bytes).map_err(|e| Error::io(path, e))?;
        self.decode(&bytes).map_err(|e| e.in_file(path))
    }

    /// Decodes the image in `bytes`: JPEG, PNG, WebP, BMP, GIF or TIFF. Of several images it takes
    /// the first.
    ///
    /// As Pillow's `convert("RGB")` does, transparency is dropped and grey becomes three equal
    /// channels; of 16 bits the upper 8 are kept. The orientation that a camera noted is applied.
    ///
    /// # Errors
    /// `Format` where the bytes are no image, or one that is cut off or damaged; `Unsupported` where
    /// it is of a kind that is not read; `Input` where it is larger than the options allow.
    pub fn decode(&self, bytes: &[u8]) -> Result<Photo> {
        if bytes.is_empty() {
            return Err(Error::format("the file is empty"));
        }
        let memory = self.max_memory.checked_sub(bytes.len() as u64).ok_or_else(|| {
            Error::input(format!("the file takes more than the {} bytes allowed", self.max_memory))
        })?;
        let decoded = match bytes {
            [0xff, 0xd8, 0xff, ..] => jpeg::decode(bytes, self, memory)?,
            [0x89, b'P', b'N', b'G', ..] => png::decode(bytes, self, memory)?,
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => {
                webp::decode(bytes, self, memory)?
            }
            [b'G', b'I', b'F', b'8', ..] => gif::decode(bytes, self, memory)?,
            // 42, or 43 for files beyond 4 GiB, in the byte order that the first letters state.
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => {
                tiff::decode(bytes, self, memory)?
            }
            [b'B', b'M', ..] => bmp::decode(bytes, self, memory)?,
            _ => {
                return Err(Error::format(
                    "this is no image of a known kind (JPEG, PNG, WebP, BMP, GIF, TIFF)",
                ));
            }
        };
        // Turning takes a second photo.
        let both = 2 * decoded.photo.pixels().len() as u64;
        if decoded.orientation != 1 && both > memory {
            return Err(too_much_memory(self));
        }
        match decoded.damage {
            Some(damage) if !self.allow_truncated => Err(damage),
            _ => Ok(decoded.photo.upright(decoded.orientation)),
        }
    }

    /// Checks the size that a header states, and that decoding takes no more than `memory` bytes at
    /// `bytes` a pixel.
    fn admit(&self, width: u32, height: u32, bytes: u64, memory: u64) -> Result<()> {
        let pixels = u64::from(width) * u64::from(height);
        if pixels == 0 {
            return Err(Error::format("the image has no pixels"));
        }
        if pixels > self.max_pixels {
            return Err(Error::input(format!(
                "the image is {width} x {height}: {pixels} pixels, more than the {} allowed",
                self.max_pixels
            )));
        }
        if pixels.saturating_mul(bytes) > memory {
            return Err(too_much_memory(self));
        }
        Ok(())
    }
}

fn too_much_memory(options: &DecodeOptions) -> Error {
    let allowed = options.max_memory;
    Error::input(format!("decoding the image takes more than the {allowed} bytes allowed"))
}

/// A file that ends before its last pixel.
fn cut_off() -> Error {
    Error::format("the file is cut off: it ends before its last pixel")
}

/// A file that contradicts itself.
fn corrupt(cause: impl std::fmt::Display) -> Error {
    Error::format(format!("the file is corrupt: {cause}"))
}

/// The photo in samples of 8 bits: grey, grey and alpha, RGB, or RGB and alpha.
fn photo(width: u32, height: u32, channels: usize, samples: Vec<u8>) -> Result<Photo> {
    let pixels = match channels {
        3 => samples,
        1 | 2 => samples.chunks_exact(channels).flat_map(|p| [p[0]; 3]).collect(),
        _ => samples.chunks_exact(channels).flat_map(|p| [p[0], p[1], p[2]]).collect(),
    };
    Photo::new(width, height, pixels)
}

/// The RGB of inks: 0 is none. As Pillow has it.
fn rgb_of_inks([cyan, magenta, yellow, black]: [u8; 4]) -> [u8; 3] {
    let light = u32::from(255 - black);
    [cyan, magenta, yellow].map(|ink| (light - (u32::from(ink) * light + 127) / 255) as u8)
}

/// The orientation in a block of EXIF, 1 where there is none that can be read.
fn orientation(exif: Option<&[u8]>) -> u32 {
    let Some(exif) = exif else { return 1 };
    // Some writers keep the name that JPEG files put before the block.
    let exif = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let Ok(exif) = exif::Reader::new().read_raw(exif.to_vec()) else { return 1 };
    let field = exif.get_field(exif::Tag::Orientation, exif::In::PRIMARY);
    field.and_then(|field| field.value.get_uint(0)).unwrap_or(1)
}

#[cfg(test)]
mod tests;
