//! Thresholds by which the compiler chooses, each with its unit, its reason and the bench that
//! shows it. Those by which steps cut their work are in `plan`; limits on what is searched or
//! folded, which change no result that anyone waits for, stand where they apply.

/// Channels that a map must have at least on both sides of a convolution that goes by Winograd's
/// algorithm.
///
/// A transform of an input tile is shared by all output channels, and that of an output tile by all
/// input channels: with few of either, transforms cost more than the multiplications that they
/// save. `cargo bench --bench kernels -- 3x3`.
pub(super) const WINOGRAD_CHANNELS: usize = 16;

/// Pixels that the output of a convolution by Winograd's algorithm must have at least along each
/// side.
///
/// Tiles are 4x4, so that a map of 7x7 is computed as 8x8; and transformed weights are four times
/// as many, which few tiles do not pay for. `cargo bench --bench kernels -- 3x3`.
pub(super) const WINOGRAD_SIDE: usize = 12;

/// Elements of one image of a map, from which on a depthwise convolution is joined with the
/// convolution that computes the map.
///
/// 140 000 numbers of four bytes are half a megabyte, the second cache of common processors: a
/// smaller map is still there when the depthwise convolution reads it, and computing lines twice
/// where blocks meet would be for nothing. `cargo bench --bench networks`.
pub(super) const JOINED_MAP: usize = 140_000;

/// The largest stride or dilation of a depthwise convolution that is joined.
///
/// Lines that the window leaves out are computed for nothing; and the lines that it spans have to
/// stay in the workspace. No published network is beyond 4. `cargo bench --bench networks`.
pub(super) const JOINED_STEP: usize = 16;
