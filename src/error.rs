//! The one error type: what went wrong, where, and what to do about it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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

impl ErrorKind {
    /// Returns a name for logs and messages between programs, such as `deadline_exceeded`. It stays the same
    /// in later versions.
    pub fn name(self) -> &'static str {
        match self {
            ErrorKind::Io => "io",
            ErrorKind::Format => "format",
            ErrorKind::Unsupported => "unsupported",
            ErrorKind::Graph => "graph",
            ErrorKind::Shape => "shape",
            ErrorKind::Input => "input",
            ErrorKind::Mismatch => "mismatch",
            ErrorKind::Cancelled => "cancelled",
            ErrorKind::DeadlineExceeded => "deadline_exceeded",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What went wrong, and in which file and at which node.
///
/// `Display` writes one line that a user can act on:
/// `net.onnx: node "conv1" (Conv): weight has 3 input channels, the input has 4`.
///
/// # Examples
///
/// ```
/// use dyrelu::{Model, Session, Tensor};
///
/// let model = Model::open("models/mobilenetv2-x0.5-dyrelu-b-imagenette.safetensors")?;
/// let small = Tensor::new(&[1, 3, 9, 9], vec![0f32; 243])?;
/// let e = Session::new(&model).run(&[small]).unwrap_err();
/// assert_eq!(e.kind().name(), "input");
/// assert_eq!(e.port(), Some("input"));
/// assert_eq!(e.expected_shape().unwrap(), [None, Some(3), Some(128), Some(128)]);
/// assert_eq!(e.found_shape().unwrap(), [1, 3, 9, 9]);
/// # Ok::<(), dyrelu::Error>(())
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    file: Option<PathBuf>,
    node: Option<(String, String)>,
    port: Option<String>,
    shapes: Option<Shapes>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// Two shapes that differ.
#[derive(Clone)]
struct Shapes {
    /// The size of each axis, `None` for one that is free.
    expected: Vec<Option<usize>>,
    found: Vec<usize>,
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

    /// Returns the name of the input or output of the network that does not fit, if it is about one.
    pub fn port(&self) -> Option<&str> {
        self.0.port.as_deref()
    }

    /// Returns the shape that a tensor should have, if it has another. An axis whose size is free is `None`.
    pub fn expected_shape(&self) -> Option<&[Option<usize>]> {
        self.0.shapes.as_ref().map(|shapes| shapes.expected.as_slice())
    }

    /// Returns the shape that a tensor has, if it should have another.
    pub fn found_shape(&self) -> Option<&[usize]> {
        self.0.shapes.as_ref().map(|shapes| shapes.found.as_slice())
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
        let (file, node, port, shapes, source) = (None, None, None, None, None);
        Error(Box::new(Inner { kind, message, file, node, port, shapes, source }))
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

    /// Adds the input or output of the network that does not fit.
    pub fn at_port(mut self, name: &str) -> Self {
        self.0.port = Some(name.to_string());
        self
    }

    /// Adds the shape that a tensor should have, in which free axes are `None`, and the one that it has.
    pub fn with_shapes(mut self, expected: Vec<Option<usize>>, found: &[usize]) -> Self {
        self.0.shapes = Some(Shapes { expected, found: found.to_vec() });
        self
    }

    /// Adds the cause that [`source`](std::error::Error::source) returns.
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(Arc::from(source.into()));
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

    #[test]
    fn a_clone_has_all_of_the_error() {
        let e = Error::io("net.onnx", std::io::Error::other("broken"))
            .at_port("image")
            .with_shapes(vec![None, Some(3)], &[1, 4]);
        let clone = e.clone();
        assert_eq!(clone.to_string(), e.to_string());
        assert_eq!((clone.port(), clone.file()), (Some("image"), Some(Path::new("net.onnx"))));
        assert_eq!(clone.expected_shape(), Some(&[None, Some(3)][..]));
        assert_eq!(clone.found_shape(), Some(&[1, 4][..]));
        let source = std::error::Error::source(&clone).expect("it has a cause");
        assert_eq!(source.to_string(), "broken");
        assert!(source.is::<std::io::Error>());
    }

    #[test]
    fn an_error_crosses_threads_and_is_boxed() {
        fn check<T: std::error::Error + Send + Sync + 'static>(
            error: T,
        ) -> Box<dyn std::error::Error> {
            error.into()
        }
        let boxed = check(Error::input("no such file"));
        assert_eq!(boxed.downcast_ref::<Error>().map(Error::kind), Some(ErrorKind::Input));
    }
}
