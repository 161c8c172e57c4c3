//! Photos to tensors, scores to names.
