//! Errors of the engine as exceptions of the package.

use dyrelu::Error;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// Returns the exception for `error`, of the class that `dyrelu._errors` has for its kind.
pub fn exception(py: Python<'_>, error: &Error) -> PyErr {
    static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let arguments = (error.kind().name(), error.to_string(), error.file(), error.node());
    let make = MAKE.import(py, "dyrelu._errors", "of_kind");
    match make.and_then(|make| make.call1(arguments)) {
        Ok(exception) => PyErr::from_value(exception),
        Err(e) => e,
    }
}
