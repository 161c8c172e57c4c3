//! JPEG, equal to libjpeg-turbo bit for bit.

use libjpeg_turbo_rs::{
    DecodeLimits, Decoder, JpegError, PixelFormat, RestartResyncStrategy, ResyncAction,
    ScalingFactor,
};

use super::{
    DecodeOptions, Decoded, corrupt, cut_off, orientation, photo, rgb_of_inks, too_much_memory,
};
use crate::error::{Error, Result};

/// The most scans of a progressive file; encoders write about ten.
const MAX_SCANS: u64 = 1000;
/// How many times the allowed pixels may be gone over.
const MAX_PASSES: u64 = 16;

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions, memory: u64) -> Result<Decoded> {
    let failed = |e| explain(e, options);
    match whole(bytes, options, memory) {
        Ok(decoded) => Ok(decoded),
        Err(e) if options.allow_truncated && is_damage(&e) => {
            // What is missing may be the end marker, without which some files have no last scan.
            let mut closed = bytes.to_vec();
            closed.extend([0xff, 0xd9]);
            let mut decoder = decoder(&closed, options, memory).map_err(failed)?;
            decoder.set_lenient(true);
            let mut decoded = finish(&decoder).map_err(failed)?;
            decoded.damage = Some(failed(e));
            Ok(decoded)
        }
        Err(e) => Err(failed(e)),
    }
}

/// Decodes a file that must be whole.
fn whole(
    bytes: &[u8],
    options: &DecodeOptions,
    memory: u64,
) -> std::result::Result<Decoded, JpegError> {
    let mut decoder = decoder(bytes, options, memory)?;
    decoder.set_resync_strategy(Strict);
    let decoded = finish(&decoder)?;
    let end = end_of_scans(bytes);
    if decoder.is_arithmetic() {
        // Arithmetic codes go on beyond their end with zeros, so only the marker shows that it is one.
        if bytes.get(end..end + 2) != Some(&[0xff, 0xd9]) {
            return Err(JpegError::UnexpectedEof);
        }
    } else if !decoder.has_multiple_scans() && !is_needed(&bytes[..end], options, memory) {
        return Err(JpegError::CorruptData("data is left over after the last pixel".into()));
    }
    Ok(decoded)
}

fn decoder<'a>(
    bytes: &'a [u8],
    options: &DecodeOptions,
    memory: u64,
) -> std::result::Result<Decoder<'a>, JpegError> {
    let mut limits = DecodeLimits::default();
    // No frame is larger.
    (limits.max_width, limits.max_height) = (0xffff, 0xffff);
    limits.max_pixels = options.max_pixels;
    limits.max_scans = MAX_SCANS as usize;
    limits.max_memory = Some(memory);
    let mut decoder = Decoder::new_with_limits(bytes, limits.clone())?;
    let header = decoder.header();
    let pixels = u64::from(header.width) * u64::from(header.height);
    let passes = options.max_pixels.saturating_mul(MAX_PASSES) / pixels.max(1);
    limits.max_scans = passes.clamp(1, MAX_SCANS) as usize;
    if header.components.len() < 4 {
        decoder.set_output_format(PixelFormat::Rgb);
    }
    decoder.set_limits(limits);
    Ok(decoder)
}

fn finish(decoder: &Decoder) -> std::result::Result<Decoded, JpegError> {
    let image = decoder.decode_image()?;
    let orientation = orientation(image.exif_data.as_deref());
    let (width, height) = (image.width as u32, image.height as u32);
    let pixels = match image.pixel_format {
        // Programs that write inks into JPEG files write how much paper is left.
        PixelFormat::Cmyk => {
            let inks = image.data.chunks_exact(4);
            inks.flat_map(|p| rgb_of_inks([p[0], p[1], p[2], p[3]].map(|v| 255 - v))).collect()
        }
        _ => image.data,
    };
    let photo = photo(width, height, 3, pixels).map_err(|e| {
        // The decoder states the size of what it gives.
        JpegError::CorruptData(e.message().into())
    })?;
    Ok(Decoded { photo, orientation, damage: None })
}

/// Whether the last byte of the only scan, other than padding, is needed. A file in which a bit is wrong decodes to the
/// last pixel as a rule, but seldom to the last byte.
///
/// Decodes at an eighth of the size, of which nothing but the codes takes time.
fn is_needed(scan: &[u8], options: &DecodeOptions, memory: u64) -> bool {
    let padding = scan.iter().rev().take_while(|&&byte| byte == 0 || byte == 0xff).count();
    let short = &scan[..scan.len().saturating_sub(padding + 1)];
    let Ok(mut decoder) = decoder(short, options, memory) else { return true };
    let Ok(eighth) = ScalingFactor::try_new(1, 8) else { return true };
    decoder.set_scale(eighth);
    decoder.decode_image().is_err()
}

/// Where the scans of the first image end: the place of a marker that is neither part of one nor
/// leads to another, or the end of `bytes`.
fn end_of_scans(bytes: &[u8]) -> usize {
    let mut at = 2;
    while let Some(&[marker, code]) = bytes.get(at..at + 2) {
        if marker != 0xff {
            at += 1;
            continue;
        }
        match code {
            // A stuffed byte, a restart, or a marker without contents.
            0x00 | 0x01 | 0xd0..=0xd8 => at += 2,
            0xff => at += 1,
            0xd9 => return at,
            _ => match bytes.get(at + 2..at + 4) {
                Some(&[high, low]) => at += 2 + usize::from(u16::from_be_bytes([high, low])),
                _ => break,
            },
        }
    }
    bytes.len()
}

/// Refuses restart markers that are missing or late.
struct Strict;

impl RestartResyncStrategy for Strict {
    fn on_desync(&mut self, _expected: u8, _found: Option<u8>) -> ResyncAction {
        ResyncAction::Abort
    }
}

fn is_damage(e: &JpegError) -> bool {
    matches!(
        e,
        JpegError::UnexpectedEof
            | JpegError::CorruptData(_)
            | JpegError::InvalidMarker(_)
            | JpegError::UnexpectedMarker(_)
    )
}

fn explain(e: JpegError, options: &DecodeOptions) -> Error {
    let what = match &e {
        JpegError::UnexpectedEof => cut_off(),
        JpegError::Unsupported(what) => {
            Error::unsupported(format!("this kind of JPEG is not supported: {what}"))
        }
        JpegError::LimitExceeded { what: "total pixels", actual, limit } => {
            Error::input(format!("the image has {actual} pixels, more than the {limit} allowed"))
        }
        JpegError::LimitExceeded { what, limit, .. } if what.starts_with("scan count") => {
            Error::input(format!(
                "the image is stored in more than {limit} scans, too many for its size"
            ))
        }
        JpegError::LimitExceeded { what: "estimated decode memory", .. }
        | JpegError::AllocationFailed { .. } => too_much_memory(options),
        _ if is_damage(&e) => corrupt(&e),
        _ => Error::format(format!("cannot decode the image: {e}")),
    };
    what.because(e)
}
