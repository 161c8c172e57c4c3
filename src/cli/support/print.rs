//! What commands write to standard output and standard error.

use std::io::Write;

use dyrelu::{Error, ErrorKind, Result};

/// The format of printed results.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TextOrJson {
    /// Tables and sentences for people.
    Text,
    /// JSON for programs.
    Json,
}

/// Writes text to standard output and flushes it.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(output_failed)
}

/// The error for results that could not be written.
pub fn output_failed(e: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot write to standard output: {e}")).because(e)
}

/// Whether writing failed because the reader of the output closed it, as `head` does.
pub fn is_broken_pipe(e: &Error) -> bool {
    let source = std::error::Error::source(e);
    source
        .and_then(|s| s.downcast_ref::<std::io::Error>())
        .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Writes a line to standard error. A write that fails is ignored: there is nowhere to report it.
pub fn print_stderr(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A number with what it counts, such as `1 photo` or `2 photos`.
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Serialises a result of a command.
pub fn to_json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|e| Error::new(ErrorKind::Format, format!("cannot write the result as JSON: {e}")))
}
