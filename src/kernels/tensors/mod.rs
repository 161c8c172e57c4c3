//! Operations on f32 tensors of any rank, whose elements lie in row-major order.
//!
//! Most work in place: who calls them hands over a tensor that nothing else reads, or a copy. The
//! order of a sum depends on the length of the summed axis alone.
//!
//! They allocate nothing but a counter per axis.

pub mod arithmetic;
pub mod function;
pub mod normalise;
pub mod reduce;
pub mod softmax;
pub mod strided;
mod vectors;

#[cfg(test)]
mod tests;
