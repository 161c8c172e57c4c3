//! CPU inference for convolutional networks with *dynamic ReLU*.
//!
//! A dynamic ReLU (Chen et al., ECCV 2020, [arXiv 2003.10027](https://arxiv.org/abs/2003.10027))
//! is `y = max over k of (a_k(x) * x + b_k(x))`: a piecewise-linear activation whose coefficients
//! the network computes from its own input. This crate opens networks in ONNX files and in weight files
//! of its own, recognises their dynamic ReLUs however they were written, and computes each as one
//! operation, inside the convolutions around it.
//!
//! # Classify a photo
//!
//! ```
//! # #[cfg(feature = "vision")] {
//! use dyrelu::vision::{self, Classifier};
//! use dyrelu::{Model, Session};
//!
//! let model = Model::open("models/efficientnet-lite0-dyrelu-b.safetensors")?;
//! let mut classifier = Classifier::new(Session::new(&model))?;
//! let guesses = classifier.classify(&vision::load("examples/photos/church.jpg")?, 5)?;
//! assert_eq!(guesses[0].label, "church");
//! # }
//! # Ok::<(), dyrelu::Error>(())
//! ```
//!
//! The file states how photos are prepared and what the classes are called. For one that does not,
//! [`Classifier::with_parts`](vision::Classifier::with_parts) takes both.
//!
//! # Embed a network
//!
//! A [`Model`] is immutable and shared between threads. Each thread that runs it has a [`Session`].
//! [`Session::run_into`] reads and writes slices of the caller, and for most networks allocates
//! nothing once it has run.
//!
//! ```
//! use dyrelu::{Model, Session};
//!
//! let model = Model::open("models/mobilenetv2-x0.5-dyrelu-b-imagenette.safetensors")?;
//! let run = || -> dyrelu::Result<[f32; 10]> {
//!     let mut session = Session::new(&model);
//!     let (image, mut scores) = (vec![0.5; 3 * 128 * 128], [0.0; 10]);
//!     for _ in 0..3 {
//!         session.run_into(&[(&[1, 3, 128, 128], &image)], &mut [&mut scores])?;
//!     }
//!     Ok(scores)
//! };
//! let (here, there) = std::thread::scope(|scope| {
//!     let other = scope.spawn(run);
//!     (run(), other.join().expect("it does not panic"))
//! });
//! assert_eq!(here?, there?);
//! # Ok::<(), dyrelu::Error>(())
//! ```
//!
//! # The operation alone
//!
//! [`DynamicRelu`] applies one dynamic ReLU to feature maps in memory, in NCHW or NHWC.
//!
//! ```
//! use dyrelu::{DynamicRelu, Layout, Linear};
//!
//! let (channels, hidden) = (16, 4);
//! let fc1 = Linear { weight: &vec![0.1; hidden * channels], bias: &vec![0.0; hidden] };
//! let fc2 = Linear { weight: &vec![0.2; 4 * channels * hidden], bias: &vec![0.0; 4 * channels] };
//! let mut relu = DynamicRelu::new(channels, fc1, fc2)?;
//!
//! let mut map = vec![1.0; channels * 7 * 7];
//! relu.apply(&mut map, 1, Layout::Nchw)?;
//! # Ok::<(), dyrelu::Error>(())
//! ```
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `onnx` | ONNX files; without it, [`Model`] opens native weight files only |
//! | `vision` | the module [`vision`]: photos to tensors, scores to names |
//! | `tracing` | a span of the crate `tracing` per run (level debug) and per step (level trace), with the target `dyrelu` |
//! | `cli` (default) | the command `dyrelu`, and the features `onnx` and `vision` |
//!
//! A program that embeds the crate sets `default-features = false` and names what it needs. Without any
//! feature, the crate runs native weight files on tensors. `docs/embedding.md` has the rules of threads,
//! memory, deadlines and errors.
//!
//! # What is promised
//!
//! The items on these pages. Whatever else can be named is hidden because only the command, the bindings,
//! the tests and the benchmarks use it: it may change or go in any version.
#![deny(unsafe_code)]

// Code that is shared with the integration tests names the crate as they do.
#[cfg(test)]
extern crate self as dyrelu;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod dynamic_relu;
mod error;
mod model;
mod session;
#[cfg(feature = "vision")]
pub mod vision;

// For the command, the bindings, the tests and the benchmarks. Nothing here is promised.
#[doc(hidden)]
pub mod compile;
#[cfg(feature = "explain")]
#[doc(hidden)]
pub mod explain;
#[doc(hidden)]
pub mod format;
#[doc(hidden)]
pub mod graph;
#[doc(hidden)]
pub mod kernels;
#[cfg(feature = "explain")]
#[doc(hidden)]
pub mod pictures;
#[doc(hidden)]
pub mod plan;
#[doc(hidden)]
pub mod reference;
#[doc(hidden)]
pub mod simd;
#[doc(hidden)]
pub mod tensor;

pub use compile::Options;
pub use dynamic_relu::{DynamicRelu, Form, Linear};
pub use error::{Error, ErrorKind, Result};
pub use graph::Squash;
pub use model::{Model, Port};
pub use plan::{CancelToken, RunOptions, StepTime};
pub use session::{InputView, Session};
pub use tensor::{DType, Element, Layout, Tensor};

// Types of other crates in public signatures: elements of a `Tensor`, and the pool of a `Session`.
#[doc(no_inline)]
pub use half::{bf16, f16};
#[doc(no_inline)]
pub use rayon::{ThreadPool, ThreadPoolBuilder};
