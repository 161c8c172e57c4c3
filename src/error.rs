//! The one error type: what went wrong, where, and what to do about it.

use std::fmt;
use std::path::{Path, PathBuf};

/// A `Result` whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of failure an [`Error`] is, for programs that react differently to each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused to read or write.
    Io,
    /// A file is damaged, truncated or not of the kind that was expected.
    Format,
    /// A file or network asks for something that this version does not have.
    Unsupported,
    /// A network contradicts itself: a cycle, a missing value, a wrong number of inputs.
    Graph,
    /// Shapes or element types do not fit together.
    Shape,
    /// The caller passed something that cannot be used.
    Input,
    /// Two results that ought to agree do not.
    Mismatch,
}

/// A failure, with the file and the node at which it happened.
///
/// `Display` gives one line that a user can act on:
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
    /// A failure of `kind`, described by `message` in words that a user can act on.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Error(Box::new(Inner { kind, message, file: None, node: None, source: None }))
    }

    /// Damaged or foreign file contents.
    pub fn format(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Format, message)
    }

    /// Something that this version does not have.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// A network that contradicts itself.
    pub fn graph(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Graph, message)
    }

    /// Shapes or element types that do not fit together.
    pub fn shape(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Shape, message)
    }

    /// An argument that cannot be used.
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Input, message)
    }

    /// A refusal by the operating system while reading or writing `file`.
    pub fn io(file: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::new(ErrorKind::Io, source.to_string()).in_file(file).because(source)
    }

    /// Names the file in which it happened; the innermost name stays.
    pub fn in_file(mut self, file: impl AsRef<Path>) -> Self {
        self.0.file.get_or_insert_with(|| file.as_ref().to_path_buf());
        self
    }

    /// Names the node, and its operator, at which it happened; the innermost name stays.
    pub fn at_node(mut self, name: &str, operator: &str) -> Self {
        self.0.node.get_or_insert_with(|| (name.to_string(), operator.to_string()));
        self
    }

    /// Keeps the underlying failure for [`std::error::Error::source`].
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The file in which it happened, if there is one.
    pub fn file(&self) -> Option<&Path> {
        self.0.file.as_deref()
    }

    /// The name of the node at which it happened, if there is one.
    pub fn node(&self) -> Option<&str> {
        self.0.node.as_ref().map(|(name, _)| name.as_str())
    }

    /// What went wrong, without the place.
    pub fn message(&self) -> &str {
        &self.0.message
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
