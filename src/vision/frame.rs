//! Frames: pixels that belong to the caller.

use std::fmt;
use std::ops::Range;

use super::photo::Photo;
use super::yuv::{Converter, YuvEncoding};
use crate::error::{Error, Result};

/// How the pixels of a [`Frame`] lie in memory, with 8 bits per channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PixelFormat {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red: the order of OpenCV.
    Bgr,
    /// Red, green, blue, and a byte that is ignored.
    Rgba,
    /// Blue, green, red, and a byte that is ignored.
    Bgra,
    /// A level of grey, which stands for red, green and blue.
    Gray,
    /// A plane of luma, one byte per pixel, and below it a plane of chroma: two bytes, blue difference and
    /// red difference, per block of 2 x 2 pixels. Cameras and video decoders give it. An odd side has half
    /// a block at its end.
    Nv12,
}

impl PixelFormat {
    /// Returns the bytes of a pixel in the first plane.
    fn bytes(self) -> usize {
        match self {
            PixelFormat::Rgb | PixelFormat::Bgr => 3,
            PixelFormat::Rgba | PixelFormat::Bgra => 4,
            PixelFormat::Gray | PixelFormat::Nv12 => 1,
        }
    }
}

/// An image in memory of the caller: a frame of a camera or a video, or a [`Photo`]. Nothing is copied.
///
/// # Examples
///
/// A frame of a camera that gives BGR, with rows of 1024 bytes, becomes the second image of a batch:
///
/// ```
/// use dyrelu::Layout;
/// use dyrelu::vision::{Frame, PixelFormat, Preprocess};
///
/// let memory = vec![128; 1024 * 240];
/// let frame = Frame::with_stride(PixelFormat::Bgr, 320, 240, 1024, &memory)?;
///
/// let preprocess = Preprocess::imagenet();
/// let [height, width] = preprocess.size_for(frame.width(), frame.height())?;
/// let image = 3 * height as usize * width as usize;
/// let mut batch = vec![0.0; 4 * image];
/// preprocess.apply_into(frame, Layout::Nchw, &mut batch[image..2 * image])?;
/// # Ok::<(), dyrelu::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    format: PixelFormat,
    encoding: YuvEncoding,
    pixels: Plane<'a>,
    /// Of NV12, otherwise empty.
    chroma: Plane<'a>,
    /// The first column and the first row of the region.
    left: usize,
    top: usize,
    /// The size of the region.
    width: u32,
    height: u32,
}

/// Rows of bytes.
#[derive(Clone, Copy)]
struct Plane<'a> {
    bytes: &'a [u8],
    /// The distance from the start of a row to the start of the next, in bytes.
    stride: usize,
}

impl<'a> Plane<'a> {
    const EMPTY: Self = Plane { bytes: &[], stride: 0 };

    fn row(&self, y: usize, bytes: Range<usize>) -> &'a [u8] {
        &self.bytes[y * self.stride..][bytes]
    }
}

impl<'a> Frame<'a> {
    /// Creates a frame of `width` x `height` pixels, row by row from the top left, without bytes between
    /// the rows. In NV12, rows have an even number of bytes.
    ///
    /// # Errors
    ///
    /// [`Input`](crate::ErrorKind::Input) if a side is 0 or `pixels` has another length.
    pub fn new(format: PixelFormat, width: u32, height: u32, pixels: &'a [u8]) -> Result<Self> {
        let stride = match format {
            PixelFormat::Nv12 => (width as usize).next_multiple_of(2),
            _ => (width as usize).saturating_mul(format.bytes()),
        };
        let needed = bytes_needed(format, width, height, stride)?;
        if pixels.len() != needed {
            return Err(Error::input(format!(
                "a frame of {width} x {height} pixels in {format:?} takes {needed} bytes, found {}; rows \
                 with padding need a stride",
                pixels.len()
            )));
        }
        Self::with_stride(format, width, height, stride, pixels)
    }

