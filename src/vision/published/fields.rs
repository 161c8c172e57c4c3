//! What both kinds of configurations have.

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

pub(super) fn parse<T: DeserializeOwned>(what: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|e| Error::format(format!("{what} cannot be read: {e}")))
}

/// Returns the side before a crop to `side`, rounded down.
pub(super) fn enlarged(side: u32, crop_pct: f64) -> Result<u32> {
    if !(crop_pct > 0.0 && crop_pct.is_finite()) {
        return Err(Error::format(format!("the crop_pct {crop_pct} is no share of a side")));
    }
    // The cast saturates, and what is too large is refused with the other sizes.
    Ok((f64::from(side) / crop_pct).floor() as u32)
}

pub(super) fn unknown_filter(whose: &str, name: &str) -> Error {
    Error::unsupported(format!(
        "{whose} configuration resizes by the filter {name}; supported are nearest, bilinear, bicubic and \
         lanczos"
    ))
}
