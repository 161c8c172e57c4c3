//! The one error type: what went wrong, where, and what to do about it.

use std::fmt;
use std::path::{Path, PathBuf};

/// A `Result` whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of an [`Error`], for programs that react differently to each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused to read, write or start a thread, or has too little memory.
    Io,
    /// A file is damaged, truncated or of another kind than expected.
    Format,
    /// A file or network asks for something that this version does not have.
    Unsupported,
    /// A network contradicts itself: a cycle, a missing value, a wrong number of inputs.
    Graph,
    /// Shapes or element types do not fit together.
    Shape,
    /// An argument cannot be used.
    Input,
    /// Two results that should agree do not.
    Mismatch,
    /// A run was cancelled.
    Cancelled,
    /// The deadline of a run passed.
    DeadlineExceeded,
}

/// What went wrong, and in which file and at which node.
///
/// `Display` writes one line that a user can act on:
/// `net.onnx: node "conv1" (Conv): weight has 3 input channels, the input has 4`.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    file: Option<PathBuf>,
    node: Option<(String, String)>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// Returns the kind of the failure.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the file in which it happened, if there is one.
    pub fn file(&self) -> Option<&Path> {
        self.0.file.as_deref()
    }

    /// Returns the name of the node at which it happened, if there is one.
    pub fn node(&self) -> Option<&str> {
        self.0.node.as_ref().map(|(name, _)| name.as_str())
    }

    /// Returns what went wrong, without the place.
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

/// Errors are made by this crate and its command.
#[doc(hidden)]
impl Error {
    /// Creates an error of `kind`. `message` says in one sentence what was expected, what was found and
    /// what to do.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Error(Box::new(Inner { kind, message, file: None, node: None, source: None }))
    }

    /// Creates an error of kind [`Format`](ErrorKind::Format).
    pub fn format(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Format, message)
    }

    /// Creates an error of kind [`Unsupported`](ErrorKind::Unsupported).
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// Creates an error of kind [`Graph`](ErrorKind::Graph).
    pub fn graph(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Graph, message)
    }

    /// Creates an error of kind [`Shape`](ErrorKind::Shape).
    pub fn shape(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Shape, message)
    }

    /// Creates an error of kind [`Input`](ErrorKind::Input).
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Input, message)
    }

    /// Creates an error of kind [`Io`](ErrorKind::Io), with the operating system's own message.
    pub fn io(file: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::new(ErrorKind::Io, source.to_string()).in_file(file).because(source)
    }

    /// Adds the file in which it happened, unless an inner one is known.
    pub fn in_file(mut self, file: impl AsRef<Path>) -> Self {
        self.0.file.get_or_insert_with(|| file.as_ref().to_path_buf());
        self
    }

    /// Adds the node at which it happened, and its operator, unless an inner one is known.
    pub fn at_node(mut self, name: &str, operator: &str) -> Self {
        self.0.node.get_or_insert_with(|| (name.to_string(), operator.to_string()));
        self
    }

    /// Adds the cause that [`source`](std::error::Error::source) returns.
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.0.file {
            write!(f, "{}: ", file.display())?;
        }
        if let Some((name, operator)) = &self.0.node {
            write!(f, "node {name:?} ({operator}): ")?;
        }
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|e| e as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_the_place_and_keeps_the_innermost() {
        let e = Error::shape("expected 3 channels, found 4")
            .at_node("conv1", "Conv")
            .at_node("outer", "If")
            .in_file("net.onnx");
        assert_eq!(e.to_string(), r#"net.onnx: node "conv1" (Conv): expected 3 channels, found 4"#);
        assert_eq!(e.kind(), ErrorKind::Shape);
        assert_eq!(e.node(), Some("conv1"));
    }
}
