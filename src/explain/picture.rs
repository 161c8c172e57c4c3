//! Grids of numbers as pictures that a page holds.

use super::statistics::{BINS, Histogram};
use crate::pictures::colour;
use crate::tensor::Tensor;

/// The counts of a histogram, by the logarithm. Empty places are white.
pub fn of_histogram(histogram: &Histogram) -> String {
    let most = histogram.counts.iter().copied().max().unwrap_or(0).max(1);
    let largest = (1.0 + most as f32).ln();
    let pixels = histogram.counts.iter().flat_map(|&count| match count {
        0 => [255; 3],
        count => colour((1.0 + count as f32).ln() / largest),
    });
    data_uri(BINS, BINS, &pixels.collect::<Vec<u8>>())
}

/// An attention, from its least value to its largest.
pub fn of_attention(
    attention: &[f32],
    [height, width]: [usize; 2],
    least: f32,
    most: f32,
) -> String {
    let share = |value: f32| (value - least) / (most - least).max(f32::MIN_POSITIVE);
    let pixels: Vec<u8> = attention.iter().flat_map(|&value| colour(share(value))).collect();
    data_uri(width, height, &pixels)
}

/// The input of a network, `[1, 3, height, width]`, with levels from the least to the largest number.
pub fn of_input(input: &Tensor) -> Option<String> {
    let &[_, 3, height, width] = input.shape() else { return None };
    let values = input.as_f32().ok()?;
    let least = values.iter().copied().fold(f32::INFINITY, f32::min);
    let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let level =
        |at: usize| ((values[at] - least) / (most - least).max(f32::MIN_POSITIVE) * 255.0) as u8;
    let area = height * width;
    let pixels = (0..area).flat_map(|at| [level(at), level(area + at), level(2 * area + at)]);
    Some(data_uri(width, height, &pixels.collect::<Vec<u8>>()))
}

/// Points with places as shares of the side, to the right and upwards, each with a colour in the form `#rrggbb`. A
/// line where both are equal lies below them.
pub fn of_points<'a>(points: impl Iterator<Item = (f32, f32, &'a str)>) -> String {
    let mut pixels = vec![255; 3 * BINS * BINS];
    let mut set = |column: usize, row: usize, colour: [u8; 3]| {
        let at = 3 * ((BINS - 1 - row) * BINS + column);
        pixels[at..at + 3].copy_from_slice(&colour);
    };
    (0..BINS).for_each(|at| set(at, at, [221, 0, 0]));
    for (right, up, colour) in points.filter(|(right, up, _)| (right + up).is_finite()) {
        let bin = |share: f32| ((share * BINS as f32) as usize).min(BINS - 1);
        let level = |at: usize| u8::from_str_radix(&colour[at..at + 2], 16).unwrap_or(0);
        set(bin(right), bin(up), [level(1), level(3), level(5)]);
    }
    data_uri(BINS, BINS, &pixels)
}

/// A PNG file of RGB pixels as a URI.
fn data_uri(width: usize, height: usize, pixels: &[u8]) -> String {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    // Writing to memory cannot fail, and the number of pixels is right.
    let written = encoder.write_header().and_then(|mut writer| {
        writer.write_image_data(pixels)?;
        writer.finish()
    });
    match written {
        Ok(()) => format!("data:image/png;base64,{}", base64(&file)),
        Err(_) => String::new(),
    }
}

/// RFC 4648.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |i: usize| u32::from(group.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let is_padding = digit > group.len();
            let value = (bits >> (18 - 6 * digit)) & 63;
            text.push(if is_padding { '=' } else { char::from(DIGITS[value as usize]) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
