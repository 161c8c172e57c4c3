//! Files to graphs and back: native weight files (safetensors) and ONNX.

mod mapped;
#[cfg(feature = "onnx")]
pub mod onnx;
mod prepared;
mod replacement;
pub mod safetensors;

pub use prepared::{PackedTensors, Prepared};
pub use replacement::Replacement;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};
use crate::graph::Graph;

/// Reads a network from a native weight file or an ONNX file, by what is in it and not by its
/// name.
///
/// # Errors
/// `Io`, `Format` and `Unsupported` as the reader of its kind says.
pub fn open(path: impl AsRef<Path>) -> Result<Graph> {
    open_prepared(path).map(|(graph, _)| graph)
}

/// As [`open`], with what the file knows about the compilation of its network.
///
/// # Errors
/// As [`open`].
pub fn open_prepared(path: impl AsRef<Path>) -> Result<(Graph, Option<Prepared>)> {
    let path = path.as_ref();
    let mut start = Vec::new();
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    file.take(9).read_to_end(&mut start).map_err(|e| Error::io(path, e))?;
    // A safetensors file begins with the length of its header, then the header, which is JSON.
    if start.get(8) == Some(&b'{') {
        return safetensors::read(path);
    }
    #[cfg(feature = "onnx")]
    return Ok((onnx::read(path)?, None));
    #[cfg(not(feature = "onnx"))]
    Err(Error::unsupported(
        "this is no native weight file; to read ONNX, build with the feature \"onnx\"",
    )
    .in_file(path))
}
