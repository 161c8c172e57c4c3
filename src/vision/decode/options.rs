//! The limits of decoding.

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
    pub(super) max_pixels: u64,
    pub(super) max_memory: u64,
    pub(super) allow_truncated: bool,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        let max_pixels = Self::DEFAULT_MAX_PIXELS;
        DecodeOptions { max_pixels, max_memory: 2 << 30, allow_truncated: false }
    }
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

    /// Checks the size that a header states, and that decoding takes at most `memory` bytes if it takes
    /// `bytes` per pixel.
    pub(super) fn admit(&self, width: u32, height: u32, bytes: u64, memory: u64) -> Result<()> {
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

pub(super) fn too_much_memory(options: &DecodeOptions) -> Error {
    let allowed = options.max_memory;
    Error::input(format!("decoding the image takes more than the {allowed} bytes allowed"))
}
