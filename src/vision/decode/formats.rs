//! Files to photos: the first bytes of a file tell its format.

use std::io::Read;
use std::path::Path;

use super::super::photo::Photo;
use super::options::too_much_memory;
use super::{DecodeOptions, bmp, gif, jpeg, png, tiff, webp};
use crate::error::{Error, Result};

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

impl DecodeOptions {
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
    /// dropped, grey becomes three equal channels, and an embedded colour profile is not applied. Of
    /// samples of 16 bits, the upper 8 are kept.
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
}
