//! TIFF: the first image.

use std::io::{Cursor, ErrorKind};

use tiff::decoder::{BufferLayoutPreference, ChunkType, Decoder, Limits};
use tiff::tags::{SampleFormat, Tag};
use tiff::{ColorType, TiffError};

use super::decoded::{Decoded, corrupt, cut_off, rgb_of_inks};
use super::jpeg;
use super::options::{DecodeOptions, too_much_memory};
use crate::error::{Error, Result};
use crate::vision::Photo;

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions, memory: u64) -> Result<Decoded> {
    // The library refuses palettes. It reads the indices if the file is changed to claim that they are greys.
    match palette_entry(bytes) {
        Some(entry) => {
            let memory = memory.checked_sub(bytes.len() as u64);
            let memory = memory.ok_or_else(|| too_much_memory(options))?;
            let mut greys = bytes.to_vec();
            greys[entry..entry + 2].copy_from_slice(&match bytes[0] {
                b'I' => BLACK_IS_ZERO.to_le_bytes(),
                _ => BLACK_IS_ZERO.to_be_bytes(),
            });
            read(&greys, true, options, memory)
        }
        None => read(bytes, false, options, memory),
    }
}

fn read(bytes: &[u8], palette: bool, options: &DecodeOptions, memory: u64) -> Result<Decoded> {
    let failed = |e| explain(e, options);
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(failed)?;
    let palette = match palette {
        true => Some(decoder.get_tag_u16_vec(Tag::ColorMap).map_err(failed)?),
        false => None,
    };
    let mut limits = Limits::default();
    limits.decoding_buffer_size = usize::try_from(memory).unwrap_or(usize::MAX);
    limits.intermediate_buffer_size = limits.decoding_buffer_size;
    let mut decoder = decoder.with_limits(limits);
    let (width, height) = decoder.dimensions().map_err(failed)?;
    let kind = Kind::of(&mut decoder, palette).map_err(failed)??;
    let mut pixel_bytes = kind.samples * kind.bits.div_ceil(8);
    if decoder.find_tag_unsigned(Tag::Compression).map_err(failed)? == Some(JPEG) {
        check_frames(bytes, &mut decoder).map_err(failed)??;
        // A strip may be the whole image: coefficients of two bytes per sample, and the samples.
        pixel_bytes *= 4;
    }
    options.admit(width, height, pixel_bytes as u64 + 3, memory)?;
    let layout = decoder.image_buffer_layout().map_err(failed)?;
    if layout.complete_len as u64 > memory {
        return Err(too_much_memory(options));
    }
    let mut samples = vec![0; layout.complete_len];
    let damage = decoder.read_image_bytes(&mut samples).err();
    if let Some(TiffError::UnsupportedError(_) | TiffError::LimitsExceeded) = damage {
        return Err(failed(damage.unwrap_or(TiffError::LimitsExceeded)));
    }
    let orientation = decoder.find_tag_unsigned(Tag::Orientation).ok().flatten().unwrap_or(1);
    let pixels = kind.pixels(&samples, &layout, width as usize, height as usize);
    Ok(Decoded {
        photo: Photo::new(width, height, pixels)?,
        orientation,
        damage: damage.map(failed),
    })
}

/// The number of JPEG compression, in the newer of its two forms.
const JPEG: u16 = 7;

/// Checks that no strip or tile holds a JPEG that is larger than the strip or tile. The library would decode
/// it.
fn check_frames(
    bytes: &[u8],
    decoder: &mut Decoder<Cursor<&[u8]>>,
) -> std::result::Result<Result<()>, TiffError> {
    let (width, height) = decoder.chunk_dimensions();
    let (offsets, lengths) = match decoder.get_chunk_type() {
        ChunkType::Strip => (Tag::StripOffsets, Tag::StripByteCounts),
        ChunkType::Tile => (Tag::TileOffsets, Tag::TileByteCounts),
    };
    let offsets = decoder.get_tag_u64_vec(offsets)?;
    let lengths = decoder.get_tag_u64_vec(lengths)?;
    for (&offset, length) in offsets.iter().zip(lengths) {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let chunk = &bytes[start..start.saturating_add(length).min(bytes.len())];
        if let Some([frame_width, frame_height]) = jpeg::frame_size(chunk)
            && (u32::from(frame_width) > width || u32::from(frame_height) > height)
        {
            return Ok(Err(corrupt(format!(
                "a part of {width} x {height} pixels holds a JPEG of {frame_width} x {frame_height}"
            ))));
        }
    }
    Ok(Ok(()))
}

