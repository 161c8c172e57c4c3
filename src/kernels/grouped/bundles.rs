//! Groups as dense convolutions of a few of them.
//!
//! A register tile is at least eight columns wide. Neighbouring columns whose outputs are of the same groups
//! are a *bundle*: a dense convolution of all channels of the groups. With a multiple of eight outputs per
//! group, each bundle is a group; with ten outputs, five bundles of eight columns are four groups, and three
//! of these bundles have two groups each.

use std::ops::Range;

use super::groups::Groups;
use crate::kernels::block::Block;
use crate::kernels::epilogue::Epilogue;
use crate::kernels::packing::Unaligned;
use crate::kernels::product::{Columns, Packed, Rows, fill_panels, product_of_columns};
use crate::simd::{Isa, LANES};
use crate::tensor::Numbers;

/// Numbers of a cache line. The panels of each bundle start at a multiple of it.
const LINE: usize = 16;

/// The weights of all bundles.
pub(super) struct Bundles(Vec<Bundle>);

struct Bundle {
    packed: Packed,
    /// The first column of the result.
    column: usize,
    /// The first channel of the input.
    channel: usize,
    /// The channels that are multiplied.
    channels: usize,
}

/// The columns and the groups of a bundle.
struct Sizes {
    columns: Range<usize>,
    groups: Range<usize>,
}

impl Sizes {
    /// Returns the numbers of the panels, with the padding behind them.
    fn panels(&self, groups: Groups) -> usize {
        (self.columns.len() * self.length(groups)).next_multiple_of(LINE)
    }

    /// Returns the products per column.
    fn length(&self, groups: Groups) -> usize {
        self.groups.len() * groups.channels * groups.taps
    }
}

/// Returns the bundles, which follow from the sizes alone.
fn bundles(groups: Groups) -> Vec<Sizes> {
    let mut bundles: Vec<Sizes> = Vec::new();
    for first in (0..groups.all_outputs()).step_by(LANES) {
        let here = groups.groups_of(first..first + LANES);
        match bundles.last_mut() {
            Some(last) if last.groups == here => last.columns.end += LANES,
            _ => bundles.push(Sizes { columns: first..first + LANES, groups: here }),
        }
    }
    bundles
}

impl Bundles {
    /// Returns the numbers of the packed weights.
    pub fn size(groups: Groups) -> usize {
        bundles(groups).iter().map(|bundle| bundle.panels(groups)).sum()
    }

    /// Packs `weight [outputs of all groups][channels of a group][taps]` into zeros.
    pub fn pack(weight: &[Unaligned], groups: Groups, mut panels: &mut [f32]) {
        let Groups { outputs, channels, taps, .. } = groups;
        let of_output = channels * taps;
        for bundle in bundles(groups) {
            let length = bundle.length(groups);
            let columns = bundle.columns.start..bundle.columns.end.min(groups.all_outputs());
            let mut dense = vec![Unaligned::default(); columns.len() * length];
            for (output, row) in columns.zip(dense.chunks_exact_mut(length)) {
                let of_group = (output / outputs - bundle.groups.start) * of_output;
                row[of_group..][..of_output]
                    .copy_from_slice(&weight[output * of_output..][..of_output]);
            }
            let (here, rest) = panels.split_at_mut(bundle.panels(groups));
            // Rows of panels have all channels of a tap one after another.
            let depth = bundle.groups.len() * channels;
            let lines = (0..depth).flat_map(|c| (0..taps).map(move |tap| tap * depth + c));
            fill_panels(here, &dense, &lines.collect::<Vec<usize>>());
            panels = rest;
        }
    }

    /// Returns the weights in `panels` of the [size](Self::size) of the layer, with a bias per column.
    pub fn of(panels: &Numbers<f32>, bias: &Numbers<f32>, groups: Groups) -> Option<Self> {
        let mut first = 0;
        let bundle = |bundle: Sizes| {
            let length = bundle.length(groups);
            let here = panels.slice(first..first + bundle.columns.len() * length);
            first += bundle.panels(groups);
            let (column, channel) = (bundle.columns.start, bundle.groups.start * groups.channels);
            let channels = bundle.groups.len() * groups.channels;
            let packed = Packed::of(here, bias.slice(bundle.columns), length)?;
            Some(Bundle { packed, column, channel, channels })
        };
        bundles(groups).into_iter().map(bundle).collect::<Option<_>>().map(Bundles)
    }

    /// Returns the bytes of the packed weights.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|bundle| bundle.packed.bytes()).sum()
    }

    /// Computes all columns of a block from the pixels of `x` at `offsets [taps][rows]`.
    pub fn convolve(
        &self,
        isa: Isa,
        x: &[f32],
        offsets: &[u32],
        epilogue: &Epilogue,
        block: &mut Block,
    ) {
        for Bundle { packed, column, channel, channels } in &self.0 {
            let rows = Rows { base: &x[*channel..], offsets, depth: *channels, step: 1 };
            let columns = Columns { first: *column, weights: packed.view() };
            product_of_columns(isa, rows, columns, epilogue, block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::padded;

    #[test]
    fn bundles_are_as_narrow_as_tiles_allow() {
        let of = |count, outputs| {
            let groups = Groups { count, outputs, channels: 9, taps: 1 };
            let all = bundles(groups);
            assert!(all.windows(2).all(|pair| pair[0].columns.end == pair[1].columns.start));
            assert_eq!(all.last().unwrap().columns.end, padded(groups.all_outputs()));
            all.iter().map(|b| (b.columns.len(), b.groups.clone())).collect::<Vec<_>>()
        };
        assert_eq!(of(2, 24), [(24, 0..1), (24, 1..2)]);
        assert_eq!(of(3, 4), [(8, 0..2), (8, 2..3)]);
        assert_eq!(of(4, 10), [(8, 0..1), (8, 0..2), (8, 1..3), (8, 2..4), (8, 3..4)]);
        assert_eq!(of(2, 20), [(16, 0..1), (8, 0..2), (16, 1..2)]);
    }
}
