//! What a caller decides about a network.

use std::path::PathBuf;

/// How a network is opened and computed.
///
/// ```
/// let options = dyrelu::Options::default().winograd(false);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    pub(crate) external_data_root: Option<PathBuf>,
    pub(crate) winograd: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { external_data_root: None, winograd: true }
    }
}

impl Options {
    /// Allows links to lead to `folder` for the external data of an ONNX file. By default there is no
    /// such folder.
    ///
    /// External data lies in the folder of its model or under it. A link there that leads elsewhere is
    /// refused, unless it leads to `folder` or under it.
    pub fn external_data_root(mut self, folder: impl Into<PathBuf>) -> Self {
        self.external_data_root = Some(folder.into());
        self
    }

    /// Sets whether 3x3 convolutions of large maps may use Winograd's algorithm, which is faster and
    /// rounds a little more. By default they may.
    pub fn winograd(mut self, allow: bool) -> Self {
        self.winograd = allow;
        self
    }
}
