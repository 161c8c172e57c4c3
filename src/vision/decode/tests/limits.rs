//! The limits of pixels and memory.

use super::*;

fn refused(bytes: &[u8], options: &DecodeOptions) -> String {
    let e = options.decode(bytes).expect_err("an image beyond the limits was accepted");
    assert_eq!(e.kind(), ErrorKind::Input, "{e}");
    e.message().to_string()
}

/// Returns a file of 40 x 30 pixels in each format.
fn files() -> Vec<(ImageFormat, Vec<u8>)> {
    let formats = [
        ImageFormat::Jpeg,
        ImageFormat::Png,
        ImageFormat::Bmp,
        ImageFormat::WebP,
        ImageFormat::Gif,
        ImageFormat::Tiff,
    ];
    formats.map(|format| (format, encoded(pattern(40, 30), format))).to_vec()
}

#[test]
fn pixels_and_memory_are_limited_in_every_format() {
    for (format, bytes) in files() {
        let fits = DecodeOptions::default().max_pixels(1200);
        fits.decode(&bytes).unwrap_or_else(|e| panic!("{format:?}: {e}"));
        let few = DecodeOptions::default().max_pixels(1199);
        let message = refused(&bytes, &few);
        assert!(message.contains("more than the 1199 allowed"), "{format:?}: {message}");
        // Room for the file, but not for three bytes per pixel.
        let max_memory = bytes.len() as u64 + 3599;
        let message = refused(&bytes, &DecodeOptions::default().max_memory(max_memory));
        assert!(message.contains("bytes allowed"), "{format:?}: {message}");
        let max_memory = bytes.len() as u64 - 1;
        refused(&bytes, &DecodeOptions::default().max_memory(max_memory));
    }
}

#[test]
fn a_header_that_asks_for_too_much_is_refused_before_anything_is_decoded() {
    let mut bmp = encoded(RgbImage::new(2, 2), ImageFormat::Bmp);
    bmp[18..22].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
    bmp[22..26].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
    assert!(decode(&bmp).is_err());
    // The header of the frame states 65535 pixels per side, and no pixels follow.
    let mut gif =
        b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff\x2c\0\0\0\0\xff\xff\xff\xff\0".to_vec();
    gif.extend([2, 2, 0x4c, 0x01, 0, 0x3b]);
    refused(&gif, &DecodeOptions::default());
    let mut jpeg = CHURCH.to_vec();
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].fill(0xff);
    refused(&jpeg, &DecodeOptions::default());
    let tags: [(u16, &[u16]); 2] = [(258, &[8]), (262, &[1])];
    refused(&tiff(false, [65535, 65535], &tags, &[0; 9]), &DecodeOptions::default());
}

#[test]
fn scans_of_a_progressive_jpeg_are_limited_by_its_pixels() {
    use libjpeg_turbo_rs::{Encoder, PixelFormat};
    let image = pattern(40, 30);
    let encoder = Encoder::new(image.as_raw(), 40, 30, PixelFormat::Rgb).progressive(true);
    let bytes = encoder.encode().unwrap();
    let scans = bytes.windows(2).filter(|pair| *pair == [0xff, 0xda]).count() as u64;
    // An image with as many pixels as are allowed may have 16 scans.
    DecodeOptions::default().max_pixels(1200).decode(&bytes).unwrap();
    assert!((2..16).contains(&scans));
    // The last scan is repeated.
    let last = bytes.windows(2).rposition(|pair| pair == [0xff, 0xda]).unwrap();
    let scan = &bytes[last..bytes.len() - 2];
    for copies in [16, 1000] {
        let many = [&bytes[..bytes.len() - 2], &scan.repeat(copies), &[0xff, 0xd9]].concat();
        let options = DecodeOptions::default().max_pixels(1200);
        let message = refused(&many, &options);
        assert!(message.contains("scans"), "{message}");
    }
}
