//! A photo to draw on: antialiased lines and discs, and PNG files.

use std::path::Path;

use dyrelu::format::Replacement;
use dyrelu::vision::Photo;
use dyrelu::{Error, ErrorKind, Result};

pub type Colour = [u8; 3];

pub struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Canvas {
    pub fn of(photo: &Photo) -> Self {
        let (width, height) = (photo.width() as usize, photo.height() as usize);
        Canvas { width, height, pixels: photo.pixels().to_vec() }
    }

    /// Draws a line with round ends, of a width of twice `radius`. A line from a point to itself is a disc.
    pub fn line(
        &mut self,
        from: [f32; 2],
        to: [f32; 2],
        radius: f32,
        colour: Colour,
        opacity: f32,
    ) {
        let columns = range(from[0].min(to[0]) - radius, from[0].max(to[0]) + radius, self.width);
        let rows = range(from[1].min(to[1]) - radius, from[1].max(to[1]) + radius, self.height);
        let along = [to[0] - from[0], to[1] - from[1]];
        let squared = along[0] * along[0] + along[1] * along[1];
        for y in rows {
            for x in columns.clone() {
                let away = [x as f32 + 0.5 - from[0], y as f32 + 0.5 - from[1]];
                let share = match (away[0] * along[0] + away[1] * along[1]) / squared {
                    share if share > 0.0 => share.min(1.0),
                    // Also for a line without a length.
                    _ => 0.0,
                };
                let distance = (away[0] - share * along[0]).hypot(away[1] - share * along[1]);
                self.blend(x, y, colour, opacity * (radius + 0.5 - distance).clamp(0.0, 1.0));
            }
        }
    }

    /// Paints `colour` over the rectangle from `from` to `to`, with the opacity that `opacity` gives for a
    /// position as a share of the rectangle.
    pub fn shade(
        &mut self,
        from: [f32; 2],
        to: [f32; 2],
        colour: Colour,
        opacity: impl Fn(f32, f32) -> f32,
    ) {
        for y in range(from[1], to[1], self.height) {
            for x in range(from[0], to[0], self.width) {
                let right = (x as f32 + 0.5 - from[0]) / (to[0] - from[0]);
                let down = (y as f32 + 0.5 - from[1]) / (to[1] - from[1]);
                if (0.0..1.0).contains(&right) && (0.0..1.0).contains(&down) {
                    self.blend(x, y, colour, opacity(right, down));
                }
            }
        }
    }

    fn blend(&mut self, x: usize, y: usize, colour: Colour, opacity: f32) {
        let at = 3 * (y * self.width + x);
        for (level, target) in self.pixels[at..at + 3].iter_mut().zip(colour) {
            let (from, to) = (f32::from(*level), f32::from(target));
            *level = (from + (to - from) * opacity.clamp(0.0, 1.0)).round() as u8;
        }
    }

    /// Writes the picture as PNG.
    pub fn write(&self, path: &Path) -> Result<()> {
        let failed = |e: png::EncodingError| {
            Error::new(ErrorKind::Io, format!("the picture cannot be written: {e}")).in_file(path)
        };
        let mut file = Replacement::of(path)?;
        let mut encoder = png::Encoder::new(&mut file, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().map_err(failed)?;
        writer.write_image_data(&self.pixels).map_err(failed)?;
        writer.finish().map_err(failed)?;
        file.keep()
    }
}

/// The pixels between two positions, of a side with `length` pixels. There are none if a position is NaN.
fn range(from: f32, to: f32, length: usize) -> std::ops::Range<usize> {
    let limit = |position: f32| position.clamp(0.0, length as f32) as usize;
    limit(from.floor())..limit(to.ceil() + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHITE: Colour = [255; 3];

    fn black() -> Canvas {
        Canvas::of(&Photo::new(12, 9, vec![0; 3 * 12 * 9]).unwrap())
    }

    #[test]
    fn lines_are_where_they_should_be() {
        let mut canvas = black();
        canvas.line([2.0, 4.5], [9.0, 4.5], 1.0, WHITE, 1.0);
        let level = |x: usize, y: usize| canvas.pixels[3 * (y * 12 + x)];
        assert_eq!((level(5, 4), level(2, 4), level(5, 7), level(0, 4)), (255, 255, 0, 0));
        assert_eq!((level(5, 3), level(5, 5)), (128, 128));
    }

    #[test]
    fn positions_far_away_draw_nothing() {
        let mut canvas = black();
        for x in [f32::NAN, f32::INFINITY, 1e30, -1e30] {
            canvas.line([x, 3.0], [x, 3.0], 2.0, WHITE, 1.0);
            canvas.line([x, 300.0], [5.0, 300.0], 2.0, WHITE, 1.0);
            canvas.shade([x, 0.0], [x + 1.0, 5.0], WHITE, |_, _| 1.0);
        }
        assert!(canvas.pixels.iter().all(|&level| level == 0));
    }
}
