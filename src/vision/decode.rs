//! Image files to RGB pixels.

use std::io::{BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits, RgbImage};

use crate::error::{Error, Result};

/// The longest side of an image that is decoded, in pixels.
const MAX_SIDE: u32 = 1 << 15;
/// The memory that decoding an image may take, in bytes.
const MAX_MEMORY: u64 = 1 << 30;

/// Decodes the image in the file at `path`, whatever its name ends in.
///
/// # Errors
/// `Io` where the file cannot be read, `Format` where it is no image or a damaged one.
pub fn load(path: impl AsRef<Path>) -> Result<RgbImage> {
    let path = path.as_ref();
    let mut file = crate::format::open_regular(path)?;
    let mut start = Vec::new();
    file.by_ref().take(16).read_to_end(&mut start).map_err(|e| Error::io(path, e))?;
    if start.is_empty() {
        return Err(Error::format("the file is empty").in_file(path));
    }
    file.seek(SeekFrom::Start(0)).map_err(|e| Error::io(path, e))?;
    decode_from(BufReader::new(file)).map_err(|e| e.in_file(path))
}

/// Decodes the image in `bytes`: JPEG, PNG, WebP, BMP, GIF or TIFF.
///
/// As Pillow's `convert("RGB")` does, transparency is dropped, grey becomes three equal channels
/// and 16 bits become 8. The orientation that a camera noted is applied.
///
/// # Errors
/// `Format` where the bytes are no image or a damaged one.
pub fn decode(bytes: &[u8]) -> Result<RgbImage> {
    decode_from(Cursor::new(bytes))
}

fn decode_from(source: impl BufRead + Seek) -> Result<RgbImage> {
    let damaged =
        |e: image::ImageError| Error::format(format!("cannot decode the image: {e}")).because(e);
    let reader = ImageReader::new(source)
        .with_guessed_format()
        .map_err(|e| Error::format(format!("cannot read the image: {e}")))?;
    if reader.format().is_none() {
        return Err(Error::format(
            "this is no image of a known kind (JPEG, PNG, WebP, BMP, GIF, TIFF)",
        ));
    }
    let mut reader = reader;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_MEMORY);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    image.apply_orientation(orientation);
    if image.width() == 0 || image.height() == 0 {
        return Err(Error::format("the image has no pixels"));
    }
    Ok(image.into_rgb8())
}

#[cfg(test)]
mod tests {
    use image::{ImageBuffer, ImageFormat, Luma, Rgb, Rgba};

    use super::*;

    fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn alpha_is_dropped_grey_is_spread_and_sixteen_bits_are_narrowed() {
        let rgba = ImageBuffer::from_pixel(3, 2, Rgba([10u8, 20, 30, 0]));
        let pixels = decode(&encoded(rgba, ImageFormat::Png)).unwrap();
        assert_eq!(pixels.get_pixel(2, 1).0, [10, 20, 30]);
        let grey = ImageBuffer::from_pixel(3, 2, Luma([77u8]));
        assert_eq!(decode(&encoded(grey, ImageFormat::Png)).unwrap().get_pixel(0, 0).0, [77; 3]);
        let deep = ImageBuffer::from_pixel(3, 2, Rgb([0u16, 32896, 65535]));
        let pixels = decode(&encoded(deep, ImageFormat::Png)).unwrap();
        assert_eq!(pixels.get_pixel(0, 0).0, [0, 128, 255]);
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let mut jpeg = encoded(RgbImage::new(64, 64), ImageFormat::Jpeg);
        jpeg.truncate(jpeg.len() / 3);
        for (what, bytes) in
            [("text", b"hello, world".to_vec()), ("truncated", jpeg), ("empty", vec![])]
        {
            assert!(decode(&bytes).is_err(), "{what} was accepted");
        }
    }

    #[test]
    fn a_huge_header_allocates_nothing() {
        let mut bmp = encoded(RgbImage::new(2, 2), ImageFormat::Bmp);
        bmp[18..22].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
        bmp[22..26].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
        assert!(decode(&bmp).is_err());
    }
}
