//! WebP.

use std::io::{Cursor, ErrorKind};

use image_webp::{DecodingError, WebPDecoder};

use super::decoded::{Decoded, corrupt, cut_off, orientation, photo};
use super::options::{DecodeOptions, too_much_memory};
use crate::error::{Error, Result};

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions, memory: u64) -> Result<Decoded> {
    let failed = |e| explain(e, options);
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(failed)?;
    decoder.set_memory_limit(usize::try_from(memory).unwrap_or(usize::MAX));
    let (width, height) = decoder.dimensions();
    // Four samples per pixel in the decoder, four in its result, and the three that are kept.
    options.admit(width, height, 4 + 4 + 3, memory)?;
    let size = decoder.output_buffer_size().ok_or_else(|| too_much_memory(options))?;
    let mut samples = vec![0; size];
    decoder.read_image(&mut samples).map_err(failed)?;
    let channels = if decoder.has_alpha() { 4 } else { 3 };
    let orientation = orientation(decoder.exif_metadata().ok().flatten().as_deref());
    Ok(Decoded { photo: photo(width, height, channels, samples)?, orientation, damage: None })
}

fn explain(e: DecodingError, options: &DecodeOptions) -> Error {
    match &e {
        DecodingError::IoError(e) if e.kind() == ErrorKind::UnexpectedEof => cut_off(),
        DecodingError::MemoryLimitExceeded => too_much_memory(options),
        _ => corrupt(&e),
    }
    .because(e)
}
