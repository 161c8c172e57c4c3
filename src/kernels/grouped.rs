//! Convolution in groups: dense convolutions of some channels each, side by side in one map.
//!
//! A register tile is a panel of 16 columns wide, and groups have fewer outputs than that, as a rule. As
//! many groups as fill whole panels are one *bundle*: a dense convolution of all of their channels, with
//! zeros where an output is of another group than the channel. With 8 outputs per group half of the
//! products are by zero; with 16 or more, in multiples of 16, none.

use std::ops::Range;

use super::Window;
use super::block::{Block, COLUMN_UNIT};
use super::conv::find_taps;
use super::epilogue::Epilogue;
use super::fits::input_len;
use super::packing::{PartSize, Unaligned, fill_bias, pack_alone};
use super::product::{Columns, OUTSIDE, Packed, Rows, fill_panels, product_of_columns};
use super::sizes::product_of;
use crate::simd::{Isa, padded};
use crate::tensor::{Numbers, Tensor};

/// The sizes of a convolution in groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    /// The number of groups.
    pub count: usize,
    /// Output channels of each group.
    pub outputs: usize,
    /// Input channels of each group.
    pub channels: usize,
    /// Weights of a window.
    pub taps: usize,
}

/// Numbers of a cache line. The panels of each bundle start at a multiple of it.
const LINE: usize = 16;

impl Groups {
    /// Returns the groups of each bundle.
    fn bundles(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        // The fewest groups whose outputs are a multiple of a panel, which is a power of two wide.
        let shared = self.outputs.trailing_zeros().min(COLUMN_UNIT.trailing_zeros());
        let groups_of_panels = COLUMN_UNIT >> shared;
        let count = self.count;
        let firsts = (0..count).step_by(groups_of_panels);
        firsts.map(move |first| first..count.min(first + groups_of_panels))
    }

    /// Returns the numbers of the panels of a bundle, with the padding behind them.
    fn panels(&self, bundle: &Range<usize>) -> usize {
        let length = bundle.len() * self.channels * self.taps;
        (padded(bundle.len() * self.outputs) * length).next_multiple_of(LINE)
    }

    /// Returns all input channels.
    fn all_channels(&self) -> usize {
        self.count * self.channels
    }

    /// Returns all output channels.
    fn all_outputs(&self) -> usize {
        self.count * self.outputs
    }
}

/// Packed weights of a convolution in groups.
pub struct GroupedWeights {
    groups: Groups,
    bundles: Vec<Bundle>,
}

/// Groups that are convolved together.
struct Bundle {
    packed: Packed,
    /// The first column of the result.
    column: usize,
    /// The first channel of the input.
    channel: usize,
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
        let panels = groups.bundles().map(|bundle| groups.panels(&bundle)).sum();
        vec![PartSize::f32(panels), PartSize::f32(padded(groups.all_outputs()))]
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
        let Groups { outputs, channels, taps, .. } = groups;
        assert_eq!(weight.len(), groups.all_outputs() * channels * taps);
        let mut panels: &mut [f32] = bytemuck::cast_slice_mut(parts[0]);
        for bundle in groups.bundles() {
            let depth = bundle.len() * channels;
            let length = depth * taps;
            let mut dense = vec![Unaligned::default(); bundle.len() * outputs * length];
            for (at, row) in dense.chunks_exact_mut(length).enumerate() {
                let output = bundle.start * outputs + at;
                let of_group = at / outputs * channels * taps;
                row[of_group..][..channels * taps]
                    .copy_from_slice(&weight[output * channels * taps..][..channels * taps]);
            }
            let (here, rest) = panels.split_at_mut(groups.panels(&bundle));
            // Rows of panels have all channels of a tap one after another.
            let lines = (0..depth).flat_map(|c| (0..taps).map(move |tap| tap * depth + c));
            fill_panels(here, &dense, &lines.collect::<Vec<usize>>());
            panels = rest;
        }
        fill_bias(bias, parts[1]);
    }

    /// Returns the weights in `parts`, or `None` if the parts are not those of such a layer.
    pub fn from_parts(parts: &[Tensor], groups: Groups) -> Option<Self> {
        let [panels, bias] = parts else { return None };
        let (panels, bias): (Numbers<f32>, Numbers<f32>) =
            (panels.to_numbers()?, bias.to_numbers()?);
        let sizes = Self::sizes(groups);
        if [panels.len(), bias.len()] != [sizes[0].len, sizes[1].len] {
            return None;
        }
        let mut bundles = Vec::new();
        let mut first = 0;
        for bundle in groups.bundles() {
            let (column, channel) = (bundle.start * groups.outputs, bundle.start * groups.channels);
            let width = padded(bundle.len() * groups.outputs);
            let length = bundle.len() * groups.channels * groups.taps;
            let here = panels.slice(first..first + width * length);
            let packed = Packed::of(here, bias.slice(column..column + width), length)?;
            bundles.push(Bundle { packed, column, channel });
            first += groups.panels(&bundle);
        }
        Some(GroupedWeights { groups, bundles })
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
        self.bundles.iter().map(|bundle| bundle.packed.bytes()).sum()
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
    for Bundle { packed, column, channel } in &weights.bundles {
        let depth = packed.length() / groups.taps;
        let rows = Rows { base: &x[*channel..], offsets, depth, step: 1 };
        let columns = Columns { first: *column, weights: packed.view() };
        product_of_columns(isa, rows, columns, epilogue, block);
    }
}
