//! RGB pixels to the input of a network.

use fast_image_resize::images::TypedImage;
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use serde::{Deserialize, Serialize};

use super::photo::Photo;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::tensor::Tensor;

/// How photos are prepared for a network.
///
/// A model file holds it as JSON, of which `mean` and `std` are required:
///
/// ```
/// # use dyrelu::vision::{Preprocess, Resize};
/// let json = r#"{
///     "resize": {"shorter_side": 256}, "interpolation": "bilinear", "center_crop": [224, 224],
///     "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "color": "rgb"
/// }"#;
/// let preprocess = Preprocess::new([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
///     .resize(Resize::ShorterSide(256))
///     .center_crop([224, 224]);
/// assert_eq!(Preprocess::from_json(json)?, preprocess);
/// # Ok::<(), dyrelu::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    #[serde(default)]
    resize: Option<Resize>,
    #[serde(default)]
    interpolation: Interpolation,
    #[serde(default)]
    center_crop: Option<[u32; 2]>,
    mean: [f32; 3],
    std: [f32; 3],
    #[serde(default)]
    color: Color,
}

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

/// The order of the channels of a network's input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Color {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red.
    Bgr,
}

/// The longest side that a resize or a crop may have.
const MAX_SIDE: u32 = 1 << 14;

impl Preprocess {
    /// Creates a preparation that subtracts `mean` from each channel and then divides it by `std`. Both
    /// are in units of the whole range: a pixel's level is divided by 255 first.
    ///
    /// The photo is neither resized nor cropped, and its channels are red, green, blue.
    pub const fn new(mean: [f32; 3], std: [f32; 3]) -> Self {
        let (resize, center_crop) = (None, None);
        let (interpolation, color) = (Interpolation::Bilinear, Color::Rgb);
        Preprocess { resize, interpolation, center_crop, mean, std, color }
    }

