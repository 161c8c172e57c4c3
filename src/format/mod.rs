//! Files to graphs and back: native weight files (safetensors) and ONNX.

#[cfg(feature = "onnx")]
pub mod onnx;
pub mod safetensors;
