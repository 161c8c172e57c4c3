//! dyrelu for C and C++.
//!
//! Each function checks its arguments, and returns a status. `include/dyrelu.h` is made from this crate:
//! `DYRELU_WRITE_HEADER=1 cargo test -p dyrelu-c --test header` writes it.

mod arguments;
mod cancel;
mod dtype;
mod handles;
mod model;
mod session;
mod status;
