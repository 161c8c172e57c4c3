//! Files to graphs and back: native weight files (safetensors) and ONNX.

mod mapped;
#[cfg(feature = "onnx")]
pub mod onnx;
mod prepared;
mod regular;
mod replacement;
pub mod safetensors;

pub use mapped::MappedFiles;
pub use prepared::{PackedTensors, Prepared};
pub use regular::{open_regular, read_regular, read_text, strip_mark};
pub use replacement::{Replacement, discard_unfinished};

use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};
use crate::graph::Graph;

/// A network as a file has it.
pub struct Opened {
    /// The network.
    pub graph: Graph,
    /// What the file knows about the compilation of its network.
    pub prepared: Option<Prepared>,
    /// The files that the tensors of both borrow from.
    pub files: MappedFiles,
}

/// Reads a network from a native weight file or an ONNX file, by what is in it and not by its
/// name.
///
/// # Errors
/// `Io`, `Format` and `Unsupported` as the reader of its kind says.
pub fn open(path: impl AsRef<Path>) -> Result<Graph> {
    open_with(path, None).map(|opened| opened.graph)
}

/// As [`open`], with what the file knows about the compilation of its network.
///
/// # Errors
/// As [`open`].
pub fn open_prepared(path: impl AsRef<Path>) -> Result<(Graph, Option<Prepared>)> {
    open_with(path, None).map(|opened| (opened.graph, opened.prepared))
}

/// As [`open`], with all that there is to know about the file. The external data of an ONNX file
/// may lie under `data_root`, too.
///
/// # Errors
/// As [`open`].
pub fn open_with(path: impl AsRef<Path>, data_root: Option<&Path>) -> Result<Opened> {
    let path = path.as_ref();
    let mut start = Vec::new();
    let file = open_regular(path)?;
    file.take(9).read_to_end(&mut start).map_err(|e| Error::io(path, e))?;
    // A safetensors file begins with the length of its header, then the header, which is JSON.
    if start.get(8) == Some(&b'{') {
        let (graph, prepared, files) = safetensors::read_with(path)?;
        return Ok(Opened { graph, prepared, files });
    }
    #[cfg(feature = "onnx")]
    return onnx::read_with(path, data_root).map(|(graph, files)| Opened {
        graph,
        prepared: None,
        files,
    });
    #[cfg(not(feature = "onnx"))]
    {
        let _ = data_root;
        Err(Error::unsupported(
            "this is no native weight file; to read ONNX, build with the feature \"onnx\"",
        )
        .in_file(path))
    }
}
