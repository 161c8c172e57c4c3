//! From RGB pixels to what a network takes.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use serde::{Deserialize, Serialize};

use super::photo::Photo;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// How photos are prepared for a network, as a model file states it:
///
/// ```json
/// {"resize": {"shorter_side": 256}, "interpolation": "bilinear", "center_crop": [224, 224],
///  "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "color": "rgb"}
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// The size to which photos are resized, if they are.
    #[serde(default)]
    pub resize: Option<Resize>,
    /// The filter of the resize.
    #[serde(default)]
    pub interpolation: Interpolation,
    /// Height and width of the part that is cut from the centre, if one is.
    #[serde(default)]
    pub center_crop: Option<[u32; 2]>,
    /// Subtracted from each channel, in units of the whole range (pixel / 255).
    pub mean: [f32; 3],
    /// What each channel is then divided by, in the same units.
    pub std: [f32; 3],
    /// The order of the channels.
    #[serde(default)]
    pub color: Color,
}

/// The size of a resized photo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// Height and width, whatever they were before.
    Exact([u32; 2]),
    /// The shorter side; the longer one keeps the proportion.
    ShorterSide(u32),
}

/// The filter of a resize, antialiased when shrinking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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

/// The order of the channels of a network's input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Color {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red.
    Bgr,
}

/// The longest side that a file may ask for.
const MAX_SIDE: u32 = 1 << 14;

impl Preprocess {
    /// Reads the JSON of a model file.
    ///
    /// # Errors
    /// `Format` where it is not of the form above, or its numbers cannot be used.
    pub fn from_json(text: &str) -> Result<Self> {
        let found: Preprocess = serde_json::from_str(text)
            .map_err(|e| Error::format(format!("the preprocessing cannot be read: {e}")))?;
        let mut sides = Vec::new();
        match found.resize {
            Some(Resize::Exact(size)) => sides.extend(size),
            Some(Resize::ShorterSide(side)) => sides.push(side),
            None => {}
        }
        sides.extend(found.center_crop.into_iter().flatten());
        if let Some(side) = sides.iter().find(|s| !(1..=MAX_SIDE).contains(*s)) {
            return Err(Error::format(format!(
                "the preprocessing has a side of {side} pixels; expected 1 to {MAX_SIDE}"
            )));
        }
        if found.std.iter().any(|s| !(s.is_finite() && *s > 0.0))
            || found.mean.iter().any(|m| !m.is_finite())
        {
            return Err(Error::format(
                "the preprocessing has a mean or std that is no usable number",
            ));
        }
        Ok(found)
    }

    /// Height and width of a prepared photo, where they do not depend on the photo.
    pub fn size(&self) -> Option<[u32; 2]> {
        let resized = match self.resize {
            Some(Resize::Exact(size)) => Some(size),
            _ => None,
        };
        self.center_crop.or(resized)
    }

    /// Prepares one photo: `[1, 3, height, width]`.
    ///
    /// # Errors
    /// `Input` where the photo is too elongated to be resized.
    pub fn apply(&self, photo: &Photo) -> Result<Tensor> {
        let resized;
        let mut photo = photo;
        if let Some(size) = self.resize {
            let (width, height) = target(size, photo.width(), photo.height());
            if (width, height) != (photo.width(), photo.height()) {
                resized = resize(photo, width, height, self.interpolation)?;
                photo = &resized;
            }
        }
        let [height, width] = self.center_crop.unwrap_or([photo.height(), photo.width()]);
        let (left, top) = (margin(photo.width(), width), margin(photo.height(), height));
        let (width, height) = (width as usize, height as usize);
        let mut planes = vec![0f32; 3 * width * height];
        for (channel, plane) in planes.chunks_exact_mut(width * height).enumerate() {
            let source = if self.color == Color::Bgr { 2 - channel } else { channel };
            let (mean, std) = (self.mean[channel], self.std[channel]);
            // What a crop takes from beyond the border is black.
            let black = -mean / std;
            for (y, row) in plane.chunks_exact_mut(width).enumerate() {
                for (x, value) in row.iter_mut().enumerate() {
                    let at = (x as i64 + left, y as i64 + top);
                    let at = (u32::try_from(at.0).ok(), u32::try_from(at.1).ok());
                    let pixel = match at {
                        (Some(x), Some(y)) => photo.pixel(x, y),
                        _ => None,
                    };
                    *value = pixel.map_or(black, |p| (f32::from(p[source]) / 255.0 - mean) / std);
                }
            }
        }
        Tensor::new(&[1, 3, height, width], planes)
    }
}

/// Where a centred part begins, negative where it is larger than the whole. Halves round to even,
/// as in torchvision.
fn margin(whole: u32, part: u32) -> i64 {
    ((f64::from(whole) - f64::from(part)) / 2.0).round_ties_even() as i64
}

