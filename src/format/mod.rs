//! Files to graphs and back: native weight files (safetensors) and ONNX.

#[cfg(feature = "onnx")]
pub mod onnx;
pub mod safetensors;

use std::path::Path;

use crate::error::{Error, Result};
use crate::graph::Graph;

/// Reads a network from a native weight file or an ONNX file, by what is in it.
///
/// # Errors
/// `Io`, `Format` and `Unsupported` as the reader of the kind says.
pub fn open(path: impl AsRef<Path>) -> Result<Graph> {
    Err(Error::unsupported("reading files").in_file(path))
}
