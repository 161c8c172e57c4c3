//! The kinds of images that each format has.

use image::{ImageBuffer, Luma, LumaA, Rgba};
use libjpeg_turbo_rs::{Encoder, PixelFormat, Subsampling};

use super::*;

fn pixels(bytes: &[u8]) -> Vec<[u8; 3]> {
    decode(bytes).unwrap().pixels().as_chunks().0.to_vec()
}

/// Returns pixels whose three channels are equal.
fn greys(levels: &[u8]) -> Vec<[u8; 3]> {
    levels.iter().map(|&level| [level; 3]).collect()
}

#[test]
fn alpha_is_dropped_grey_is_spread_and_sixteen_bits_are_narrowed() {
    let rgba = ImageBuffer::from_pixel(3, 2, Rgba([10u8, 20, 30, 0]));
    assert_eq!(pixels(&encoded(rgba, ImageFormat::Png)), [[10, 20, 30]; 6]);
    let grey = ImageBuffer::from_pixel(3, 2, Luma([77u8]));
    assert_eq!(pixels(&encoded(grey, ImageFormat::Png)), [[77; 3]; 6]);
    let clear = ImageBuffer::from_pixel(3, 2, LumaA([77u8, 3]));
    assert_eq!(pixels(&encoded(clear, ImageFormat::Png)), [[77; 3]; 6]);
    let deep = ImageBuffer::from_pixel(3, 2, Rgb([0u16, 32896, 65535]));
    assert_eq!(pixels(&encoded(deep, ImageFormat::Png)), [[0, 128, 255]; 6]);
}

#[test]
fn formats_without_loss_give_what_was_written() {
    let image = pattern(19, 13);
    for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP, ImageFormat::Tiff] {
        let photo = decode(&encoded(image.clone(), format)).unwrap();
        assert_eq!((photo.width(), photo.height()), (19, 13), "{format:?}");
        assert_eq!(photo.pixels(), image.as_raw(), "{format:?}");
    }
    let transparent = DynamicImage::from(image.clone()).into_rgba8();
    for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP, ImageFormat::Tiff] {
        let photo = decode(&encoded(transparent.clone(), format)).unwrap();
        assert_eq!(photo.pixels(), image.as_raw(), "{format:?} with alpha");
    }
    let grey = DynamicImage::from(image).into_luma8();
    for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff] {
        let photo = decode(&encoded(grey.clone(), format)).unwrap();
        let expected = greys(grey.as_raw());
        assert_eq!(photo.pixels().as_chunks().0, expected, "{format:?} in greys");
    }
}

#[test]
fn arithmetic_codes_give_what_huffman_codes_give() {
    let image = pattern(35, 22);
    for progressive in [false, true] {
        let [huffman, arithmetic] = [false, true].map(|arithmetic| {
            let encoder = Encoder::new(image.as_raw(), 35, 22, PixelFormat::Rgb);
            let encoder = encoder.subsampling(Subsampling::S420).progressive(progressive);
            decode(&encoder.arithmetic(arithmetic).encode().unwrap()).unwrap()
        });
        assert_eq!(huffman, arithmetic);
    }
}

#[test]
fn the_orientation_may_be_a_long_number() {
    let upright = decode(CHURCH).unwrap();
    for (kind, value) in [(3u16, [6, 0, 0, 0]), (4, [6, 0, 0, 0])] {
        let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01".to_vec();
        exif.extend(kind.to_le_bytes());
        exif.extend([1, 0, 0, 0]);
        exif.extend(value);
        exif.extend([0; 4]);
        let mut turned = CHURCH[..2].to_vec();
        turned.extend([0xff, 0xe1]);
        turned.extend((exif.len() as u16 + 2).to_be_bytes());
        turned.extend(&exif);
        turned.extend(&CHURCH[2..]);
        let turned = decode(&turned).unwrap();
        assert_eq!(turned, upright.clone().upright(6), "type {kind}");
        assert_ne!(turned, upright);
    }
}

