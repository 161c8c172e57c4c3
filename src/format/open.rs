//! Files to networks, whatever their format.

use std::path::Path;

use super::contents::{Contents, Place};
#[cfg(feature = "onnx")]
use super::onnx;
use super::{Access, Prepared, SourceFiles, safetensors};
use crate::error::Result;
use crate::graph::Graph;

/// A network as a file has it.
pub struct Opened {
    /// The network.
    pub graph: Graph,
    /// What the file holds for the compiler.
    pub prepared: Option<Prepared>,
    /// The files that the tensors of both borrow from.
    pub files: SourceFiles,
}

/// Reads the network in the native weight file or the ONNX file at `path`.
///
/// # Errors
///
/// As [`open_with`].
pub fn open(path: impl AsRef<Path>) -> Result<Graph> {
    open_with(path, None, Access::read()).map(|opened| opened.graph)
}

/// Opens the network in the native weight file or the ONNX file at `path`, and what the file holds
/// for the compiler.
///
/// The contents of the file decide which of the two it is, not its name. Tensors borrow from the
/// contents, which come into memory by `access`. The external data of an ONNX file may lie under
/// `data_root`, too.
///
/// # Errors
///
/// - [`Io`](crate::ErrorKind::Io) if a file cannot be read.
/// - [`Format`](crate::ErrorKind::Format) if the file is damaged or holds no network.
/// - [`Unsupported`](crate::ErrorKind::Unsupported) if it asks for something that this version does
///   not have.
/// - [`Graph`](crate::ErrorKind::Graph) if the network contradicts itself.
pub fn open_with(
    path: impl AsRef<Path>,
    data_root: Option<&Path>,
    access: Access,
) -> Result<Opened> {
    let path = path.as_ref();
    let contents = Contents::open(path, access)?;
    network(contents, Some(Place { path, data_root, access })).map_err(|e| e.in_file(path))
}

/// Reads the network in the contents of a native weight file or an ONNX file, and what the file holds
/// for the compiler. `bytes` are copied once.
///
/// # Errors
///
/// As [`open_with`], and [`Input`](crate::ErrorKind::Input) if a tensor lies in another file.
pub fn from_bytes(bytes: &[u8]) -> Result<Opened> {
    network(Contents::copy_of(bytes)?, None)
}

fn network(contents: Contents, place: Option<Place>) -> Result<Opened> {
    // A safetensors file begins with the length of its header, then the header, which is JSON.
    if contents.as_ref().get(8) == Some(&b'{') {
        let (graph, prepared) = safetensors::read(contents.clone())?;
        return Ok(Opened { graph, prepared, files: SourceFiles::new(vec![contents]) });
    }
    #[cfg(feature = "onnx")]
    return onnx::read(contents, place).map(|(graph, files)| Opened {
        graph,
        prepared: None,
        files,
    });
    #[cfg(not(feature = "onnx"))]
    {
        let _ = place;
        Err(crate::error::Error::unsupported(
            "this is no native weight file; to read ONNX, build with the feature \"onnx\"",
        ))
    }
}
