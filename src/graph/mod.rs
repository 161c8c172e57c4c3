//! What a network means: values, nodes and their shapes, independent of file formats and of how it
//! runs.

mod bind;
pub mod cost;
mod dim;
pub(crate) mod geometry;
#[allow(clippy::module_inception)] // The folder is about graphs, the file defines one.
mod graph;
pub mod infer;
mod links;
mod op;
pub(crate) mod predicates;
mod prune;
mod rewriter;
mod single_precision;
mod tensor_type;
mod validate;

pub use bind::bind_inputs;
pub use dim::{Bindings, Dim};
pub use graph::{Graph, Node, NodeId, Value, ValueId};
pub use links::Links;
pub use op::*;
pub use rewriter::Rewriter;
#[cfg(feature = "onnx")]
pub(crate) use single_precision::element_types;
pub use single_precision::in_single_precision;
pub use tensor_type::TensorType;
