//! Files to graphs and back: native weight files (safetensors) and ONNX.

mod contents;
#[cfg(feature = "onnx")]
mod onnx;
mod open;
mod prepared;
mod regular;
#[cfg(any(test, feature = "write"))]
mod replacement;
pub mod safetensors;

pub use contents::{Access, SourceFiles};
pub use open::{Opened, from_bytes, open, open_with};
pub use prepared::{PackedTensors, Prepared};
pub use regular::{open_regular, read_regular, read_text, strip_mark};
#[cfg(any(test, feature = "write"))]
pub use replacement::{Replacement, discard_unfinished};
