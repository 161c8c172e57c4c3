//! The native weight file.
