//! JPEG, equal to libjpeg-turbo bit for bit.

use libjpeg_turbo_rs::{
    DecodeLimits, Decoder, Image, JpegError, PixelFormat, RestartResyncStrategy, ResyncAction,
    ScalingFactor,
};

use super::decoded::{Decoded, corrupt, cut_off, orientation, photo, rgb_of_inks};
use super::options::{DecodeOptions, too_much_memory};
use crate::error::{Error, Result};

/// The most scans of a progressive file. Encoders write about ten.
const MAX_SCANS: u64 = 1000;
/// The most pixels in all scans together, as a multiple of the pixels that an image may have.
const MAX_PASSES: u64 = 16;

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions, memory: u64) -> Result<Decoded> {
    let failed = |e| explain(e, bytes, options);
    match whole(bytes, options, memory) {
        Ok(decoded) => Ok(decoded),
        Err(e) if options.allow_truncated && is_damage(&e) => {
            // If the end marker is what is missing, the decoder drops the last scan of some files.
            let mut closed = bytes.to_vec();
            closed.extend([0xff, 0xd9]);
            let memory = memory.saturating_sub(closed.len() as u64);
            let mut decoder = decoder(&closed, options, memory).map_err(failed)?;
            decoder.set_lenient(true);
            let mut decoded = finish(&decoder).map_err(failed)?;
            decoded.damage = Some(failed(e));
            Ok(decoded)
        }
        Err(e) => Err(failed(e)),
    }
}

/// Decodes a file, and fails if anything is missing or damaged.
fn whole(
    bytes: &[u8],
    options: &DecodeOptions,
    memory: u64,
) -> std::result::Result<Decoded, JpegError> {
    let mut decoder = decoder(bytes, options, memory)?;
    decoder.set_resync_strategy(Strict);
    let decoded = finish(&decoder)?;
    if decoder.is_arithmetic() {
        // Arithmetic decoding continues beyond the end with zeros, so only the end marker shows that
        // nothing is missing.
        if !has_end(bytes) {
            return Err(JpegError::UnexpectedEof);
        }
    } else if !decoder.has_multiple_scans() {
        let end = end_of_scans(bytes);
        if !is_needed(&bytes[..end], options, memory) {
            return Err(JpegError::CorruptData("data is left over after the last pixel".into()));
        }
    }
    Ok(decoded)
}

fn decoder<'a>(
    bytes: &'a [u8],
    options: &DecodeOptions,
    memory: u64,
) -> std::result::Result<Decoder<'a>, JpegError> {
    let mut limits = DecodeLimits::default();
    // The format admits no larger frame.
    (limits.max_width, limits.max_height) = (0xffff, 0xffff);
    limits.max_pixels = options.max_pixels;
    limits.max_scans = MAX_SCANS as usize;
    limits.max_memory = Some(memory);
    let mut decoder = Decoder::new_with_limits(bytes, limits)?;
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
    let image = decode_image(decoder)?;
    let orientation = orientation(image.exif_data.as_deref());
    let (width, height) = (image.width as u32, image.height as u32);
    let pixels = match image.pixel_format {
        // Programs write inks into JPEG files inverted.
        PixelFormat::Cmyk => {
            let inks = image.data.chunks_exact(4);
            inks.flat_map(|p| rgb_of_inks([p[0], p[1], p[2], p[3]].map(|v| 255 - v))).collect()
        }
        _ => image.data,
    };
    let photo = photo(width, height, 3, pixels).map_err(|e| {
        // This would be a fault of the decoder, which states the size of its result.
        JpegError::CorruptData(e.message().into())
    })?;
    Ok(Decoded { photo, orientation, damage: None })
}

/// Returns whether the last byte of the only scan, apart from padding, is needed. A file with a wrong bit
/// usually decodes to the last pixel, but rarely uses exactly all bytes for that.
///
/// The image is decoded at an eighth of its size, which takes little more time than reading its codes. An
/// image of four inks is decoded at its full size: the decoder panics on some that it shrinks.
fn is_needed(scan: &[u8], options: &DecodeOptions, memory: u64) -> bool {
    let padding = scan.iter().rev().take_while(|&&byte| byte == 0 || byte == 0xff).count();
    let short = &scan[..scan.len().saturating_sub(padding + 1)];
    let Ok(mut decoder) = decoder(short, options, memory) else { return true };
    let Ok(eighth) = ScalingFactor::try_new(1, 8) else { return true };
    if decoder.header().components.len() < 4 {
        decoder.set_scale(eighth);
    }
    decode_image(&decoder).is_err()
}

/// Decodes an image. A panic of the decoder is damage of the file.
fn decode_image(decoder: &Decoder) -> std::result::Result<Image, JpegError> {
    let decode = || decoder.decode_image();
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(decode))
        .unwrap_or_else(|_| Err(JpegError::CorruptData("the decoder cannot handle it".into())))
}

const END: u8 = 0xd9;

/// Returns code and offset of the first image's markers that have contents, and of its end marker.
fn markers(bytes: &[u8]) -> impl Iterator<Item = (u8, usize)> {
    let mut next = 2;
    std::iter::from_fn(move || {
        loop {
            let at = next;
            let &[first, code] = bytes.get(at..at + 2)? else { return None };
            match (first, code) {
                // A stuffed byte, a restart, or a marker without contents.
                (0xff, 0x00 | 0x01 | 0xd0..=0xd8) => next += 2,
                (0xff, 0xff) => next += 1,
                (0xff, END) => {
                    next = bytes.len();
                    return Some((code, at));
                }
                (0xff, _) => {
                    let &[high, low] = bytes.get(at + 2..at + 4)? else { return None };
                    next += 2 + usize::from(u16::from_be_bytes([high, low]));
                    return Some((code, at));
                }
                _ => next += 1,
            }
        }
    })
}

/// Returns where the scans of the first image end: at its end marker, or at the end of `bytes`.
fn end_of_scans(bytes: &[u8]) -> usize {
    markers(bytes).find(|marker| marker.0 == END).map_or(bytes.len(), |marker| marker.1)
}

fn has_end(bytes: &[u8]) -> bool {
    end_of_scans(bytes) < bytes.len()
}

/// Returns width and height of the first frame in `bytes`, if there is one.
pub(super) fn frame_size(bytes: &[u8]) -> Option<[u16; 2]> {
    // Of these codes, three are no frames: two are tables, and one is reserved.
    let is_frame = |code| matches!(code, 0xc0..=0xcf) && !matches!(code, 0xc4 | 0xc8 | 0xcc);
    let (_, at) = markers(bytes).find(|marker| is_frame(marker.0))?;
    let side = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    Some([side(at + 7)?, side(at + 5)?])
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

fn explain(e: JpegError, bytes: &[u8], options: &DecodeOptions) -> Error {
    let what = match &e {
        JpegError::UnexpectedEof if has_end(bytes) || bytes.ends_with(&[0xff, END]) => {
            corrupt("its data ends before its last pixel")
        }
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
