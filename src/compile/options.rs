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
    pub(crate) full_precision: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { external_data_root: None, winograd: true, full_precision: false }
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

    /// Sets whether the weights of hyperfunctions are kept in single precision where their file has them
    /// so. By default they are rounded to 16 bits when they are packed, which halves the memory that a run
    /// reads for them: to integers with a factor per hidden unit, if that changes the weights of a layer by
    /// at most 1e-4 (root mean square of the errors over the mean magnitude of the weights).
    pub fn full_precision(mut self, keep: bool) -> Self {
        self.full_precision = keep;
        self
    }
}
