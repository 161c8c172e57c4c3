//! Convolution with weights that were computed for the image.
//!
//! The weights lie in a map as the kernels of [`conv`](super::conv) and [`depthwise`](super::depthwise)
//! read them. Packing is linear: a mixture of packed weights is the packed mixture. The weights of
//! mixtures of experts are therefore packed per expert, before any run.

use super::Window;
use super::block::Block;
use super::conv::{ConvView, Image, conv_with, workspace};
use super::depthwise::depthwise_with;
use super::epilogue::Epilogue;
use super::packing::{Unaligned, transpose_rows};
use super::product::{PackedView, fill_panels};
use crate::simd::{Isa, padded};
use crate::tensor::Layout;

/// The kernel of a convolution, and its sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// A convolution in one group.
    Dense {
        /// Output channels.
        outputs: usize,
        /// Input channels.
        channels: usize,
        /// Weights of a window.
        taps: usize,
    },
    /// A convolution of each channel by itself.
    Depthwise {
        /// Channels of input and output.
        channels: usize,
        /// Weights of a window.
        taps: usize,
    },
}

impl Kernel {
    /// Returns the output channels.
    pub fn outputs(&self) -> usize {
        match *self {
            Kernel::Dense { outputs, .. } => outputs,
            Kernel::Depthwise { channels, .. } => channels,
        }
    }

    /// Returns the products per element of the output.
    pub fn length(&self) -> usize {
        match *self {
            Kernel::Dense { channels, taps, .. } => channels * taps,
            Kernel::Depthwise { taps, .. } => taps,
        }
    }

    /// Returns the number of weights.
    pub fn weights(&self) -> usize {
        self.outputs() * self.length()
    }

    /// Returns the number of packed weights.
    pub fn packed(&self) -> usize {
        padded(self.outputs()) * self.length()
    }

    /// Returns the elements of workspace for blocks of `rows` rows.
    pub fn workspace(&self, rows: usize) -> usize {
        match *self {
            Kernel::Dense { channels, .. } => workspace(rows, channels, self.length()),
            Kernel::Depthwise { .. } => 0,
        }
    }
}

/// Packs the weights of a kernel.
pub struct Packer {
    kernel: Kernel,
    /// For a dense kernel, the line of its panel to which each element of a row of weights goes.
    lines: Vec<usize>,
}

impl Packer {
    /// Creates a packer for `kernel`.
    pub fn new(kernel: Kernel) -> Self {
        let lines = match kernel {
            Kernel::Dense { channels, taps, .. } => (0..channels)
                .flat_map(|channel| (0..taps).map(move |tap| tap * channels + channel))
                .collect(),
            Kernel::Depthwise { .. } => Vec::new(),
        };
        Packer { kernel, lines }
    }

    /// Returns the kernel.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Packs `weights [outputs][channels of a group][taps]` into `to`.
    ///
    /// # Panics
    /// Panics if the lengths are not those of the kernel.
    pub fn pack(&self, weights: &[Unaligned], to: &mut [f32]) {
        assert_eq!([weights.len(), to.len()], [self.kernel.weights(), self.kernel.packed()]);
        match self.kernel {
            Kernel::Dense { .. } => fill_panels(to, weights, &self.lines),
            Kernel::Depthwise { channels, taps } => {
                let width = padded(channels);
                transpose_rows(weights, taps, |tap, first, numbers| {
                    to[tap * width + first..][..numbers.len()].copy_from_slice(numbers);
                });
            }
        }
    }
}

/// Computes a block of one image of the output, from `x`, which is NHWC, the packed weights of the
/// image and `bias [padded outputs]`.
///
/// # Panics
/// Panics if image, weights, window, epilogue, block and workspace do not agree.
pub fn dynamic_conv(
    isa: Isa,
    x: &[f32],
    (kernel, weights, bias): (Kernel, &[f32], &[f32]),
    window: &Window,
    epilogue: &Epilogue,
    block: &mut Block,
    work: &mut [f32],
) {
    match kernel {
        Kernel::Dense { channels, .. } => {
            let weights = PackedView::new(weights, bias, kernel.length());
            let (weights, x) =
                (ConvView::new(weights, channels), Image { data: x, layout: Layout::Nhwc });
            conv_with(isa, x, &weights, window, None, epilogue, block, work);
        }
        Kernel::Depthwise { .. } => {
            depthwise_with(isa, x, (weights, bias), window, epilogue, block);
        }
    }
}