    /// Returns the usual preparation of torchvision and timm for networks of ImageNet: the shorter side
    /// becomes 256, the middle 224x224 is cut out, and levels are normalised by ImageNet's mean and
    /// standard deviation.
    pub const fn imagenet() -> Self {
        let mut preprocess = Self::new([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
        preprocess.resize = Some(Resize::ShorterSide(256));
        preprocess.center_crop = Some([224, 224]);
        preprocess
    }

    /// Returns the JSON that [`from_json`](Self::from_json) reads.
    ///
    /// # Errors
    ///
    /// [`Format`](crate::ErrorKind::Format) if a number cannot be written as JSON.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(self)
            .map_err(|e| Error::format(format!("the preprocessing cannot be written: {e}")))
    }

    /// Reads the JSON of a model file.
    ///
    /// # Errors
    ///
    /// [`Format`](crate::ErrorKind::Format) if the text is not of the form above, or its numbers cannot
    /// be used.
    pub fn from_json(text: &str) -> Result<Self> {
        let preprocess: Preprocess = serde_json::from_str(text)
            .map_err(|e| Error::format(format!("the preprocessing cannot be read: {e}")))?;
        preprocess.check().map_err(Error::format)?;
        Ok(preprocess)
    }

    /// Reads the preparation that the file of a model states.
    ///
    /// # Errors
    ///
    /// [`Input`](crate::ErrorKind::Input) if the file states none, otherwise as
    /// [`from_json`](Self::from_json).
    pub fn from_model(model: &Model) -> Result<Self> {
        let json = model.metadata("preprocess");
        let missing = || Error::input("the model file does not say how photos are prepared");
        Self::from_json(json.ok_or_else(missing)?)
    }

    /// Sets the size to which photos are resized.
    pub fn resize(mut self, size: Resize) -> Self {
        self.resize = Some(size);
        self
    }

    /// Sets the filter of the resize.
    pub fn interpolation(mut self, filter: Interpolation) -> Self {
        self.interpolation = filter;
        self
    }

    /// Sets height and width of the part that is cut from the centre after the resize. What lies beyond
    /// the border of the photo is black.
    pub fn center_crop(mut self, size: [u32; 2]) -> Self {
        self.center_crop = Some(size);
        self
    }

    /// Sets the order of the channels.
    pub fn color(mut self, order: Color) -> Self {
        self.color = order;
        self
    }

    /// Says what is wrong with the numbers, if something is.
    fn check(&self) -> std::result::Result<(), String> {
        let resize = match self.resize {
            Some(Resize::Exact(size)) => size.to_vec(),
            Some(Resize::ShorterSide(side)) => vec![side],
            None => Vec::new(),
        };
        let mut sides = resize.into_iter().chain(self.center_crop.into_iter().flatten());
        if let Some(side) = sides.find(|side| !(1..=MAX_SIDE).contains(side)) {
            return Err(format!(
                "the preprocessing has a side of {side} pixels; expected 1 to {MAX_SIDE}"
            ));
        }
        let is_usable = |std: &f32| std.is_finite() && *std > 0.0;
        if !self.std.iter().all(is_usable) || !self.mean.iter().all(|mean| mean.is_finite()) {
            return Err("the preprocessing has a mean or std that is no usable number".into());
        }
        Ok(())
    }

    /// Returns height and width of a prepared photo, if they do not depend on the photo.
    pub fn size(&self) -> Option<[u32; 2]> {
        let resized = match self.resize {
            Some(Resize::Exact(size)) => Some(size),
            _ => None,
        };
        self.center_crop.or(resized)
    }

    /// Prepares one photo and returns it as `[1, 3, height, width]`.
    ///
    /// # Errors
    ///
    /// [`Input`](crate::ErrorKind::Input) if the photo is too elongated to be resized, or a number of the
    /// preparation cannot be used.
    pub fn apply(&self, photo: &Photo) -> Result<Tensor> {
        self.check().map_err(Error::input)?;
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
        let (columns, rows) =
            (inside(left, width, photo.width()), inside(top, height, photo.height()));
        let mut planes = Vec::with_capacity(3 * width * height);
        for channel in 0..3 {
            let source = if self.color == Color::Bgr { 2 - channel } else { channel };
            let (mean, std) = (self.mean[channel], self.std[channel]);
            let levels: [f32; 256] =
                std::array::from_fn(|level| (level as f32 / 255.0 - mean) / std);
            let black = -mean / std;
            for y in 0..height {
                let row_end = planes.len() + width;
                if rows.contains(&y) {
                    planes.resize(planes.len() + columns.start, black);
                    let y = (y as i64 + top) as usize;
                    let x = (columns.start as i64 + left) as usize;
                    let start = 3 * (y * photo.width() as usize + x);
                    let pixels = photo.pixels()[start..][..3 * columns.len()].chunks_exact(3);
                    planes.extend(pixels.map(|pixel| levels[usize::from(pixel[source])]));
                }
                planes.resize(row_end, black);
            }
        }
        Tensor::new(&[1, 3, height, width], planes)
    }

    /// Returns `[1, 3, height, width]` of normalised levels. `level` gives red, green and blue of the pixel
    /// in a column and a row, from 0 to 255.
    pub(super) fn normalise(
        &self,
        [height, width]: [u32; 2],
        level: impl Fn(u32, u32) -> [f32; 3],
    ) -> Result<Tensor> {
        self.check().map_err(Error::input)?;
        let (rows, columns) = (height as usize, width as usize);
        let mut planes = vec![0f32; 3 * rows * columns];
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let levels = level(x, y);
            for channel in 0..3 {
                let source = if self.color == Color::Bgr { 2 - channel } else { channel };
                let at = (channel * rows + y as usize) * columns + x as usize;
                planes[at] = (levels[source] / 255.0 - self.mean[channel]) / self.std[channel];
            }
        }
        Tensor::new(&[1, 3, rows, columns], planes)
    }
}

/// Returns where a centred part begins: before the whole if it is larger. Halves are rounded to even, as
/// in torchvision.
fn margin(whole: u32, part: u32) -> i64 {
    ((f64::from(whole) - f64::from(part)) / 2.0).round_ties_even() as i64
}

