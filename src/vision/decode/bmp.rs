//! BMP. Of the small libraries that were tried, one misreads colours of 1, 4 and 16 bits, and one turns
//! pictures upside down.

use super::decoded::{Decoded, corrupt, cut_off};
use super::options::DecodeOptions;
use crate::error::{Error, Result};
use crate::vision::Photo;

/// The offset of the second header.
const INFO: usize = 14;
/// The length of the oldest second header, which has sides of 16 bits and palette entries of 3 bytes.
const OLDEST: usize = 12;

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions, memory: u64) -> Result<Decoded> {
    let header = Header::read(bytes)?;
    let (width, height) = (header.width as usize, header.height as usize);
    // An index and three channels per pixel.
    options.admit(header.width, header.height, 1 + 3, memory)?;
    let data = bytes.get(header.data..).unwrap_or_default();
    let colours = Colours::read(bytes, &header)?;
    let mut pixels = vec![0; 3 * width * height];
    let whole = match header.compression {
        RLE8 | RLE4 => {
            let mut indices = vec![0; width * height];
            let whole = run_lengths(data, header.compression == RLE4, width, &mut indices);
            for (pixel, &index) in pixels.as_chunks_mut().0.iter_mut().zip(&indices) {
                *pixel = colours.rgb(u32::from(index));
            }
            whole
        }
        _ => {
            let row_bytes = (width * header.bits).div_ceil(32) * 4;
            let needed = (width * header.bits).div_ceil(8);
            let mut rows = 0;
            for (row, out) in data.chunks(row_bytes).zip(pixels.chunks_exact_mut(3 * width)) {
                // The padding of the last row may be missing.
                if row.len() < needed {
                    break;
                }
                for (x, pixel) in out.as_chunks_mut().0.iter_mut().enumerate() {
                    *pixel = colours.rgb(stored(row, x, header.bits));
                }
                rows += 1;
            }
            rows == height
        }
    };
    if !header.top_down {
        let (above, below) = pixels.split_at_mut(3 * width * (height / 2));
        let below = below.rchunks_exact_mut(3 * width);
        above.chunks_exact_mut(3 * width).zip(below).for_each(|(a, b)| a.swap_with_slice(b));
    }
    let photo = Photo::new(header.width, header.height, pixels)?;
    Ok(Decoded { photo, orientation: 1, damage: (!whole).then(cut_off) })
}

const RLE8: u32 = 1;
const RLE4: u32 = 2;
const MASKS: u32 = 3;
const MASKS_WITH_ALPHA: u32 = 6;

struct Header {
    width: u32,
    height: u32,
    top_down: bool,
    bits: usize,
    compression: u32,
    /// The offset of the palette, and its number of colours.
    palette: usize,
    colours: usize,
    /// The offset of the pixels.
    data: usize,
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Self> {
        let length = number(bytes, INFO, 4)? as usize;
        if length != OLDEST && !(40..=124).contains(&length) {
            return Err(Error::unsupported(format!(
                "a BMP with a header of {length} bytes is not supported"
            )));
        }
        let field = |at: usize, size: usize| number(bytes, INFO + at, size);
        let oldest = length == OLDEST;
        let (width, height, bits) = match oldest {
            true => (field(4, 2)? as i32, field(6, 2)? as i32, field(10, 2)?),
            false => (field(4, 4)? as i32, field(8, 4)? as i32, field(14, 2)?),
        };
        if width < 0 {
            return Err(corrupt("its width is negative"));
        }
        let compression = if oldest { 0 } else { field(16, 4)? };
        if !matches!(
            (compression, bits),
            (0, 1 | 4 | 8 | 16 | 24 | 32)
                | (RLE8, 8)
                | (RLE4, 4)
                | (MASKS | MASKS_WITH_ALPHA, 16 | 32)
        ) {
            return Err(Error::unsupported(format!(
                "a BMP of {bits} bits a pixel and compression {compression} is not supported"
            )));
        }
        let masks = match (length, compression) {
            (40, MASKS) => 12,
            (40, MASKS_WITH_ALPHA) => 16,
            _ => 0,
        };
        let used = if oldest { 0 } else { field(32, 4)? as usize };
        let most = if bits <= 8 { 1 << bits } else { 0 };
        Ok(Header {
            width: width.unsigned_abs(),
            height: height.unsigned_abs(),
            top_down: height < 0,
            bits: bits as usize,
            compression,
            palette: INFO + length + masks,
            colours: if used == 0 { most } else { used.min(most) },
            data: number(bytes, 10, 4)? as usize,
        })
    }
}

