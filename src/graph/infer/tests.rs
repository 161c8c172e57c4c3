//! Shape inference, a table for every family of operators.
