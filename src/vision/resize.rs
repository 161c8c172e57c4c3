//! Resizing as Pillow does it.

use fast_image_resize::images::TypedImage;
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use serde::{Deserialize, Serialize};

use super::frame::Frame;
use super::photo::Photo;
use crate::error::{Error, Result};

/// The size of a resized photo, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Resize {
    /// Height and width, whatever the proportion of the photo.
    Exact([u32; 2]),
    /// The shorter side. The longer one keeps the proportion and is rounded down.
    ShorterSide(u32),
}

/// The filter of a resize. When it shrinks, all but [`Nearest`](Self::Nearest) are antialiased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Interpolation {
    /// The nearest pixel.
    Nearest,
    /// A triangle filter.
    #[default]
    Bilinear,
    /// A cubic filter with a = -0.5.
    Bicubic,
    /// Lanczos' filter with three lobes.
    Lanczos,
}

/// The longest side that a resize or a crop may have.
pub(super) const MAX_SIDE: u32 = 1 << 14;

impl Resize {
    /// Returns width and height after a resize, the longer side rounded down, as in torchvision.
    ///
    /// # Errors
    ///
    /// [`Input`](crate::ErrorKind::Input) if a side would be longer than [`MAX_SIDE`].
    pub(super) fn target(self, width: u32, height: u32) -> Result<(u32, u32)> {
        let target = match self {
            Resize::Exact([height, width]) => (width, height),
            Resize::ShorterSide(side) => {
                let (short, long) = (width.min(height).max(1), width.max(height));
                let long = u64::from(side) * u64::from(long) / u64::from(short);
                let long = u32::try_from(long).unwrap_or(u32::MAX);
                if width <= height { (side, long) } else { (long, side) }
            }
        };
        if target != (width, height) && target.0.max(target.1) > MAX_SIDE {
            return Err(Error::input(format!(
                "a photo of {width} x {height} would become {} x {}: too elongated",
                target.0, target.1
            )));
        }
        Ok(target)
    }
}

/// Returns the pixels of a frame, resized to `width` x `height`.
pub(super) fn resize(
    frame: &Frame,
    width: u32,
    height: u32,
    filter: Interpolation,
) -> Result<Photo> {
    let algorithm = match filter {
        Interpolation::Nearest => ResizeAlg::Nearest,
        Interpolation::Bilinear => ResizeAlg::Convolution(FilterType::Bilinear),
        Interpolation::Bicubic => ResizeAlg::Convolution(FilterType::CatmullRom),
        Interpolation::Lanczos => ResizeAlg::Convolution(FilterType::Lanczos3),
    };
    // Pillow resizes along rows first and rounds to 8 bits in between. The order shows where a filter
    // overshoots.
    let (row, resized_row) = (3 * frame.width() as usize, 3 * width as usize);
    let frame_height = frame.height() as usize;
    let mut rows = vec![0; resized_row * frame_height];
    let mut band = vec![0; row * BAND.min(frame_height)];
    for (i, resized) in rows.chunks_mut(BAND * resized_row).enumerate() {
        let count = resized.len() / resized_row;
        let band = &mut band[..count * row];
        for (y, rgb) in band.chunks_exact_mut(row).enumerate() {
            frame.copy_row(i * BAND + y, 0, rgb);
        }
        let count = count as u32;
        pass(band, [frame.width(), count], resized, [width, count], algorithm)?;
    }
    let mut pixels = vec![0; resized_row * height as usize];
    pass(&mut rows, [width, frame.height()], &mut pixels, [width, height], algorithm)?;
    Photo::new(width, height, pixels)
}

/// The number of rows of a frame that are copied at a time, to be resized along rows.
const BAND: usize = 128;

/// Resizes pixels along one axis. Sizes are width and height.
///
/// `source` is not changed. It is mutable because the resizer's intermediate images are, and because its
/// code is compiled for each type of source: another type would double the largest part of it. The
/// typed functions keep it from being compiled for every type of pixel.
fn pass(
    source: &mut [u8],
    [from_width, from_height]: [u32; 2],
    resized: &mut [u8],
    [width, height]: [u32; 2],
    algorithm: ResizeAlg,
) -> Result<()> {
    let failed = |e: &dyn std::fmt::Display| Error::input(format!("cannot resize the photo: {e}"));
    let source =
        TypedImage::<U8x3>::from_buffer(from_width, from_height, source).map_err(|e| failed(&e))?;
    let mut resized =
        TypedImage::<U8x3>::from_buffer(width, height, resized).map_err(|e| failed(&e))?;
    let options = ResizeOptions::new().resize_alg(algorithm);
    Resizer::new().resize_typed(&source, &mut resized, &options).map_err(|e| failed(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shorter_side_follows_torchvision() {
        let target = |resize: Resize, width, height| resize.target(width, height).unwrap();
        assert_eq!(target(Resize::ShorterSide(256), 500, 375), (341, 256));
        assert_eq!(target(Resize::ShorterSide(256), 375, 500), (256, 341));
        assert_eq!(target(Resize::Exact([10, 20]), 5, 5), (20, 10));
        assert!(Resize::ShorterSide(256).target(1, 1000).is_err());
    }
}
