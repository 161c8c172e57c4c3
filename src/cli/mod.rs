//! The command line.

mod commands;
mod program;
mod support;

pub use program::main;