#[test]
fn a_gif_without_a_screen_has_that_of_its_first_frame() {
    let mut gif = b"GIF89a\0\0\0\0\x80\0\0".to_vec();
    gif.extend([255, 0, 0, 0, 0, 255]);
    // Two pixels, of colours 1 and 0, in codes of 3 bits: clear, 1, 0, end.
    gif.extend([0x2c, 0, 0, 0, 0, 2, 0, 1, 0, 0, 2, 2, 0b0000_1100, 0b0000_1010, 0, 0x3b]);
    assert_eq!(pixels(&gif), [[0, 0, 255], [255, 0, 0]]);
}

#[test]
fn a_frame_smaller_than_the_screen_leaves_the_transparent_colour_around_it() {
    let mut gif = b"GIF89a\x03\0\x01\0\x80\0\0".to_vec();
    gif.extend([255, 0, 0, 0, 0, 255]);
    gif.extend([0x2c, 1, 0, 0, 0, 2, 0, 1, 0, 0, 2, 2, 0b0000_1100, 0b0000_1010, 0, 0x3b]);
    assert_eq!(pixels(&gif), [[255, 0, 0], [0, 0, 255], [255, 0, 0]]);
}

/// Makes a BMP of `bits` bits per pixel, with `after` between its header and the pixels.
fn bmp([width, height]: [i32; 2], bits: u8, compression: u8, after: &[u8], data: &[u8]) -> Vec<u8> {
    let mut file = b"BM\0\0\0\0\0\0\0\0".to_vec();
    file.extend((54 + after.len() as u32).to_le_bytes());
    file.extend([40, 0, 0, 0]);
    file.extend(width.to_le_bytes());
    file.extend(height.to_le_bytes());
    file.extend([1, 0, bits, 0, compression, 0, 0, 0]);
    file.extend([0; 20]);
    file.extend(after);
    file.extend(data);
    file
}

#[test]
fn bmp_has_palettes_masks_and_run_lengths() {
    // Numbers 0, 1, 2, ... are the colours 0, 10, 20, ... in blue.
    let palette: Vec<u8> = (0..16).flat_map(|i| [10 * i, 0, 0, 0]).collect();
    let blues = |levels: &[u8]| levels.iter().map(|&b| [0, 0, b]).collect::<Vec<[u8; 3]>>();
    let two = &palette[..8];
    // Rows are stored from the bottom, and padded to four bytes.
    let rows = [0b1010_0000, 0, 0, 0, 0b0110_0000, 0, 0, 0];
    assert_eq!(pixels(&bmp([3, 2], 1, 0, two, &rows)), blues(&[0, 10, 10, 10, 0, 10]));
    assert_eq!(pixels(&bmp([3, -2], 1, 0, two, &rows)), blues(&[10, 0, 10, 0, 10, 10]));
    let rows = [0x12, 0x30, 0, 0];
    assert_eq!(pixels(&bmp([3, 1], 4, 0, &palette, &rows)), blues(&[10, 20, 30]));
    // Three times 5, the end of the row, twice 1, then 2, 3, 4 and the end.
    let mut runs = vec![3, 5, 0, 0, 2, 1, 0, 3, 2, 3, 4, 0, 0, 1];
    let full: Vec<u8> = (0..=255).flat_map(|i| [i, 0, 0, 0]).collect();
    let lower = [[0, 0, 5], [0, 0, 5], [0, 0, 5], [0; 3], [0; 3]];
    let upper = [[0, 0, 1], [0, 0, 1], [0, 0, 2], [0, 0, 3], [0, 0, 4]];
    assert_eq!(pixels(&bmp([5, 2], 8, 1, &full, &runs)), [upper, lower].concat());
    runs.truncate(runs.len() - 4);
    assert!(decode(&bmp([5, 2], 8, 1, &full, &runs)).is_err());
    // 5 and 7 in turns, then 1, 2 and 3.
    let runs = [3, 0x57, 0, 3, 0x12, 0x30, 0, 1];
    let expected = blues(&[50, 70, 50, 10, 20, 30]);
    assert_eq!(pixels(&bmp([6, 1], 4, 2, &palette, &runs)), expected);
    // Five bits per channel, then six of green.
    let [fives, sixes] =
        [(16u16 << 10) | (1 << 5) | 31, (16 << 11) | (1 << 5) | 31].map(u16::to_le_bytes);
    let row = |pixel: [u8; 2]| [pixel[0], pixel[1], 0, 0];
    assert_eq!(pixels(&bmp([1, 1], 16, 0, &[], &row(fives))), [[131, 8, 255]]);
    let masks: Vec<u8> = [0xf800u32, 0x07e0, 0x001f].iter().flat_map(|m| m.to_le_bytes()).collect();
    assert_eq!(pixels(&bmp([1, 1], 16, 3, &masks, &row(sixes))), [[131, 4, 255]]);
}

