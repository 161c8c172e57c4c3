//! CPU inference for convolutional networks with *dynamic ReLU*.
//!
//! A dynamic ReLU (Chen et al., ECCV 2020, [arXiv 2003.10027](https://arxiv.org/abs/2003.10027))
//! is `y = max over k of (a_k(x) * x + b_k(x))`: a piecewise-linear activation whose coefficients
//! the network computes from its own input. This crate reads such networks, from ONNX or from its
//! own weight files, however the activation was written, and runs it as one operation.
#![deny(unsafe_code)]

// Code that is shared with the integration tests names the crate as they do.
#[cfg(test)]
extern crate self as dyrelu;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

pub mod compile;
mod dynamic_relu;
pub mod error;
pub mod format;
pub mod graph;
pub mod kernels;
mod model;
pub mod plan;
pub mod reference;
pub mod simd;
pub mod tensor;
#[cfg(feature = "vision")]
pub mod vision;

pub use compile::Options;
pub use dynamic_relu::{DynamicRelu, Form, Linear};
pub use error::{Error, ErrorKind, Result};
pub use graph::Squash;
pub use model::{Model, Port, Session};
pub use tensor::{DType, Layout, Tensor};
