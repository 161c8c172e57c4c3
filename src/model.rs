//! What an embedding user holds: a [`Model`] that is shared, and a [`Session`] a caller.

/// An immutable network, ready to run.
pub struct Model;

/// The scratch memory of one caller.
pub struct Session;