/// The meaning of a stored number as a colour.
enum Colours {
    Palette(Vec<[u8; 3]>),
    /// The bits of red, green and blue.
    Masks([u32; 3]),
}

impl Colours {
    fn read(bytes: &[u8], header: &Header) -> Result<Self> {
        if header.bits <= 8 {
            let oldest = header.palette == INFO + OLDEST;
            let entry = if oldest { 3 } else { 4 };
            let entries = bytes.get(header.palette..).unwrap_or_default().chunks_exact(entry);
            let colours = entries.take(header.colours).map(|e| [e[2], e[1], e[0]]);
            return Ok(Colours::Palette(colours.collect()));
        }
        Ok(Colours::Masks(match (header.compression, header.bits) {
            (MASKS | MASKS_WITH_ALPHA, _) => {
                let mask = |i: usize| number(bytes, INFO + 40 + 4 * i, 4);
                [mask(0)?, mask(1)?, mask(2)?]
            }
            (_, 16) => [0x7c00, 0x03e0, 0x001f],
            _ => [0x00ff_0000, 0x0000_ff00, 0x0000_00ff],
        }))
    }

    fn rgb(&self, stored: u32) -> [u8; 3] {
        match self {
            Colours::Palette(colours) => colours.get(stored as usize).copied().unwrap_or_default(),
            Colours::Masks(masks) => masks.map(|mask| {
                let shift = mask.trailing_zeros().min(31);
                let most = u64::from(mask >> shift).max(1);
                // The largest number becomes 255.
                (u64::from((stored & mask) >> shift) * 255 / most) as u8
            }),
        }
    }
}

/// Reads a number of `size` bytes at offset `at`.
fn number(bytes: &[u8], at: usize, size: usize) -> Result<u32> {
    let digits = bytes.get(at..at + size).ok_or_else(cut_off)?;
    Ok(digits.iter().rev().fold(0, |number, &digit| number << 8 | u32::from(digit)))
}

/// Returns the number that is stored for the pixel in column `x` of a row.
fn stored(row: &[u8], x: usize, bits: usize) -> u32 {
    if bits < 8 {
        let first = x * bits;
        return u32::from(row[first / 8] << (first % 8) >> (8 - bits));
    }
    let size = bits / 8;
    row[x * size..][..size].iter().rev().fold(0, |number, &byte| number << 8 | u32::from(byte))
}

/// Fills `indices`, the lowest row first, from run lengths, and returns whether their end marker was found.
/// If `halves`, a byte holds two indices.
fn run_lengths(data: &[u8], halves: bool, width: usize, indices: &mut [u8]) -> bool {
    let (mut x, mut y) = (0, 0);
    let mut next = data;
    let index = |byte: u8, i: usize| match halves {
        true if i.is_multiple_of(2) => byte >> 4,
        true => byte & 15,
        false => byte,
    };
    let mut put = |x: usize, y: usize, index: u8| {
        // Pixels beyond the end of a row or of the last row are dropped.
        if x < width
            && let Some(place) = indices.get_mut(y * width + x)
        {
            *place = index;
        }
    };
    while let [first, second, rest @ ..] = next {
        next = rest;
        match (*first, *second) {
            (0, 0) => (x, y) = (0, y + 1),
            (0, 1) => return true,
            (0, 2) => {
                let [right, up, rest @ ..] = next else { return false };
                (x, y, next) = (x + usize::from(*right), y + usize::from(*up), rest);
            }
            (0, count) => {
                let count = usize::from(count);
                let bytes = if halves { count.div_ceil(2) } else { count };
                let Some(literal) = next.get(..bytes) else { return false };
                for i in 0..count {
                    put(x + i, y, index(literal[if halves { i / 2 } else { i }], i));
                }
                x += count;
                next = next.get(bytes.next_multiple_of(2)..).unwrap_or_default();
            }
            (count, byte) => {
                (0..usize::from(count)).for_each(|i| put(x + i, y, index(byte, i)));
                x += usize::from(count);
            }
        }
    }
    false
}