/// Returns the tags of bits, samples per pixel and interpretation.
fn described(bits: u16, samples: u16, interpretation: u16) -> [(u16, Vec<u16>); 3] {
    [(258, vec![bits; usize::from(samples)]), (277, vec![samples]), (262, vec![interpretation])]
}

fn read_tiff(
    [width, bits, samples, interpretation]: [u16; 4],
    more: &[(u16, &[u16])],
    strip: &[u8],
) -> Vec<Vec<[u8; 3]>> {
    let described = described(bits, samples, interpretation);
    let tags = described.iter().map(|(tag, values)| (*tag, &values[..]));
    let tags: Vec<(u16, &[u16])> = tags.chain(more.iter().copied()).collect();
    [false, true].map(|big| pixels(&tiff(big, [width, 1], &tags, strip))).to_vec()
}

// The expected values are Pillow's, except for samples of 16 bits, which it clips to 255.

#[test]
fn greys_in_tiff_have_any_number_of_bits() {
    let spread = |found: Vec<Vec<[u8; 3]>>, levels: &[u8]| {
        for found in found {
            assert_eq!(found, greys(levels));
        }
    };
    spread(read_tiff([8, 1, 1, 1], &[], &[0b0101_0011]), &[0, 255, 0, 255, 0, 0, 255, 255]);
    spread(read_tiff([4, 2, 1, 1], &[], &[0b0001_1011]), &[0, 85, 170, 255]);
    spread(read_tiff([4, 4, 1, 1], &[], &[0x0f, 0x73]), &[0, 255, 119, 51]);
    spread(read_tiff([4, 4, 1, 0], &[], &[0x0f, 0x73]), &[255, 0, 136, 204]);
    spread(read_tiff([2, 8, 1, 0], &[], &[0, 10]), &[255, 245]);
    let deep: Vec<u8> = [0u16, 255, 32896, 65535].iter().flat_map(|v| v.to_le_bytes()).collect();
    spread(read_tiff([4, 16, 1, 1], &[], &deep), &[0, 0, 128, 255]);
    let float = [0f32, 0.5, 1.7, 200.6, 300.0, -1.0, f32::NAN];
    let float: Vec<u8> = float.iter().flat_map(|v| v.to_le_bytes()).collect();
    spread(read_tiff([7, 32, 1, 1], &[(339, &[3])], &float), &[0, 0, 1, 200, 255, 0, 0]);
}

#[test]
fn palettes_in_tiff_are_looked_up() {
    let colours: Vec<u16> = (0..16)
        .map(|i| i * 4000)
        .chain((0..16).map(|i| 65535 - i * 1000))
        .chain((0..16).map(|i| i * 257))
        .collect();
    for found in read_tiff([4, 4, 1, 3], &[(320, &colours)], &[0x0f, 0x73]) {
        assert_eq!(found, [[0, 255, 0], [234, 197, 15], [109, 228, 7], [46, 244, 3]]);
    }
    for found in read_tiff([8, 1, 1, 3], &[(320, &[65535, 0, 0, 0, 0, 65535])], &[0b0101_0011]) {
        let [red, blue] = [[255, 0, 0], [0, 0, 255]];
        assert_eq!(found, [red, blue, red, blue, red, red, blue, blue]);
    }
}