/// The meaning of the samples of a pixel as a colour.
enum Colour {
    Grey,
    Palette(Vec<u16>),
    Rgb,
    Inks,
    /// Luma and two colour differences.
    YCbCr,
}

struct Kind {
    colour: Colour,
    /// The number of samples of a pixel, including alpha.
    samples: usize,
    bits: usize,
    /// Which sample is the alpha with which the colours have been multiplied, if one is.
    associated: Option<usize>,
}

impl Kind {
    /// Returns the kind of the image that `decoder` is about to read, or why it is not supported.
    fn of(
        decoder: &mut Decoder<Cursor<&[u8]>>,
        palette: Option<Vec<u16>>,
    ) -> std::result::Result<Result<Kind>, TiffError> {
        let format = decoder.find_tag_unsigned_vec::<u16>(Tag::SampleFormat)?;
        let format = format.and_then(|f| f.first().copied()).unwrap_or(1);
        let colortype = decoder.colortype()?;
        let (colour, samples, bits, alpha) = match (colortype, palette) {
            (ColorType::Gray(bits), Some(colours)) => (Colour::Palette(colours), 1, bits, None),
            (ColorType::Gray(bits), None) => (Colour::Grey, 1, bits, None),
            (ColorType::Multiband { bit_depth, num_samples: 2 }, None) => {
                (Colour::Grey, 2, bit_depth, Some(1))
            }
            (ColorType::RGB(bits), None) => (Colour::Rgb, 3, bits, None),
            (ColorType::RGBA(bits), None) => (Colour::Rgb, 4, bits, Some(3)),
            (ColorType::CMYK(bits), None) => (Colour::Inks, 4, bits, None),
            (ColorType::YCbCr(bits), None) => (Colour::YCbCr, 3, bits, None),
            _ => return Ok(Err(unsupported(format!("with colours {colortype:?}")))),
        };
        let bits = usize::from(bits);
        let readable = match (bits, &colour) {
            (1 | 2 | 4, Colour::Grey | Colour::Palette(_)) => samples == 1 && format == 1,
            (8, _) => format == 1,
            (16, Colour::Grey | Colour::Rgb | Colour::Inks) => format == 1,
            (32, Colour::Grey | Colour::Rgb) => format == SampleFormat::IEEEFP.to_u16(),
            _ => false,
        };
        if !readable {
            let of = match format {
                1 => "unsigned integers",
                2 => "signed integers",
                3 => "floating-point numbers",
                _ => "an unknown type",
            };
            return Ok(Err(unsupported(format!(
                "with samples that are {of} of {bits} bits ({colortype:?})"
            ))));
        }
        if let Colour::Palette(colours) = &colour
            && colours.len() < 3 << bits
        {
            return Ok(Err(corrupt("its palette is too short")));
        }
        let extra = decoder.find_tag_unsigned_vec::<u16>(Tag::ExtraSamples)?;
        let associated = alpha.filter(|_| extra.and_then(|e| e.first().copied()) == Some(1));
        Ok(Ok(Kind { colour, samples, bits, associated }))
    }

