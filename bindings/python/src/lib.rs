//! The extension module `dyrelu._dyrelu`: networks and their runs.
//!
//! The package around it, in `python/dyrelu`, makes arrays of what callers pass and is what they see.

mod activations;
mod cancel;
mod errors;
mod explainer;
mod images;
mod network;

/// Networks and their runs.
#[pyo3::pymodule]
mod _dyrelu {
    #[pymodule_export]
    use super::cancel::Token;
    #[pymodule_export]
    use super::explainer::Explainer;
    #[pymodule_export]
    use super::network::Network;
}
