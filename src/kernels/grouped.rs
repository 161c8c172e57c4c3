//! Convolution in groups: dense convolutions of some channels each, side by side in one map.
//!
//! There are two kernels. `bundles` multiplies the channels of one group or a few by panels of weights,
//! with zeros where an output is of another group than the channel. `lanes` is for groups of few
//! channels, if those of eight outputs lie in one vector: it moves them to the lanes of the outputs, and
//! multiplies nothing by zeros.

mod bundles;
mod groups;
mod lanes;

use self::bundles::Bundles;
pub use self::groups::Groups;
use self::lanes::Lanes;
use super::Window;
use super::block::Block;
use super::conv::find_taps;
use super::epilogue::Epilogue;
use super::fits::input_len;
use super::packing::{PartSize, Unaligned, fill_bias, pack_alone};
use super::product::OUTSIDE;
use super::sizes::product_of;
use crate::simd::{Isa, padded};
use crate::tensor::{Numbers, Tensor};

/// Packed weights of a convolution in groups.
pub struct GroupedWeights {
    groups: Groups,
    packed: Packed,
}

enum Packed {
    Bundles(Bundles),
    Lanes(Lanes),
}

impl GroupedWeights {
    /// Packs `weight [outputs of all groups][channels of a group][taps]`.
    ///
    /// # Panics
    /// Panics if the lengths do not agree with `groups`.
    pub fn new(weight: &[f32], bias: Option<&[f32]>, groups: Groups) -> Self {
        let parts = pack_alone(Self::sizes(groups), |parts| {
            Self::pack(bytemuck::cast_slice(weight), bias, groups, parts);
        });
        Self::from_parts(&parts, groups).expect("the parts were packed for these groups")
    }

    /// Returns the sizes of the parts of a layer.
    pub fn sizes(groups: Groups) -> Vec<PartSize> {
        let weights = if groups.are_narrow() { Lanes::size(groups) } else { Bundles::size(groups) };
        vec![PartSize::f32(weights), PartSize::f32(padded(groups.all_outputs()))]
    }

    /// Packs `weight [outputs of all groups][channels of a group][taps]` into parts of zeros.
    ///
    /// # Panics
    /// Panics if the lengths do not agree with `groups`.
    pub fn pack(
        weight: &[Unaligned],
        bias: Option<&[f32]>,
        groups: Groups,
        parts: &mut [&mut [u8]],
    ) {
        assert_eq!(weight.len(), groups.all_outputs() * groups.channels * groups.taps);
        let packed = bytemuck::cast_slice_mut(parts[0]);
        if groups.are_narrow() {
            Lanes::pack(weight, groups, packed);
        } else {
            Bundles::pack(weight, groups, packed);
        }
        fill_bias(bias, parts[1]);
    }

    /// Returns the weights in `parts`, or `None` if the parts are not those of such a layer.
    pub fn from_parts(parts: &[Tensor], groups: Groups) -> Option<Self> {
        let [weights, bias] = parts else { return None };
        let (weights, bias): (Numbers<f32>, Numbers<f32>) =
            (weights.to_numbers()?, bias.to_numbers()?);
        let sizes = Self::sizes(groups);
        if [weights.len(), bias.len()] != [sizes[0].len, sizes[1].len] {
            return None;
        }
        let packed = if groups.are_narrow() {
            Packed::Lanes(Lanes::of(weights, bias, groups))
        } else {
            Packed::Bundles(Bundles::of(&weights, &bias, groups)?)
        };
        Some(GroupedWeights { groups, packed })
    }

    /// Returns the sizes.
    pub fn groups(&self) -> Groups {
        self.groups
    }

    /// Returns the columns of the result: all output channels, padded.
    pub fn width(&self) -> usize {
        padded(self.groups.all_outputs())
    }

    /// Returns the bytes of the packed weights.
    pub fn bytes(&self) -> usize {
        match &self.packed {
            Packed::Bundles(bundles) => bundles.bytes(),
            Packed::Lanes(lanes) => lanes.bytes(),
        }
    }

    /// Returns the elements of workspace for blocks of `rows` rows.
    pub fn workspace(&self, rows: usize) -> usize {
        rows.saturating_mul(self.groups.taps)
    }
}

/// Computes a block of one image of the output: all columns of some rows. `x` is NHWC.
///
/// # Panics
/// Panics if image, weights, window, epilogue, block and workspace do not agree.
pub fn grouped(
    isa: Isa,
    x: &[f32],
    weights: &GroupedWeights,
    window: &Window,
    epilogue: &Epilogue,
    block: &mut Block,
    work: &mut [f32],
) {
    let groups = weights.groups;
    let width = padded(groups.all_channels());
    assert_eq!(x.len(), input_len(window, width));
    assert!(x.len() < OUTSIDE as usize, "a map of too many elements");
    assert_eq!(product_of(window.kernel), groups.taps);
    assert!(block.rows().end <= product_of(window.output));
    let rows = block.rows();
    if rows.is_empty() {
        return;
    }
    let offsets: &mut [u32] = bytemuck::cast_slice_mut(&mut work[..rows.len() * groups.taps]);
    find_taps(window, width, rows, offsets);
    match &weights.packed {
        Packed::Bundles(bundles) => bundles.convolve(isa, x, offsets, epilogue, block),
        Packed::Lanes(lanes) => lanes.convolve(isa, x, offsets, epilogue, block),
    }
}
