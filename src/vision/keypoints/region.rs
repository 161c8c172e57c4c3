//! The part of a photo that a network sees.

use serde::{Deserialize, Serialize};

use super::super::{Photo, Preprocess};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// A rectangle in a photo, in pixels: the box around one person. The photo's top left corner is (0, 0), so
/// that the middle of its first pixel is (0.5, 0.5).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Region {
    /// The left side.
    pub x: f32,
    /// The top side.
    pub y: f32,
    /// The distance from the left side to the right.
    pub width: f32,
    /// The distance from the top side to the bottom.
    pub height: f32,
}

impl Region {
    /// Returns the whole of a photo.
    pub fn whole(photo: &Photo) -> Self {
        Region { x: 0.0, y: 0.0, width: photo.width() as f32, height: photo.height() as f32 }
    }

    /// Checks that there is some of the photo in the rectangle.
    pub(super) fn check(self, photo: &Photo) -> Result<()> {
        let Region { x, y, width, height } = self;
        let (columns, rows) = (photo.width(), photo.height());
        if ![x, y, width, height].iter().all(|number| number.is_finite())
            || width <= 0.0
            || height <= 0.0
        {
            return Err(Error::input(format!(
                "the box {x},{y},{width},{height} is empty; expected x,y,width,height in pixels, with a \
                 width and a height above 0"
            )));
        }
        let is_inside =
            x < columns as f32 && y < rows as f32 && x + width > 0.0 && y + height > 0.0;
        if !is_inside {
            return Err(Error::input(format!(
                "the box {x},{y},{width},{height} lies outside of the photo, which has {columns} x {rows} \
                 pixels"
            )));
        }
        Ok(())
    }

    /// Returns the rectangle around the same centre that has the proportion of `size` (height and width),
    /// covers this one, and is then `scale` times as large.
    pub(super) fn enlarged(self, size: [u32; 2], scale: f32) -> Self {
        let proportion = size[1] as f32 / size[0] as f32;
        let width = self.width.max(self.height * proportion) * scale;
        let height = width / proportion;
        let (x, y) = (self.x + self.width / 2.0, self.y + self.height / 2.0);
        Region { x: x - width / 2.0, y: y - height / 2.0, width, height }
    }

    /// Returns this rectangle of a photo as a network takes it: `[1, 3, height, width]`, sampled bilinearly
    /// and black outside of the photo. A mirrored one has left and right exchanged.
    pub(super) fn cut(
        self,
        photo: &Photo,
        preprocess: &Preprocess,
        size: [u32; 2],
        mirrored: bool,
    ) -> Result<Tensor> {
        let columns = Samples::along(self.x, self.width, size[1]);
        let rows = Samples::along(self.y, self.height, size[0]);
        preprocess.normalise(size, |x, y| {
            let column = if mirrored { size[1] - 1 - x } else { x };
            bilinear(photo, columns.at(column), rows.at(y))
        })
    }
}

/// The positions of evenly spaced samples along one side of a rectangle.
struct Samples {
    start: f64,
    distance: f64,
}

impl Samples {
    fn along(start: f32, length: f32, count: u32) -> Self {
        Samples { start: start.into(), distance: f64::from(length) / f64::from(count) }
    }

    /// Returns the position of a sample, as an index of pixels and the share of the next pixel.
    fn at(&self, sample: u32) -> (i64, f32) {
        let position = self.start + (f64::from(sample) + 0.5) * self.distance - 0.5;
        // A conversion of a position outside of the range saturates, and all pixels there are black.
        (position.floor() as i64, (position - position.floor()) as f32)
    }
}

fn bilinear(photo: &Photo, (x, right): (i64, f32), (y, below): (i64, f32)) -> [f32; 3] {
    let pixel = |x: i64, y: i64| {
        let inside = u32::try_from(x).ok().zip(u32::try_from(y).ok());
        let pixel = inside.and_then(|(x, y)| photo.pixel(x, y));
        pixel.map_or([0.0; 3], |levels| levels.map(f32::from))
    };
    let (x2, y2) = (x.saturating_add(1), y.saturating_add(1));
    let corners = [pixel(x, y), pixel(x2, y), pixel(x, y2), pixel(x2, y2)];
    let level = |channel: usize| {
        let [a, b, c, d] = corners.map(|corner| corner[channel]);
        let (top, bottom) = (a + (b - a) * right, c + (d - c) * right);
        top + (bottom - top) * below
    };
    [level(0), level(1), level(2)]
}
