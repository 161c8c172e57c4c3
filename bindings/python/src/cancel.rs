//! Tokens that cancel runs.

use dyrelu::CancelToken;
use pyo3::prelude::*;

/// Cancels runs from any thread.
///
/// >>> token = dyrelu.CancelToken()
/// >>> threading.Timer(1.0, token.cancel).start()
/// >>> model.run(images, cancel_token=token)
#[pyclass(frozen, name = "CancelToken", module = "dyrelu")]
pub(crate) struct Token(pub CancelToken);

#[pymethods]
impl Token {
    #[new]
    fn new() -> Self {
        Token(CancelToken::new())
    }

    /// Cancels all runs that have the token, now and later. A run ends after at most one step of its
    /// network.
    fn cancel(&self) {
        self.0.cancel();
    }

    /// Returns whether the token has been cancelled.
    fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}