    /// Creates a frame whose rows begin every `stride` bytes. In NV12 this holds for both planes, of which
    /// the second begins `stride * height` bytes after the first.
    ///
    /// # Errors
    ///
    /// [`Input`](crate::ErrorKind::Input) if a side is 0, a row is longer than `stride`, or `pixels` is too
    /// short. More bytes than needed are accepted.
    pub fn with_stride(
        format: PixelFormat,
        width: u32,
        height: u32,
        stride: usize,
        pixels: &'a [u8],
    ) -> Result<Self> {
        let needed = bytes_needed(format, width, height, stride)?;
        if pixels.len() < needed {
            return Err(Error::input(format!(
                "a frame of {width} x {height} pixels in {format:?} with a stride of {stride} takes {needed} \
                 bytes, found {}",
                pixels.len()
            )));
        }
        let chroma = match format {
            PixelFormat::Nv12 => Plane { bytes: &pixels[stride * height as usize..], stride },
            _ => Plane::EMPTY,
        };
        let pixels = Plane { bytes: pixels, stride };
        Ok(Self::whole(format, width, height, pixels, chroma))
    }

    /// Creates a frame in NV12 of two planes, each with the distance between its rows in bytes.
    ///
    /// # Errors
    ///
    /// [`Input`](crate::ErrorKind::Input) if a side is 0, a row is longer than its stride, or a plane is too
    /// short.
    pub fn nv12(
        width: u32,
        height: u32,
        (luma, luma_stride): (&'a [u8], usize),
        (chroma, chroma_stride): (&'a [u8], usize),
    ) -> Result<Self> {
        let blocks = |side: u32| side.div_ceil(2) as usize;
        for (name, bytes, stride, row, rows) in [
            ("luma", luma, luma_stride, width as usize, height as usize),
            ("chroma", chroma, chroma_stride, 2 * blocks(width), blocks(height)),
        ] {
            let needed = plane_bytes(row, rows, stride)?;
            if bytes.len() < needed {
                return Err(Error::input(format!(
                    "the {name} of a frame of {width} x {height} pixels with a stride of {stride} takes \
                     {needed} bytes, found {}",
                    bytes.len()
                )));
            }
        }
        let luma = Plane { bytes: luma, stride: luma_stride };
        let chroma = Plane { bytes: chroma, stride: chroma_stride };
        Ok(Self::whole(PixelFormat::Nv12, width, height, luma, chroma))
    }

    fn whole(
        format: PixelFormat,
        width: u32,
        height: u32,
        pixels: Plane<'a>,
        chroma: Plane<'a>,
    ) -> Self {
        let encoding = YuvEncoding::default();
        Frame { format, encoding, pixels, chroma, left: 0, top: 0, width, height }
    }

    /// Returns the part of the frame that is `width` x `height` pixels large and begins in column `x` and
    /// row `y`.
    ///
    /// # Errors
    ///
    /// [`Input`](crate::ErrorKind::Input) if a side is 0 or the part extends beyond the frame.
    pub fn region(mut self, x: u32, y: u32, width: u32, height: u32) -> Result<Self> {
        let fits = |start: u32, size: u32, whole: u32| {
            size > 0 && start.checked_add(size).is_some_and(|end| end <= whole)
        };
        if !fits(x, width, self.width) || !fits(y, height, self.height) {
            return Err(Error::input(format!(
                "a region of {width} x {height} pixels at {x},{y} does not lie in a frame of {} x {}",
                self.width, self.height
            )));
        }
        self.left += x as usize;
        self.top += y as usize;
        (self.width, self.height) = (width, height);
        Ok(self)
    }

    /// Sets what luma and chroma mean. Formats other than NV12 have neither.
    pub fn encoding(mut self, encoding: YuvEncoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// Returns the number of pixels in a row.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Returns the number of rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Returns a copy of the pixels.
    pub fn to_photo(&self) -> Photo {
        let row = 3 * self.width as usize;
        let mut pixels = vec![0; row * self.height as usize];
        for (y, rgb) in pixels.chunks_exact_mut(row).enumerate() {
            self.copy_row(y, 0, rgb);
        }
        Photo::new(self.width, self.height, pixels).expect("a frame has pixels")
    }

    /// Returns red, green and blue of each pixel of some columns of a row, in `scratch` unless they lie so in
    /// the frame.
    pub(super) fn row<'s>(
        &self,
        y: usize,
        columns: Range<usize>,
        scratch: &'s mut Vec<u8>,
    ) -> &'s [u8]
    where
        'a: 's,
    {
        if self.format == PixelFormat::Rgb {
            return self.stored(y, columns.start, columns.len());
        }
        scratch.resize(3 * columns.len(), 0);
        self.copy_row(y, columns.start, scratch);
        scratch
    }

    /// Writes red, green and blue of each pixel of a row from column `x` on, until `rgb` is full.
    pub(super) fn copy_row(&self, y: usize, x: usize, rgb: &mut [u8]) {
        let stored = self.stored(y, x, rgb.len() / 3);
        let (pixels, _) = rgb.as_chunks_mut::<3>();
        match self.format {
            PixelFormat::Rgb => rgb.copy_from_slice(stored),
            PixelFormat::Bgr => {
                let stored = stored.as_chunks::<3>().0;
                pixels.iter_mut().zip(stored).for_each(|(to, &[b, g, r])| *to = [r, g, b]);
            }
            PixelFormat::Rgba => {
                let stored = stored.as_chunks::<4>().0;
                pixels.iter_mut().zip(stored).for_each(|(to, &[r, g, b, _])| *to = [r, g, b]);
            }
            PixelFormat::Bgra => {
                let stored = stored.as_chunks::<4>().0;
                pixels.iter_mut().zip(stored).for_each(|(to, &[b, g, r, _])| *to = [r, g, b]);
            }
            PixelFormat::Gray => pixels.iter_mut().zip(stored).for_each(|(to, &y)| *to = [y; 3]),
            PixelFormat::Nv12 => {
                let first = self.left + x;
                let blocks = first / 2..(first + stored.len()).div_ceil(2);
                let chroma = self.chroma.row((self.top + y) / 2, 2 * blocks.start..2 * blocks.end);
                let chroma = chroma.as_chunks::<2>().0;
                let converter = Converter::new(self.encoding);
                for (i, (to, &luma)) in pixels.iter_mut().zip(stored).enumerate() {
                    *to = converter.rgb(luma, chroma[(first % 2 + i) / 2]);
                }
            }
        }
    }

    /// Returns the bytes of the first plane for some pixels of a row.
    fn stored(&self, y: usize, x: usize, pixels: usize) -> &'a [u8] {
        let bytes = self.format.bytes();
        let first = (self.left + x) * bytes;
        self.pixels.row(self.top + y, first..first + pixels * bytes)
    }
}

/// Returns the bytes from the first of a plane to the last.
fn plane_bytes(row: usize, rows: usize, stride: usize) -> Result<usize> {
    if row == 0 || rows == 0 {
        return Err(Error::input("a frame needs at least one pixel"));
    }
    if stride < row {
        return Err(Error::input(format!(
            "a stride of {stride} bytes is too small for rows of {row}"
        )));
    }
    let bytes = (rows - 1).checked_mul(stride).and_then(|bytes| bytes.checked_add(row));
    bytes.ok_or_else(|| Error::input("the frame is larger than the address space"))
}

/// Returns the bytes of a frame with both planes in one piece of memory.
fn bytes_needed(format: PixelFormat, width: u32, height: u32, stride: usize) -> Result<usize> {
    let (width, height) = (width as usize, height as usize);
    if format != PixelFormat::Nv12 {
        return plane_bytes(width.saturating_mul(format.bytes()), height, stride);
    }
    plane_bytes(width, height, stride)?;
    let chroma = plane_bytes(width.next_multiple_of(2), height.div_ceil(2), stride)?;
    let total = stride.checked_mul(height).and_then(|luma| luma.checked_add(chroma));
    total.ok_or_else(|| Error::input("the frame is larger than the address space"))
}

impl<'a> From<&'a Photo> for Frame<'a> {
    fn from(photo: &'a Photo) -> Self {
        let pixels = Plane { bytes: photo.pixels(), stride: 3 * photo.width() as usize };
        Frame::whole(PixelFormat::Rgb, photo.width(), photo.height(), pixels, Plane::EMPTY)
    }
}

