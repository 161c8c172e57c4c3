//! Reads ONNX files, opsets 6 to the newest. Weights borrow from the contents of the file.
//!
//! What no output needs is skipped, and may be of types and operators that this crate does not have.

mod attention;
mod attributes;
mod compose;
mod contributed;
mod einsum;
mod external;
mod indexing;
mod inputs;
mod legacy;
mod live;
mod names;
mod normalisation;
mod operators;
mod proto;
mod quantisation;
mod random;
mod random_numbers;
mod reader;
mod sampling;
mod schema;
mod scope;
mod scopes;
mod sparse;
mod table;
mod tensors;
#[cfg(test)]
mod tests;
mod training;

pub(super) use reader::read;