/// Returns the part of `0..length` whose positions, moved by `offset`, lie in `0..whole`.
fn inside(offset: i64, length: usize, whole: u32) -> std::ops::Range<usize> {
    let clamp = |position: i64| position.clamp(0, length as i64) as usize;
    let (start, end) = (clamp(-offset), clamp(i64::from(whole) - offset));
    start..end.max(start)
}

/// Returns width and height after a resize, the longer side rounded down, as in torchvision.
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
    // Pillow resizes along rows first and rounds to 8 bits in between. The order shows where a filter
    // overshoots.
    let (row, resized_row) = (3 * photo.width() as usize, 3 * width as usize);
    let mut rows = vec![0; resized_row * photo.height() as usize];
    let mut band = Vec::new();
    for (source, resized) in
        photo.pixels().chunks(BAND * row).zip(rows.chunks_mut(BAND * resized_row))
    {
        band.clear();
        band.extend_from_slice(source);
        let height = (source.len() / row) as u32;
        pass(&mut band, [photo.width(), height], resized, [width, height], algorithm)?;
    }
    let mut pixels = vec![0; resized_row * height as usize];
    pass(&mut rows, [width, photo.height()], &mut pixels, [width, height], algorithm)?;
    Photo::new(width, height, pixels)
}

/// The number of rows of a photo that are copied at a time, to be resized along rows.
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

    const PLAIN: &str = r#"{"mean": [0, 0, 0], "std": [1, 1, 1]}"#;

    fn gradient(width: u32, height: u32) -> Photo {
        let rows = (0..height).map(|y| (0..width).map(move |x| [x as u8, y as u8, 128]));
        Photo::new(width, height, rows.flatten().flatten().collect()).unwrap()
    }

    #[test]
    fn the_usual_preparation_is_what_a_file_would_state() {
        let text = r#"{"resize": {"shorter_side": 256}, "center_crop": [224, 224],
            "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}"#;
        let imagenet = Preprocess::imagenet();
        assert_eq!(Preprocess::from_json(text).unwrap(), imagenet);
        assert_eq!(Preprocess::from_json(&imagenet.to_json().unwrap()).unwrap(), imagenet);
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
    fn each_pixel_of_a_crop_is_where_the_whole_has_it() {
        let photo = gradient(5, 4);
        let plain = Preprocess::new([0.25, 0.5, 0.75], [0.5, 0.25, 2.0]);
        for size in [[1, 1], [3, 2], [4, 5], [7, 3], [2, 9], [8, 9]] {
            let x = plain.clone().center_crop(size).color(Color::Bgr).apply(&photo).unwrap();
            let x = x.as_f32().unwrap();
            let [height, width] = size;
            for (i, &found) in x.iter().enumerate() {
                let [channel, y, x] = [i / (height * width) as usize, i / width as usize, i];
                let (y, x) = ((y as u32) % height, (x as u32) % width);
                let at = (
                    (i64::from(x) + margin(5, width)) as u32,
                    (i64::from(y) + margin(4, height)) as u32,
                );
                let level = photo.pixel(at.0, at.1).map_or(0, |pixel| pixel[2 - channel]);
                let (mean, std) = ([0.25, 0.5, 0.75][channel], [0.5, 0.25, 2.0][channel]);
                assert_eq!(found, (f32::from(level) / 255.0 - mean) / std, "{size:?}, {i}");
            }
        }
    }

    #[test]
    fn numbers_that_cannot_be_used_are_refused_when_they_are() {
        let plain = Preprocess::new([0.0; 3], [1.0; 3]);
        for preprocess in [
            plain.clone().center_crop([0, 5]),
            plain.clone().resize(Resize::Exact([5, MAX_SIDE + 1])),
            Preprocess::new([0.0; 3], [0.0; 3]),
            Preprocess::new([f32::NAN; 3], [1.0; 3]),
        ] {
            let error = preprocess.apply(&gradient(5, 3)).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Input, "{preprocess:?}");
        }
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
