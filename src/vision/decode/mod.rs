//! Image files to RGB pixels, within limits, and without guessing at what is missing.
//!
//! Each format has a file. Its decoder checks what the header asks for against [`DecodeOptions`] before it
//! allocates, and reports whether all pixels were there.

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

/// The limits of decoding, and whether damaged files are decoded.
///
/// # Examples
///
/// ```
/// use dyrelu::vision::DecodeOptions;
///
/// let options = DecodeOptions::default().max_pixels(20_000_000).allow_truncated(true);
/// let photo = options.load("examples/photos/tower.jpg")?;
/// # Ok::<(), dyrelu::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeOptions {
    max_pixels: u64,
    max_memory: u64,
    allow_truncated: bool,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        let max_pixels = Self::DEFAULT_MAX_PIXELS;
        DecodeOptions { max_pixels, max_memory: 2 << 30, allow_truncated: false }
    }
}

/// Decodes the image in the file at `path` with the default options. The contents decide the format, not
/// the name.
///
/// # Errors
///
/// As [`DecodeOptions::load`].
pub fn load(path: impl AsRef<Path>) -> Result<Photo> {
    DecodeOptions::default().load(path)
}

/// Decodes the image in `bytes` with the default options.
///
/// # Errors
///
/// As [`DecodeOptions::decode`].
pub fn decode(bytes: &[u8]) -> Result<Photo> {
    DecodeOptions::default().decode(bytes)
}

/// The result of a format's decoder.
struct Decoded {
    photo: Photo,
    /// The orientation that the camera noted, EXIF's number from 1 to 8.
    orientation: u32,
    /// Why pixels are missing, if some are.
    damage: Option<Error>,
}

impl DecodeOptions {
    /// The limit of pixels by default: 2^27 (134 megapixels). It admits cameras of medium format (102
    /// megapixels) and most telephones (108).
    pub const DEFAULT_MAX_PIXELS: u64 = 1 << 27;

    /// Sets the most pixels that an image may have. A progressive JPEG may have at most 16 times as many
    /// in all its scans together.
    pub fn max_pixels(mut self, pixels: u64) -> Self {
        self.max_pixels = pixels;
        self
    }

    /// Sets the most bytes that a file and what is decoded from it may take together: 2 GiB by default,
    /// which is 16 per pixel of the largest image.
    pub fn max_memory(mut self, bytes: u64) -> Self {
        self.max_memory = bytes;
        self
    }

    /// Sets whether a file that is cut off or damaged is decoded as far as possible, with grey or black in
    /// place of missing pixels. By default it is an error, and for WebP it always is.
    pub fn allow_truncated(mut self, allow: bool) -> Self {
        self.allow_truncated = allow;
        self
    }

    /// Decodes the image in the file at `path`. The contents decide the format, not the name.
    ///
    /// # Errors
    ///
    /// [`Io`](crate::ErrorKind::Io) if the file cannot be read, otherwise as [`decode`](Self::decode).
    pub fn load(&self, path: impl AsRef<Path>) -> Result<Photo> {
        let path = path.as_ref();
        let file = crate::format::open_regular(path)?;
        let mut bytes = Vec::new();
        let longest = self.max_memory.saturating_add(1);
        file.take(longest).read_to_end(&mut bytes).map_err(|e| Error::io(path, e))?;
        self.decode(&bytes).map_err(|e| e.in_file(path))
    }

    /// Decodes the image in `bytes`: JPEG, PNG, WebP, BMP, GIF or TIFF. Of several images in one file, the
    /// first is decoded.
    ///
    /// The orientation that a camera noted is applied. As Pillow's `convert("RGB")` does, transparency is
    /// dropped and grey becomes three equal channels. Of samples of 16 bits, the upper 8 are kept.
    /// Grey images of 16 bits, such as PNG files, therefore differ from Pillow's, which clips them to 255.
    ///
    /// # Errors
    ///
    /// - [`Format`](crate::ErrorKind::Format) if the bytes are no image, or one that is cut off or damaged.
    /// - [`Unsupported`](crate::ErrorKind::Unsupported) if it is of a kind that is not read.
    /// - [`Input`](crate::ErrorKind::Input) if it is larger than the options allow.
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
        // Turning needs memory for a second photo.
        let both = 2 * decoded.photo.pixels().len() as u64;
        if decoded.orientation != 1 && both > memory {
            return Err(too_much_memory(self));
        }
        match decoded.damage {
            Some(damage) if !self.allow_truncated => Err(damage),
            _ => Ok(decoded.photo.upright(decoded.orientation)),
        }
    }

    /// Checks the size that a header states, and that decoding takes at most `memory` bytes if it takes
    /// `bytes` per pixel.
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

/// The error for a file that ends before its last pixel.
fn cut_off() -> Error {
    Error::format("the file is cut off: it ends before its last pixel")
}

/// The error for a file that contradicts itself.
fn corrupt(cause: impl std::fmt::Display) -> Error {
    Error::format(format!("the file is corrupt: {cause}"))
}

/// Makes a photo of samples of 8 bits: grey, grey and alpha, RGB, or RGB and alpha.
fn photo(width: u32, height: u32, channels: usize, samples: Vec<u8>) -> Result<Photo> {
    let pixels = match channels {
        3 => samples,
        1 | 2 => samples.chunks_exact(channels).flat_map(|p| [p[0]; 3]).collect(),
        _ => samples.chunks_exact(channels).flat_map(|p| [p[0], p[1], p[2]]).collect(),
    };
    Photo::new(width, height, pixels)
}

/// Converts inks to RGB as Pillow does. 0 is no ink.
fn rgb_of_inks([cyan, magenta, yellow, black]: [u8; 4]) -> [u8; 3] {
    let light = u32::from(255 - black);
    [cyan, magenta, yellow].map(|ink| (light - (u32::from(ink) * light + 127) / 255) as u8)
}

/// Returns the orientation in a block of EXIF, 1 if there is none or it cannot be read.
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
