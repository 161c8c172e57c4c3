//! The `dyrelu` command.
fn main() {}
