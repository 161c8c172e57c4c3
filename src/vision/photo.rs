//! A decoded photo.

use crate::error::{Error, Result};

/// RGB pixels with 8 bits per channel: a decoded photo, or a frame of a video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Photo {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

impl Photo {
    /// Creates a photo of `pixels`: red, green and blue of each pixel, row by row from the top left.
    ///
    /// # Errors
    ///
    /// [`Input`](crate::ErrorKind::Input) if a side is 0 or the length of `pixels` is not
    /// `3 * width * height`.
    pub fn new(width: u32, height: u32, pixels: Vec<u8>) -> Result<Self> {
        let expected = 3 * u64::from(width) * u64::from(height);
        if expected == 0 || expected != pixels.len() as u64 {
            return Err(Error::input(format!(
                "a photo of {width} x {height} pixels takes {expected} bytes, found {}",
                pixels.len()
            )));
        }
        Ok(Photo { width, height, pixels })
    }

    /// Returns the number of pixels in a row.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Returns the number of rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Returns all pixels, as [`new`](Self::new) takes them.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Returns red, green and blue of the pixel in column `x` of row `y`, `None` outside of the photo.
    pub fn pixel(&self, x: u32, y: u32) -> Option<[u8; 3]> {
        if x >= self.width || y >= self.height {
            return None;
        }
        let at = 3 * (y as usize * self.width as usize + x as usize);
        self.pixels.get(at..at + 3)?.try_into().ok()
    }

    /// Turns the photo upright. `orientation` is EXIF's number from 1 to 8; other numbers change nothing.
    pub(super) fn upright(self, orientation: u32) -> Photo {
        if !(2..=8).contains(&orientation) {
            return self;
        }
        let (width, height) = (self.width as usize, self.height as usize);
        let (right, bottom) = (width - 1, height - 1);
        let turned = orientation >= 5;
        let (new_width, new_height) = if turned { (height, width) } else { (width, height) };
        let mut pixels = Vec::with_capacity(self.pixels.len());
        for y in 0..new_height {
            for x in 0..new_width {
                let (from_x, from_y) = match orientation {
                    2 => (right - x, y),
                    3 => (right - x, bottom - y),
                    4 => (x, bottom - y),
                    5 => (y, x),
                    6 => (y, bottom - x),
                    7 => (right - y, bottom - x),
                    _ => (right - y, x),
                };
                let at = 3 * (from_y * width + from_x);
                pixels.extend_from_slice(&self.pixels[at..at + 3]);
            }
        }
        Photo { width: new_width as u32, height: new_height as u32, pixels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_orientation_puts_the_first_row_where_exif_says() {
        // 3 x 2, numbered in reading order.
        let photo = Photo::new(3, 2, (0..6).flat_map(|i| [i; 3]).collect()).unwrap();
        for (orientation, rows) in [
            (1, vec![vec![0, 1, 2], vec![3, 4, 5]]),
            (2, vec![vec![2, 1, 0], vec![5, 4, 3]]),
            (3, vec![vec![5, 4, 3], vec![2, 1, 0]]),
            (4, vec![vec![3, 4, 5], vec![0, 1, 2]]),
            (5, vec![vec![0, 3], vec![1, 4], vec![2, 5]]),
            (6, vec![vec![3, 0], vec![4, 1], vec![5, 2]]),
            (7, vec![vec![5, 2], vec![4, 1], vec![3, 0]]),
            (8, vec![vec![2, 5], vec![1, 4], vec![0, 3]]),
            (9, vec![vec![0, 1, 2], vec![3, 4, 5]]),
        ] {
            let upright = photo.clone().upright(orientation);
            let found: Vec<Vec<u8>> = (0..upright.height())
                .map(|y| (0..upright.width()).map(|x| upright.pixel(x, y).unwrap()[0]).collect())
                .collect();
            assert_eq!(found, rows, "orientation {orientation}");
        }
    }

    #[test]
    fn pixels_of_another_number_are_refused() {
        assert!(Photo::new(2, 2, vec![0; 11]).is_err());
        assert!(Photo::new(0, 2, vec![]).is_err());
        assert_eq!(Photo::new(1, 1, vec![1, 2, 3]).unwrap().pixel(1, 0), None);
    }
}
