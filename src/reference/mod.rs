//! The plain executor of a graph, written to be obviously correct: the oracle of every test.
//!
//! Each file has one family of operators, in loops that can be compared with the operators'
//! definitions. Sums are computed in f64 and rounded once.

mod convolution;
mod dynamic;
mod elementwise;
mod evaluate;
mod indexing;
mod inputs;
mod linear;
mod movement;
mod normalise;
mod numbers;
mod pool;
mod reduce;
mod resize;
mod run;
mod sampling;

pub use evaluate::evaluate;
pub use run::{run, trace};