    fn pixels(
        &self,
        samples: &[u8],
        layout: &BufferLayoutPreference,
        width: usize,
        height: usize,
    ) -> Vec<u8> {
        // The samples of a pixel are neighbours, or each lies in a plane of its own.
        let planar = layout.planes > 1;
        let row_samples = if planar { width } else { width * self.samples };
        let row_bytes = (row_samples * self.bits).div_ceil(8);
        let plane_bytes = layout.plane_stride.map_or(row_bytes * height, usize::from);
        let sample = |x: usize, y: usize, of: usize| {
            let (plane, place) = if planar { (of, x) } else { (0, x * self.samples + of) };
            let row = &samples[plane * plane_bytes + y * row_bytes..];
            self.sample(row, place)
        };
        let mut pixels = Vec::with_capacity(3 * width * height);
        for y in 0..height {
            for x in 0..width {
                let of = |i| sample(x, y, i);
                let mut rgb = match &self.colour {
                    Colour::Grey => [self.spread(of(0)); 3],
                    Colour::Palette(colours) => {
                        let count = 1 << self.bits;
                        [0, 1, 2].map(|c| (colours[c * count + usize::from(of(0))] >> 8) as u8)
                    }
                    Colour::Rgb => [of(0), of(1), of(2)],
                    Colour::Inks => rgb_of_inks([of(0), of(1), of(2), of(3)]),
                    Colour::YCbCr => rgb_of_differences([of(0), of(1), of(2)]),
                };
                if let Some(alpha) = self.associated {
                    let alpha = u32::from(of(alpha));
                    rgb = rgb.map(|v| match alpha {
                        0 => 0,
                        _ => (255 * u32::from(v) / alpha).min(255) as u8,
                    });
                }
                pixels.extend_from_slice(&rgb);
            }
        }
        pixels
    }

    /// Returns a sample in a row: of more than 8 bits the upper 8, of fewer as it is stored.
    fn sample(&self, row: &[u8], place: usize) -> u8 {
        match self.bits {
            8 => row[place],
            16 => (u16::from_ne_bytes([row[2 * place], row[2 * place + 1]]) >> 8) as u8,
            32 => {
                let bytes = &row[4 * place..4 * place + 4];
                // The levels are 0 to 255, as in Pillow. The cast saturates.
                f32::from_ne_bytes(bytes.try_into().unwrap_or_default()) as u8
            }
            bits => {
                let first = place * bits;
                row[first / 8] << (first % 8) >> (8 - bits)
            }
        }
    }

    /// Scales a grey of fewer than 8 bits to the whole range.
    fn spread(&self, value: u8) -> u8 {
        if self.bits < 8 { value * (255 / ((1 << self.bits) - 1)) } else { value }
    }
}

/// Converts by ITU-R BT.601 with the full range, as JPEG does.
fn rgb_of_differences([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let (y, cb, cr) = (f32::from(y), f32::from(cb) - 128.0, f32::from(cr) - 128.0);
    let rgb = [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb];
    // The cast saturates at 0 and 255.
    rgb.map(|v| v.round() as u8)
}

const PHOTOMETRIC: u64 = 262;
const BLACK_IS_ZERO: u16 = 1;
const PALETTE: u64 = 3;

/// Returns the offset of the value by which the first directory states that the image has a palette, if it
/// does.
fn palette_entry(bytes: &[u8]) -> Option<usize> {
    let number = |at: usize, length: usize| -> Option<u64> {
        let digits = bytes.get(at..at.checked_add(length)?)?.iter();
        let add = |number: u64, digit: &u8| number << 8 | u64::from(*digit);
        Some(match bytes[0] {
            b'I' => digits.rev().fold(0, add),
            _ => digits.fold(0, add),
        })
    };
    let big = number(2, 2)? == 43;
    let directory = usize::try_from(if big { number(8, 8)? } else { number(4, 4)? }).ok()?;
    let (count_bytes, entry_bytes) = if big { (8, 20) } else { (2, 12) };
    let count = number(directory, count_bytes)?;
    let entries = bytes.get(directory.checked_add(count_bytes)?..)?;
    let entries = entries.chunks_exact(entry_bytes).take(usize::try_from(count).ok()?);
    for (i, _) in entries.enumerate() {
        let entry = directory + count_bytes + i * entry_bytes;
        if number(entry, 2)? == PHOTOMETRIC {
            // Tag, type and count precede the value.
            let value = entry + if big { 12 } else { 8 };
            return (number(value, 2)? == PALETTE).then_some(value);
        }
    }
    None
}

fn unsupported(what: String) -> Error {
    Error::unsupported(format!("a TIFF {what} is not supported"))
}

fn explain(e: TiffError, options: &DecodeOptions) -> Error {
    match &e {
        TiffError::IoError(e) if e.kind() == ErrorKind::UnexpectedEof => cut_off(),
        TiffError::LimitsExceeded => too_much_memory(options),
        TiffError::UnsupportedError(what) => {
            Error::unsupported(format!("this kind of TIFF is not supported: {what}"))
        }
        _ => corrupt(&e),
    }
    .because(e)
}
