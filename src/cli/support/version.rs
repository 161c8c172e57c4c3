//! `dyrelu --version`: what this program is.

use std::env::consts::{ARCH, OS};
use std::sync::LazyLock;

use dyrelu::simd::Isa;

/// Describes the build, the instruction sets and the features of the program.
pub fn long() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(describe);
    &TEXT
}

fn describe() -> String {
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    let names: Vec<_> = Isa::available().iter().map(|isa| isa.name()).collect();
    let features =
        [("cli", true), ("onnx", cfg!(feature = "onnx")), ("vision", cfg!(feature = "vision"))];
    let features: Vec<_> = features.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
    format!(
        "{}\nbuild: {build} for {ARCH} {OS}\ninstruction sets: {} (in use: {})\nfeatures: {}",
        env!("CARGO_PKG_VERSION"),
        names.join(", "),
        Isa::get().name(),
        features.join(", ")
    )
}
