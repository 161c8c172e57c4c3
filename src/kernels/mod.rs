//! One operation a file, on slices, single-threaded and, except for [`gemm`], without allocation.
//!
//! Feature maps are NHWC with the channels of a pixel padded to whole vectors of eight; the padding
//! holds numbers that nobody reads. Kernels compute the [`Block`](Block)s of a map.

pub mod attention;
mod block;
pub mod channels;
pub mod context;
pub mod conv;
pub mod depthwise;
pub mod epilogue;
mod fits;
pub mod gemm;
pub mod grouped;
pub mod hyperfunction;
pub mod layout;
pub mod max_affine;
mod packing;
mod place;
pub mod pool;
pub mod product;
pub mod scalar_product;
mod sizes;
pub mod transform;
pub mod winograd;

pub use block::{Block, Blocks, COLUMN_UNIT, Cut, MOST_SHARES};
pub use packing::{PartSize, Unaligned, pack_together};

/// The size of a convolution's or a pooling's window and how it moves over a plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// Steps down and to the right.
    pub stride: [usize; 2],
    /// Distance of the taps.
    pub dilation: [usize; 2],
    /// Rows above and columns left of the plane that read as zero; negative skips some.
    pub before: [isize; 2],
    /// Height and width of the input plane.
    pub input: [usize; 2],
    /// Height and width of the output plane.
    pub output: [usize; 2],
}

impl Window {
    /// Whether every output element depends on the input elements at its own place alone.
    pub fn is_pointwise(&self) -> bool {
        let stays = self.stride == [1, 1] && self.before == [0, 0];
        self.kernel == [1, 1] && stays && self.input == self.output
    }

    /// The input row (`axis` 0) or column (`axis` 1) under `tap` of the window at output position
    /// `at`, unless it lies in the border.
    fn source(&self, axis: usize, at: usize, tap: usize) -> Option<usize> {
        let position = at * self.stride[axis] + tap * self.dilation[axis];
        position.checked_add_signed(-self.before[axis]).filter(|&p| p < self.input[axis])
    }

    /// The output positions along `axis` whose `tap` lies inside the plane.
    fn inside(&self, axis: usize, tap: usize) -> std::ops::Range<usize> {
        // Position `at` reads input `at * stride + offset`.
        let offset = (tap * self.dilation[axis]) as isize - self.before[axis];
        let at_or_after =
            |input: isize| (input - offset).max(0).unsigned_abs().div_ceil(self.stride[axis]);
        let first = at_or_after(0).min(self.output[axis]);
        first..at_or_after(self.input[axis] as isize).clamp(first, self.output[axis])
    }
}

#[cfg(test)]
mod guarded;
#[cfg(test)]
mod tests;
