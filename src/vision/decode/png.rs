//! PNG.

use std::io::{Cursor, ErrorKind};

use png::{DecodingError, Limits, Transformations};

use super::decoded::{Decoded, corrupt, cut_off, orientation, photo};
use super::options::{DecodeOptions, too_much_memory};
use crate::error::{Error, Result};

/// The chunk that ends a file.
const END: [u8; 12] = *b"\0\0\0\0IEND\xaeB`\x82";

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions, memory: u64) -> Result<Decoded> {
    let (decoded, ended) = read(bytes, options, memory)?;
    if ended {
        // The end chunk, or a part of it, may be all that is missing.
        let there = (0..END.len()).rev().find(|&n| bytes.ends_with(&END[..n])).unwrap_or(0);
        let closed = [&bytes[..bytes.len() - there], &END].concat();
        if let Some(memory) = memory.checked_sub(closed.len() as u64)
            && let Ok((whole, _)) = read(&closed, options, memory)
            && whole.damage.is_none()
        {
            return Ok(whole);
        }
    }
    Ok(decoded)
}

/// Decodes `bytes`, and returns whether they end too early.
fn read(bytes: &[u8], options: &DecodeOptions, memory: u64) -> Result<(Decoded, bool)> {
    let failed = |e| explain(e, options);
    let mut checks = png::DecodeOptions::default();
    checks.set_ignore_adler32(false);
    checks.set_ignore_text_chunk(true);
    let mut decoder = png::Decoder::new_with_options(Cursor::new(bytes), checks);
    decoder.set_limits(Limits { bytes: usize::try_from(memory).unwrap_or(usize::MAX) });
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(Transformations::normalize_to_color8());
    let header = decoder.read_header_info().map_err(failed)?;
    let (width, height) = header.size();
    // At most four samples per pixel, and the three that are kept.
    options.admit(width, height, 4 + 3, memory)?;
    let mut reader = decoder.read_info().map_err(failed)?;
    let size = reader.output_buffer_size().ok_or_else(|| too_much_memory(options))?;
    let mut samples = vec![0; size];
    // The checksum of the pixels follows them, and is checked by `finish`.
    let damage = reader.next_frame(&mut samples).and_then(|_| reader.finish()).err();
    let channels = reader.output_color_type().0.samples();
    let photo = photo(width, height, channels, samples)?;
    let orientation = orientation(reader.info().exif_metadata.as_deref());
    let ended = damage.as_ref().is_some_and(is_end);
    Ok((Decoded { photo, orientation, damage: damage.map(failed) }, ended))
}

fn is_end(e: &DecodingError) -> bool {
    matches!(e, DecodingError::IoError(e) if e.kind() == ErrorKind::UnexpectedEof)
}

fn explain(e: DecodingError, options: &DecodeOptions) -> Error {
    match &e {
        e if is_end(e) => cut_off(),
        DecodingError::LimitsExceeded => too_much_memory(options),
        _ => corrupt(&e),
    }
    .because(e)
}
