//! Kernels: one operation per file, on slices, single-threaded and, except for [`gemm`] and [`tensors`],
//! without allocation.
//!
//! Feature maps are NHWC. The channels of a pixel are padded to a multiple of eight; the values of the
//! padding are unspecified and do not affect results. A kernel computes one [`Block`] of its output
//! per call. Those of [`gemm`] and [`tensors`] are for tensors in row-major order instead.

pub mod activation;
pub mod attention;
mod block;
pub mod channels;
pub mod context;
pub mod conv;
pub mod depthwise;
pub mod dynamic_conv;
pub mod epilogue;
mod few_outputs;
mod fits;
pub mod gates;
pub mod gemm;
pub mod grouped;
pub mod heads;
pub mod hyperfunction;
pub mod interleave;
pub mod interpolate;
pub mod layer_norm;
pub mod layout;
mod line_product;
pub mod local_response;
pub mod max_affine;
pub mod normalisation;
mod packing;
pub mod pixels;
mod place;
pub mod pool;
pub mod product;
pub mod sample;
pub mod scalar_product;
pub mod shift_max;
mod sizes;
pub mod tensors;
pub mod transform;
pub mod winograd;

pub use block::{Block, Blocks, COLUMN_UNIT, Cut, MOST_SHARES};
pub use packing::{PartSize, Unaligned, pack_together};

/// The window of a convolution or a pooling, and how it moves over a plane.
///
/// Each pair is a number for the vertical axis and one for the horizontal axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Height and width of the window, in taps.
    pub kernel: [usize; 2],
    /// Input rows and columns from one output position to the next.
    pub stride: [usize; 2],
    /// Input rows and columns from one tap to the next.
    pub dilation: [usize; 2],
    /// Rows of padding above the plane and columns of padding to its left. A negative number crops
    /// the plane.
    pub before: [isize; 2],
    /// Height and width of the input plane.
    pub input: [usize; 2],
    /// Height and width of the output plane.
    pub output: [usize; 2],
}

impl Window {
    /// Returns whether every output position reads the input at the same position only.
    pub fn is_pointwise(&self) -> bool {
        let keeps_position = self.stride == [1, 1] && self.before == [0, 0];
        self.kernel == [1, 1] && keeps_position && self.input == self.output
    }

    /// Returns the input row (`axis` 0) or column (`axis` 1) that `tap` of the window reads at output
    /// position `output`; `None` if it lies in the padding.
    fn source(&self, axis: usize, output: usize, tap: usize) -> Option<usize> {
        let position = output * self.stride[axis] + tap * self.dilation[axis];
        position.checked_add_signed(-self.before[axis]).filter(|&p| p < self.input[axis])
    }

    /// Returns the output positions along `axis` at which `tap` lies inside the plane.
    fn inside(&self, axis: usize, tap: usize) -> std::ops::Range<usize> {
        // Output position `i` reads input position `i * stride + offset`.
        let offset = (tap * self.dilation[axis]) as isize - self.before[axis];
        let first_from =
            |input: isize| (input - offset).max(0).unsigned_abs().div_ceil(self.stride[axis]);
        let first = first_from(0).min(self.output[axis]);
        first..first_from(self.input[axis] as isize).clamp(first, self.output[axis])
    }
}

#[cfg(test)]
mod guarded;
#[cfg(test)]
mod tests;