/// Width and height after a resize. The longer side rounds down, as in torchvision.
fn target(size: Resize, width: u32, height: u32) -> (u32, u32) {
    match size {
        Resize::Exact([height, width]) => (width, height),
        Resize::ShorterSide(side) => {
            let (short, long) = (width.min(height).max(1), width.max(height));
            let long = u64::from(side) * u64::from(long) / u64::from(short);
            let long = u32::try_from(long).unwrap_or(u32::MAX);
            if width <= height { (side, long) } else { (long, side) }
        }
    }
}

fn resize(photo: &Photo, width: u32, height: u32, filter: Interpolation) -> Result<Photo> {
    if width > MAX_SIDE || height > MAX_SIDE {
        return Err(Error::input(format!(
            "a photo of {} x {} would become {width} x {height}: too elongated",
            photo.width(),
            photo.height()
        )));
    }
    let algorithm = match filter {
        Interpolation::Nearest => ResizeAlg::Nearest,
        Interpolation::Bilinear => ResizeAlg::Convolution(FilterType::Bilinear),
        Interpolation::Bicubic => ResizeAlg::Convolution(FilterType::CatmullRom),
        Interpolation::Lanczos => ResizeAlg::Convolution(FilterType::Lanczos3),
    };
    // Pillow rounds to 8 bits between the passes, rows first: where a filter overshoots, the order
    // shows.
    let rows = pass(photo, width, photo.height(), algorithm)?;
    pass(&rows, width, height, algorithm)
}

fn pass(photo: &Photo, width: u32, height: u32, algorithm: ResizeAlg) -> Result<Photo> {
    let failed = |e: &dyn std::fmt::Display| Error::input(format!("cannot resize the photo: {e}"));
    // The resizer is compiled for this type of pixel only.
    let source = TypedImageRef::<U8x3>::from_buffer(photo.width(), photo.height(), photo.pixels())
        .map_err(|e| failed(&e))?;
    let mut pixels = vec![0; 3 * width as usize * height as usize];
    let mut resized =
        TypedImage::<U8x3>::from_buffer(width, height, &mut pixels).map_err(|e| failed(&e))?;
    let options = ResizeOptions::new().resize_alg(algorithm);
    Resizer::new().resize_typed(&source, &mut resized, &options).map_err(|e| failed(&e))?;
    Photo::new(width, height, pixels)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = r#"{"mean": [0, 0, 0], "std": [1, 1, 1]}"#;

    fn gradient(width: u32, height: u32) -> Photo {
        let rows = (0..height).map(|y| (0..width).map(move |x| [x as u8, y as u8, 128]));
        Photo::new(width, height, rows.flatten().flatten().collect()).unwrap()
    }

    #[test]
    fn pixels_become_planes() {
        let x = Preprocess::from_json(PLAIN).unwrap().apply(&gradient(5, 3)).unwrap();
        assert_eq!(x.shape(), [1, 3, 3, 5]);
        let x = x.as_f32().unwrap();
        assert_eq!(x[1], 1.0 / 255.0);
        assert_eq!(x[15 + 5], 1.0 / 255.0);
        assert_eq!(x[30], 128.0 / 255.0);
    }

    #[test]
    fn the_shorter_side_and_the_crop_follow_torchvision() {
        assert_eq!(target(Resize::ShorterSide(256), 500, 375), (341, 256));
        assert_eq!(target(Resize::ShorterSide(256), 375, 500), (256, 341));
        assert_eq!(target(Resize::Exact([10, 20]), 5, 5), (20, 10));
        assert_eq!((margin(341, 224), margin(256, 224), margin(5, 8)), (58, 16, -2));
    }

    #[test]
    fn a_crop_beyond_the_border_is_black() {
        let text = r#"{"center_crop": [4, 4], "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}"#;
        let x = Preprocess::from_json(text).unwrap().apply(&gradient(2, 2)).unwrap();
        assert_eq!(x.shape(), [1, 3, 4, 4]);
        assert_eq!(x.as_f32().unwrap()[0], -1.0);
    }

    #[test]
    fn useless_settings_are_refused() {
        for text in [
            "{}",
            "no json",
            r#"{"mean": [0, 0, 0], "std": [0, 1, 1]}"#,
            r#"{"mean": [0, 0, 0], "std": [1, 1, 1], "center_crop": [0, 5]}"#,
            r#"{"mean": [0, 0, 0], "std": [1, 1, 1], "resize": {"shorter_side": 4000000000}}"#,
            r#"{"mean": [0, 0, 0], "std": [1, 1, 1], "resise": {"shorter_side": 4}}"#,
        ] {
            assert!(Preprocess::from_json(text).is_err(), "{text}");
        }
    }
}
