//! What the decoders accept, and what they refuse.

mod damage;
mod kinds;
mod limits;

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

use super::*;
use crate::ErrorKind;

const CHURCH: &[u8] = include_bytes!("../../../../examples/photos/church.jpg");

fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Every pixel differs from its neighbours.
fn pattern(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb([(x * 7 + y * 3) as u8, (x * x + y) as u8, ((x * 5) ^ (y * 11)) as u8])
    })
}

/// Makes a little-endian TIFF of one strip, with `tags` in addition to those of its size and strip. If `big`,
/// it has the form for files beyond 4 GiB.
fn tiff(big: bool, [width, height]: [u16; 2], tags: &[(u16, &[u16])], strip: &[u8]) -> Vec<u8> {
    let short = |values: &[u16]| {
        (3u16, values.len(), values.iter().flat_map(|v| v.to_le_bytes()).collect())
    };
    let long = |value: usize| (4u16, 1, (value as u32).to_le_bytes().to_vec());
    // Number of the tag; type, count and bytes of its values.
    type Entry = (u16, (u16, usize, Vec<u8>));
    let mut entries: Vec<Entry> = tags.iter().map(|(t, v)| (*t, short(v))).collect();
    entries.extend([(256, short(&[width])), (257, short(&[height])), (278, short(&[height]))]);
    entries.extend([(273, long(0)), (279, long(strip.len()))]);
    entries.sort_by_key(|entry| entry.0);
    let (header, count_bytes, field) = if big { (16, 8, 8) } else { (8, 2, 4) };
    let mut after = header + count_bytes + entries.len() * (4 + 2 * field) + field;
    let start =
        after + entries.iter().map(|(_, v)| v.2.len()).filter(|n| *n > field).sum::<usize>();
    let number = |value: usize, bytes: usize| (value as u64).to_le_bytes()[..bytes].to_vec();
    let mut file = b"II".to_vec();
    match big {
        true => file.extend([43, 0, 8, 0, 0, 0]),
        false => file.extend([42, 0]),
    }
    file.extend(number(header, field));
    file.extend(number(entries.len(), count_bytes));
    let mut values = Vec::new();
    for (tag, (of, count, mut value)) in entries {
        if tag == 273 {
            value = number(start, 4);
        }
        file.extend(tag.to_le_bytes());
        file.extend(of.to_le_bytes());
        file.extend(number(count, field));
        if value.len() > field {
            file.extend(number(after, field));
            after += value.len();
            values.extend(value);
        } else {
            value.resize(field, 0);
            file.extend(value);
        }
    }
    file.extend(number(0, field));
    file.extend(values);
    file.extend(strip);
    file
}
