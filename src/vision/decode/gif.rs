//! GIF: the first frame.

use std::io::{Cursor, ErrorKind};

use gif::{ColorOutput, DecodingError, MemoryLimit};

use super::decoded::{Decoded, corrupt, cut_off};
use super::options::DecodeOptions;
use crate::error::{Error, Result};
use crate::vision::Photo;

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions, memory: u64) -> Result<Decoded> {
    let mut settings = gif::DecodeOptions::new();
    settings.set_color_output(ColorOutput::Indexed);
    // The size of the frame is checked below, before its pixels are read.
    settings.set_memory_limit(MemoryLimit::Unlimited);
    let mut decoder = settings.read_info(Cursor::new(bytes)).map_err(explain)?;
    let screen = (decoder.width(), decoder.height());
    let frame = decoder.next_frame_info().map_err(explain)?.ok_or_else(cut_off)?;
    let [left, top, frame_width, frame_height] =
        [frame.left, frame.top, frame.width, frame.height].map(u32::from);
    let transparent = frame.transparent;
    // The screen grows to hold the first frame, as in Pillow.
    let width = u32::from(screen.0).max(left + frame_width);
    let height = u32::from(screen.1).max(top + frame_height);
    // An index and three channels per pixel.
    options.admit(width, height, 1 + 3, memory)?;
    let colours = decoder.palette().map_err(explain)?;
    let mut palette = [[0; 3]; 256];
    for (colour, rgb) in palette.iter_mut().zip(colours.as_chunks().0) {
        *colour = *rgb;
    }
    let mut indices = vec![0; frame_width as usize * frame_height as usize];
    let damage = decoder.read_into_buffer(&mut indices).err().map(explain);
    let background = palette[usize::from(transparent.unwrap_or(0))];
    let mut pixels = background.repeat(width as usize * height as usize);
    for (y, row) in indices.chunks_exact(frame_width.max(1) as usize).enumerate() {
        let start = 3 * ((top as usize + y) * width as usize + left as usize);
        for (index, pixel) in row.iter().zip(pixels[start..].as_chunks_mut().0) {
            *pixel = palette[usize::from(*index)];
        }
    }
    Ok(Decoded { photo: Photo::new(width, height, pixels)?, orientation: 1, damage })
}

fn explain(e: DecodingError) -> Error {
    match &e {
        DecodingError::Io(e) if e.kind() == ErrorKind::UnexpectedEof => cut_off(),
        _ => corrupt(&e),
    }
    .because(e)
}
