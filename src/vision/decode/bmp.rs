//! BMP.

use zune_bmp::BmpDecoder;
use zune_bmp::zune_core::bytestream::ZCursor;
use zune_bmp::zune_core::options::DecoderOptions;

use super::{DecodeOptions, Decoded, corrupt, photo};
use crate::error::Result;

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions, memory: u64) -> Result<Decoded> {
    // The limits of the decoder are sides, those of the options are checked below.
    let strict = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX);
    let mut decoder = BmpDecoder::new_with_options(ZCursor::new(bytes), strict);
    decoder.decode_headers().map_err(|e| corrupt(format!("{e:?}")))?;
    let (width, height) = decoder.dimensions().unwrap_or_default();
    let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
    let (width, height) = (side(width), side(height));
    // At most four samples, and the three that are kept.
    options.admit(width, height, 4 + 3, memory)?;
    let channels = decoder.colorspace().map_or(3, |space| space.num_components());
    let samples = decoder.decode().map_err(|e| corrupt(format!("{e:?}")))?;
    Ok(Decoded { photo: photo(width, height, channels, samples)?, orientation: 1, damage: None })
}