impl<'a> From<&'a Frame<'_>> for Frame<'a> {
    fn from(frame: &'a Frame<'_>) -> Self {
        *frame
    }
}

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut frame = f.debug_struct("Frame");
        let size = frame.field("width", &self.width).field("height", &self.height);
        size.field("format", &self.format).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    /// Pixels without a pattern that a wrong offset could repeat.
    fn photo(width: u32, height: u32) -> Photo {
        let mut state = 1u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let pixels = (0..3 * width * height).map(|_| noise()).collect();
        Photo::new(width, height, pixels).unwrap()
    }

    /// The pixels of a photo in another format, with rows of `stride` bytes that end in rubbish.
    fn stored(photo: &Photo, format: PixelFormat, stride: usize) -> Vec<u8> {
        let rows = photo.pixels().chunks_exact(3 * photo.width() as usize);
        let bytes = rows.flat_map(|row| {
            let pixels = row.chunks_exact(3).flat_map(move |pixel| match (format, pixel) {
                (PixelFormat::Rgb, &[r, g, b]) => vec![r, g, b],
                (PixelFormat::Bgr, &[r, g, b]) => vec![b, g, r],
                (PixelFormat::Rgba, &[r, g, b]) => vec![r, g, b, 77],
                (PixelFormat::Bgra, &[r, g, b]) => vec![b, g, r, 78],
                _ => panic!("{format:?} has other pixels"),
            });
            let mut row: Vec<u8> = pixels.collect();
            assert!(row.len() <= stride);
            row.resize(stride, 0xA5);
            row
        });
        bytes.collect()
    }

    const FORMATS: [PixelFormat; 4] =
        [PixelFormat::Rgb, PixelFormat::Bgr, PixelFormat::Rgba, PixelFormat::Bgra];

    #[test]
    fn every_order_of_channels_gives_the_same_pixels() {
        for (width, height) in [(1, 1), (5, 3), (16, 9)] {
            let photo = photo(width, height);
            for format in FORMATS {
                let row = width as usize * format.bytes();
                let tight = stored(&photo, format, row);
                let frame = Frame::new(format, width, height, &tight).unwrap();
                assert_eq!(frame.to_photo(), photo, "{format:?}");
                let padded = stored(&photo, format, row + 7);
                // The last row need not have its padding.
                let padded = &padded[..padded.len() - 7];
                let frame = Frame::with_stride(format, width, height, row + 7, padded).unwrap();
                assert_eq!(frame.to_photo(), photo, "{format:?} with a stride");
            }
        }
    }

    #[test]
    fn a_region_is_a_part_of_the_pixels() {
        let photo = photo(11, 7);
        for format in FORMATS {
            let bytes = stored(&photo, format, 64);
            let frame = Frame::with_stride(format, 11, 7, 64, &bytes).unwrap();
            let region = frame.region(2, 1, 8, 5).unwrap().region(1, 2, 3, 3).unwrap();
            let found = region.to_photo();
            for (x, y) in (0..3).flat_map(|x| (0..3).map(move |y| (x, y))) {
                assert_eq!(found.pixel(x, y), photo.pixel(x + 3, y + 3), "{format:?} {x},{y}");
            }
            for (x, y, width, height) in
                [(0, 0, 12, 7), (10, 0, 2, 1), (0, 6, 1, 2), (3, 3, 0, 1), (u32::MAX, 0, 2, 2)]
            {
                let e = frame.region(x, y, width, height).unwrap_err();
                assert_eq!(e.kind(), ErrorKind::Input);
            }
        }
    }

    #[test]
    fn a_level_of_grey_is_all_three_channels() {
        let frame = Frame::with_stride(PixelFormat::Gray, 2, 2, 3, &[1, 2, 99, 3, 4]).unwrap();
        assert_eq!(frame.to_photo().pixels(), [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]);
    }

    /// Planes of luma and chroma for each pixel as a photo would have them.
    fn nv12_pixel(luma: &[u8], chroma: &[u8], [width, x, y]: [usize; 3]) -> [u8; 3] {
        let at = (y / 2) * width.next_multiple_of(2) + 2 * (x / 2);
        let converter = Converter::new(YuvEncoding::default());
        converter.rgb(luma[y * width.next_multiple_of(2) + x], [chroma[at], chroma[at + 1]])
    }

    #[test]
    fn chroma_belongs_to_blocks_of_the_whole_frame() {
        for (width, height) in [(1usize, 1usize), (4, 4), (7, 5), (6, 3)] {
            let stride = width.next_multiple_of(2);
            let noise = photo(stride as u32, 2 * height as u32);
            let luma = &noise.pixels()[..stride * height];
            let chroma = &noise.pixels()[stride * height..][..stride * height.div_ceil(2)];
            let memory = [luma, chroma].concat();
            let (w, h) = (width as u32, height as u32);
            let one = Frame::new(PixelFormat::Nv12, w, h, &memory).unwrap();
            let two = Frame::nv12(w, h, (luma, stride), (chroma, stride)).unwrap();
            for frame in [one, two] {
                for (x, y) in (0..w).flat_map(|x| (0..h).map(move |y| (x, y))) {
                    let expected = nv12_pixel(luma, chroma, [width, x as usize, y as usize]);
                    assert_eq!(frame.to_photo().pixel(x, y), Some(expected), "{x},{y}");
                    let rest = frame.region(x, y, w - x, h - y).unwrap().to_photo();
                    let whole = frame.to_photo();
                    let same = (0..w - x).all(|i| rest.pixel(i, 0) == whole.pixel(x + i, y));
                    assert!(same, "from {x},{y}");
                }
            }
        }
    }

    #[test]
    fn memory_of_the_wrong_size_is_refused() {
        let memory = [0; 100];
        let refused = |frame: Result<Frame>| {
            let e = frame.unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Input, "{e}");
        };
        for (format, bytes) in [
            (PixelFormat::Rgb, 3 * 15),
            (PixelFormat::Bgra, 4 * 15),
            (PixelFormat::Gray, 15),
            (PixelFormat::Nv12, 3 * 6 + 2 * 6),
        ] {
            assert!(Frame::new(format, 5, 3, &memory[..bytes]).is_ok(), "{format:?}");
            refused(Frame::new(format, 5, 3, &memory[..bytes - 1]));
            refused(Frame::new(format, 5, 3, &memory[..bytes + 1]));
            refused(Frame::with_stride(format, 5, 3, 4, &memory));
            refused(Frame::with_stride(format, 0, 3, 20, &memory));
            refused(Frame::with_stride(format, 5, 0, 20, &memory));
            refused(Frame::with_stride(format, u32::MAX, u32::MAX, usize::MAX, &memory));
        }
        refused(Frame::nv12(5, 3, (&memory[..14], 5), (&memory, 6)));
        refused(Frame::nv12(5, 3, (&memory, 5), (&memory[..11], 6)));
        refused(Frame::nv12(5, 3, (&memory, 5), (&memory, 5)));
        assert!(Frame::nv12(5, 3, (&memory[..15], 5), (&memory[..12], 6)).is_ok());
    }
}
