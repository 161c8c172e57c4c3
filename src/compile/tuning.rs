//! The thresholds of the compiler, each with its unit, its reason and the benchmark that shows it.
//!
//! Thresholds for cutting the work of steps are in `plan`. Limits that only bound a search or the
//! size of a folded constant stand beside the code that they apply to.

/// Minimum number of input channels, and of output channels, of a convolution that uses Winograd's
/// algorithm.
///
/// Convolutions with fewer channels take little of the time of any network, so that the smaller
/// rounding error of the direct algorithm is preferred. Benchmark: `cargo bench --bench kernels --
/// 3x3/.*/56x56`. Winograd's algorithm is the faster one there with 64, 16 and also with 8 channels.
pub(super) const WINOGRAD_CHANNELS: usize = 16;

/// Minimum height and width, in pixels, of the output of a convolution that uses Winograd's algorithm.
///
/// The transformed weights are four times as large as the plain ones. Layers with small maps have the
/// most weights and gain the least: those of ResNet-18 on maps of 7x7 would take 113 MB in place of 28,
/// which have to be transformed while loading. Benchmark: `cargo bench --bench kernels -- 3x3` compares
/// the run times of both algorithms on maps of 7x7 to 56x56 pixels. Winograd's takes a third of the time
/// on maps of 12x12 and three quarters on maps of 7x7.
pub(super) const WINOGRAD_SIDE: usize = 12;

/// Minimum size of a map, in elements per image, for the convolution that computes it and the
/// depthwise convolution that reads it to become one step.
///
/// 140 000 elements of four bytes are about half a megabyte, the size of the second-level cache of
/// common processors. A smaller map is still in that cache when the depthwise convolution reads it,
/// and a joined step would only compute the lines where blocks meet twice. Benchmark:
/// `cargo bench --bench networks`, with this threshold and with another one.
pub(super) const JOINED_MAP: usize = 140_000;

/// Maximum stride and dilation, in pixels, of a depthwise convolution that becomes one step with the
/// convolution before it.
///
/// A joined step computes the lines that the window skips in vain, and keeps all lines that the
/// window spans in the workspace. Published networks use at most 4, so that this only excludes sizes
/// for which the workspace would be large. Benchmark: `cargo bench --bench networks`, with
/// `DYRELU_BENCH_MODELS` naming a folder that has such a network.
pub(super) const JOINED_STEP: usize = 16;

/// Plain weights, in bytes, that are packed before the pages of the files that hold them are
/// returned to the system.
///
/// A smaller number means more system calls. A larger one would be noticeable beside the packed
/// weights of a small network, which have about 14 MB. Benchmark:
/// `python -m dyrelu_tools.loading_onnx`, which prints the time and the peak memory of a load.
pub(super) const HELD_BYTES: usize = 4 << 20;
