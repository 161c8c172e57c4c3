//! Dense tensors: element types, shapes, layouts, and storage, which may be borrowed from a file.

mod arena;
mod buffer;
mod cast;
mod dtype;
mod layout;
mod parts;
mod shape;
#[allow(clippy::module_inception)] // The folder is about tensors, the file defines one.
mod tensor;

pub use arena::Arena;
pub use buffer::{ALIGNMENT, Aligned, AlignedBuffer, Numbers, StableBytes, Storage};
pub use dtype::{DType, Element};
pub use layout::Layout;
pub use parts::{MOST_PARTS, Parts};
pub use shape::{num_elements, strides};
pub use tensor::Tensor;
