//! Pixels to the input of a network.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::frame::Frame;
use super::resize::{Interpolation, MAX_SIDE, Resize, resize};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::tensor::{Layout, Tensor};

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
    pub(super) fn check(&self) -> std::result::Result<(), String> {
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

    /// Returns height and width of a prepared photo of `width` x `height` pixels.
    ///
    /// # Errors
    ///
    /// [`Input`](crate::ErrorKind::Input) if the photo is too elongated to be resized, or a number of the
    /// preparation cannot be used.
    pub fn size_for(&self, width: u32, height: u32) -> Result<[u32; 2]> {
        self.check().map_err(Error::input)?;
        let (width, height) = match self.resize {
            Some(size) => size.target(width, height)?,
            None => (width, height),
        };
        Ok(self.center_crop.unwrap_or([height, width]))
    }

    /// Prepares a [`Photo`](super::Photo) or a [`Frame`] and returns it as `[1, 3, height, width]`.
    ///
    /// # Errors
    ///
    /// [`Input`](crate::ErrorKind::Input) if the photo is too elongated to be resized, or a number of the
    /// preparation cannot be used.
    pub fn apply<'a>(&self, photo: impl Into<Frame<'a>>) -> Result<Tensor> {
        let frame = photo.into();
        let size = self.size_for(frame.width(), frame.height())?;
        let [height, width] = size.map(|side| side as usize);
        let mut planes = vec![0.0; 3 * height * width];
        self.write(frame, Layout::Nchw, &mut planes)?;
        Tensor::new(&[1, 3, height, width], planes)
    }

    /// Prepares a [`Photo`](super::Photo) or a [`Frame`] as [`apply`](Self::apply) does, to the same bits, in
    /// memory of the caller: its part of a batch, `[3, height, width]` or, with [`Layout::Nhwc`],
    /// `[height, width, 3]`.
    ///
    /// [`size_for`](Self::size_for) returns height and width. Several threads may prepare the images of a
    /// batch.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply), and [`Input`](crate::ErrorKind::Input) if `out` does not have
    /// `3 * height * width` elements.
    pub fn apply_into<'a>(
        &self,
        photo: impl Into<Frame<'a>>,
        layout: Layout,
        out: &mut [f32],
    ) -> Result<()> {
        let frame = photo.into();
        let [height, width] = self.size_for(frame.width(), frame.height())?;
        let expected = 3 * height as usize * width as usize;
        if out.len() != expected {
            let found = out.len();
            return Err(Error::input(format!(
                "a prepared photo of {height} x {width} has {expected} elements, room is for {found}"
            )));
        }
        self.write(frame, layout, out)
    }

    /// Prepares a frame in `out`, which has the right size.
    fn write(&self, frame: Frame, layout: Layout, out: &mut [f32]) -> Result<()> {
        let resized;
        let mut frame = frame;
        if let Some(size) = self.resize {
            let (width, height) = size.target(frame.width(), frame.height())?;
            if (width, height) != (frame.width(), frame.height()) {
                resized = resize(&frame, width, height, self.interpolation)?;
                frame = Frame::from(&resized);
            }
        }
        let [height, width] = self.center_crop.unwrap_or([frame.height(), frame.width()]);
        let (left, top) = (margin(frame.width(), width), margin(frame.height(), height));
        let (width, height) = (width as usize, height as usize);
        let columns = inside(left, width, frame.width());
        let rows = inside(top, height, frame.height());
        let first_column = (columns.start as i64 + left) as usize;
        let source_columns = first_column..first_column + columns.len();
        let channels: [Channel; 3] = std::array::from_fn(|channel| Channel::new(self, channel));
        let mut scratch = Vec::new();
        for y in 0..height {
            let pixels = match rows.contains(&y) {
                true => frame.row((y as i64 + top) as usize, source_columns.clone(), &mut scratch),
                false => &[],
            };
            // Where there are no pixels, the photo has no such row.
            let columns = if pixels.is_empty() { 0..0 } else { columns.clone() };
            let pixels = pixels.as_chunks::<3>().0;
            for (i, channel) in channels.iter().enumerate() {
                let (first, step) = match layout {
                    Layout::Nchw => ((i * height + y) * width, 1),
                    Layout::Nhwc => (y * width * 3 + i, 3),
                };
                let row = &mut out[first..][..(width - 1) * step + 1];
                channel.write(pixels, columns.clone(), row, step);
            }
        }
        Ok(())
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
fn inside(offset: i64, length: usize, whole: u32) -> Range<usize> {
    let clamp = |position: i64| position.clamp(0, length as i64) as usize;
    let (start, end) = (clamp(-offset), clamp(i64::from(whole) - offset));
    start..end.max(start)
}

/// A channel of the network's input.
struct Channel {
    /// Its place among red, green and blue.
    source: usize,
    /// The normalised value of each level.
    levels: [f32; 256],
    /// The value beyond the border of the photo.
    black: f32,
}

impl Channel {
    fn new(preprocess: &Preprocess, channel: usize) -> Self {
        let source = if preprocess.color == Color::Bgr { 2 - channel } else { channel };
        let (mean, std) = (preprocess.mean[channel], preprocess.std[channel]);
        let levels = std::array::from_fn(|level| (level as f32 / 255.0 - mean) / std);
        Channel { source, levels, black: -mean / std }
    }

    /// Writes a row, whose elements are `step` apart: `pixels` in these columns, and black beside them.
    fn write(&self, pixels: &[[u8; 3]], columns: Range<usize>, row: &mut [f32], step: usize) {
        let level = |pixel: &[u8; 3]| self.levels[usize::from(pixel[self.source])];
        if step == 1 {
            row[..columns.start].fill(self.black);
            row[columns.end..].fill(self.black);
            row[columns].iter_mut().zip(pixels).for_each(|(to, pixel)| *to = level(pixel));
        } else {
            for (x, to) in row.iter_mut().step_by(step).enumerate() {
                let pixel = x.checked_sub(columns.start).and_then(|x| pixels.get(x));
                *to = pixel.map_or(self.black, level);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Photo, PixelFormat};
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
    fn the_crop_follows_torchvision() {
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
    fn a_frame_gives_the_bits_of_a_photo_with_its_pixels() {
        let (width, height, stride) = (37, 23, 4 * 37 + 5);
        let pixel = |x: u32, y: u32| [(7 * x + y) as u8, (x * y) as u8, (200 - 3 * y) as u8];
        let at = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let photo = at.clone().flat_map(|(x, y)| pixel(x, y)).collect();
        let photo = Photo::new(width, height, photo).unwrap();
        let mut bgra = vec![99; stride * height as usize];
        for (x, y) in at {
            let [r, g, b] = pixel(x, y);
            let start = stride * y as usize + 4 * x as usize;
            bgra[start..start + 4].copy_from_slice(&[b, g, r, 50]);
        }
        let frame = Frame::with_stride(PixelFormat::Bgra, width, height, stride, &bgra).unwrap();
        let plain = Preprocess::new([0.1, 0.2, 0.3], [0.5, 0.6, 0.7]);
        for preprocess in [
            plain.clone(),
            plain.clone().center_crop([40, 20]),
            plain.clone().color(Color::Bgr).resize(Resize::ShorterSide(17)).center_crop([16, 19]),
            plain.resize(Resize::Exact([150, 9])).interpolation(Interpolation::Bicubic),
        ] {
            let expected = preprocess.apply(&photo).unwrap();
            let found = preprocess.apply(frame).unwrap();
            assert_eq!(found.shape(), expected.shape());
            assert_eq!(found.bytes(), expected.bytes(), "{preprocess:?}");
            let nhwc = expected.to_layout(Layout::Nchw, Layout::Nhwc).unwrap();
            for (layout, expected) in [(Layout::Nchw, &expected), (Layout::Nhwc, &nhwc)] {
                let mut out = vec![f32::NAN; expected.len()];
                preprocess.apply_into(frame, layout, &mut out).unwrap();
                assert_eq!(bytemuck::cast_slice::<_, u8>(&out), expected.bytes(), "{layout}");
                let room = out.len() - 1;
                let e = preprocess.apply_into(frame, layout, &mut out[..room]).unwrap_err();
                assert_eq!(e.kind(), crate::ErrorKind::Input);
            }
        }
    }

    #[test]
    fn a_region_is_prepared_as_a_photo_of_its_own() {
        let photo = gradient(40, 30);
        let region = Frame::from(&photo).region(3, 5, 21, 17).unwrap();
        let preprocess = Preprocess::new([0.0; 3], [1.0; 3]).resize(Resize::ShorterSide(9));
        let alone = preprocess.apply(&region.to_photo()).unwrap();
        assert_eq!(preprocess.apply(region).unwrap().bytes(), alone.bytes());
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
