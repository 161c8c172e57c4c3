//! The sizes of a convolution in groups.

use std::ops::Range;

use crate::simd::LANES;

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

impl Groups {
    /// Returns all input channels.
    pub(super) fn all_channels(&self) -> usize {
        self.count * self.channels
    }

    /// Returns all output channels.
    pub(super) fn all_outputs(&self) -> usize {
        self.count * self.outputs
    }

    /// Returns the groups of some outputs, which need not all exist.
    pub(super) fn groups_of(&self, outputs: Range<usize>) -> Range<usize> {
        outputs.start / self.outputs..outputs.end.div_ceil(self.outputs).min(self.count)
    }

    /// Returns whether the kernel is that of lanes.
    ///
    /// It needs the channels of any eight outputs in one vector. Bundles are faster where they multiply no
    /// more than every second weight by zero, unless vectors of sixteen lanes can be used.
    pub(super) fn are_narrow(&self) -> bool {
        let eights = || (0..self.all_outputs()).step_by(LANES);
        let groups = |first: usize| self.groups_of(first..first + LANES).len();
        matches!(self.channels, 1 | 2 | 4)
            && (self.outputs < 4 || self.outputs == self.channels)
            && eights().any(|first| groups(first) > 1)
            && eights().all(|first| groups(first) * self.channels <= LANES)
    }
}
