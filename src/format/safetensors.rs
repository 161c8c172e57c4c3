//! The native weight file.

use std::path::Path;

use crate::error::{Error, Result};
use crate::graph::Graph;

/// Reads the network in the file at `path`.
///
/// # Errors
/// To come.
pub fn read(path: impl AsRef<Path>) -> Result<Graph> {
    Err(Error::unsupported("native files").in_file(path))
}
