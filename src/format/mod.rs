//! Files to graphs and back: native weight files (safetensors) and ONNX.

mod mapped;
#[cfg(feature = "onnx")]
pub mod onnx;
mod prepared;
mod regular;
mod replacement;
pub mod safetensors;

pub use prepared::{PackedTensors, Prepared};
pub use regular::{open_regular, read_regular, read_text, strip_mark};
pub use replacement::{Replacement, discard_unfinished};

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
    open_with(path, None)
}

/// As [`open_prepared`]; the external data of an ONNX file may lie under `data_root`, too.
///
/// # Errors
/// As [`open`].
pub fn open_with(
    path: impl AsRef<Path>,
    data_root: Option<&Path>,
) -> Result<(Graph, Option<Prepared>)> {
    let path = path.as_ref();
    let mut start = Vec::new();
    let file = open_regular(path)?;
    file.take(9).read_to_end(&mut start).map_err(|e| Error::io(path, e))?;
    // A safetensors file begins with the length of its header, then the header, which is JSON.
    if start.get(8) == Some(&b'{') {
        return safetensors::read(path);
    }
    #[cfg(feature = "onnx")]
    return Ok((onnx::read_with(path, data_root)?, None));
    #[cfg(not(feature = "onnx"))]
    {
        let _ = data_root;
        Err(Error::unsupported(
            "this is no native weight file; to read ONNX, build with the feature \"onnx\"",
        )
        .in_file(path))
    }
}