#[test]
fn an_associated_alpha_in_tiff_is_taken_out_of_the_colours() {
    let strip = [10, 20, 30, 40, 100, 50, 25, 128, 9, 9, 9, 0];
    for found in read_tiff([3, 8, 4, 2], &[(338, &[1])], &strip) {
        assert_eq!(found, [[63, 127, 191], [199, 99, 49], [0, 0, 0]]);
    }
    for found in read_tiff([3, 8, 4, 2], &[(338, &[2])], &strip) {
        assert_eq!(found, [[10, 20, 30], [100, 50, 25], [9, 9, 9]]);
    }
    let deep: Vec<u8> =
        [10000u16, 20000, 30000, 40000].iter().flat_map(|v| v.to_le_bytes()).collect();
    for found in read_tiff([1, 16, 4, 2], &[(338, &[1])], &deep) {
        assert_eq!(found, [[63, 127, 191]]);
    }
    for found in read_tiff([2, 8, 2, 1], &[(338, &[2])], &[10, 20, 100, 128]) {
        assert_eq!(found, greys(&[10, 100]));
    }
}

#[test]
fn inks_in_tiff_become_colours() {
    for found in read_tiff([2, 8, 4, 5], &[], &[10, 20, 30, 40, 200, 100, 50, 0]) {
        assert_eq!(found, [[207, 198, 190], [55, 155, 205]]);
    }
}

#[test]
fn planes_of_a_tiff_are_put_together() {
    let described = described(8, 3, 2);
    let mut tags: Vec<(u16, &[u16])> = described.iter().map(|(tag, v)| (*tag, &v[..])).collect();
    tags.push((284, &[2]));
    let mut file = tiff(false, [2, 1], &tags, &[1, 2, 3, 4, 5, 6]);
    // Three strips of two bytes: their places and lengths go to the end of the file.
    let strip = file.len() - 6;
    for (tag, values) in [(273u16, [strip, strip + 2, strip + 4]), (279, [2, 2, 2])] {
        let entry = (10..).step_by(12).find(|&at| file[at..at + 2] == tag.to_le_bytes()).unwrap();
        let end = file.len() as u32;
        file[entry + 4] = 3;
        file[entry + 8..entry + 12].copy_from_slice(&end.to_le_bytes());
        file.extend(values.iter().flat_map(|v| (*v as u32).to_le_bytes()));
    }
    assert_eq!(pixels(&file), [[1, 3, 5], [2, 4, 6]]);
}

#[test]
fn a_jpeg_in_a_tiff_is_no_larger_than_its_strip() {
    let jpeg = |side: u32| {
        let grey = DynamicImage::from(pattern(side, side)).into_luma8();
        encoded(grey, ImageFormat::Jpeg)
    };
    let described = described(8, 1, 1);
    let mut tags: Vec<(u16, &[u16])> = described.iter().map(|(tag, v)| (*tag, &v[..])).collect();
    tags.push((259, &[7]));
    let file = |side: u32| tiff(false, [16, 16], &tags, &jpeg(side));
    let alone = decode(&jpeg(16)).unwrap();
    let within = decode(&file(16)).unwrap();
    assert!(within.pixels().iter().zip(alone.pixels()).all(|(a, b)| a.abs_diff(*b) <= 2));
    assert!(decode(&file(17)).unwrap_err().message().contains("JPEG of 17 x 17"));
}

#[test]
fn what_tiff_has_and_is_not_read_is_named() {
    let refused = |[bits, samples, interpretation]: [u16; 3], more: &[(u16, &[u16])]| {
        let described = described(bits, samples, interpretation);
        let tags = described.iter().map(|(tag, values)| (*tag, &values[..]));
        let tags: Vec<(u16, &[u16])> = tags.chain(more.iter().copied()).collect();
        let e = decode(&tiff(false, [4, 1], &tags, &[0; 64])).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Unsupported, "{e}");
        e.message().to_string()
    };
    assert!(refused([32, 1, 1], &[(339, &[2])]).contains("signed integers of 32 bits"));
    assert!(refused([8, 3, 8], &[]).contains("not supported"));
    // The third kind of CCITT.
    assert!(refused([1, 1, 0], &[(259, &[3])]).contains("Fax3"));
}
