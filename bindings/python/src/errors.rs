//! Errors of the engine as exceptions of the package.

use dyrelu::{Error, ErrorKind};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// Returns the exception for `error`, of the class that `dyrelu._errors` has for its kind.
pub fn exception(py: Python<'_>, error: &Error) -> PyErr {
    static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let arguments = (kind_name(error.kind()), error.to_string(), error.file(), error.node());
    let make = MAKE.import(py, "dyrelu._errors", "of_kind");
    match make.and_then(|make| make.call1(arguments)) {
        Ok(exception) => PyErr::from_value(exception),
        Err(e) => e,
    }
}

fn kind_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Io => "io",
        ErrorKind::Format => "format",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::Graph => "graph",
        ErrorKind::Shape => "shape",
        ErrorKind::Input => "input",
        ErrorKind::Mismatch => "mismatch",
        ErrorKind::Cancelled => "cancelled",
        ErrorKind::DeadlineExceeded => "deadline_exceeded",
        _ => "other",
    }
}
