//! Groups of few channels, of which those of eight outputs lie in one vector.
//!
//! Eight outputs of one or more groups read channels that lie side by side. A vector of these channels is
//! permuted so that every lane has the first channel of its output's group, then the second one and so on.
//! A tap takes as many multiply-adds as a group has channels, and the weights have no zeros.
#![allow(unsafe_code)]

use super::groups::Groups;
use crate::kernels::block::Block;
use crate::kernels::epilogue::Epilogue;
use crate::kernels::fits::assert_rows_fit;
use crate::kernels::packing::Unaligned;
use crate::kernels::place::Place;
use crate::kernels::product::{OUTSIDE, ZEROS};
use crate::simd::{Isa, LANES, Simd, Vectorised, padded};
use crate::tensor::Numbers;

/// The weights of all groups.
pub(super) struct Lanes {
    /// `[taps][channels of a group][width]`
    weights: Numbers<f32>,
    /// `[width]`
    bias: Numbers<f32>,
    /// For each eight outputs, the first of the eight channels that they read.
    first: Vec<usize>,
    /// For each eight outputs and each channel of a group, the lane of the channel for every output.
    sources: Vec<[u32; LANES]>,
    /// The channels of a group.
    channels: usize,
    /// Whether all eights read eight channels of their own in the same way, so that vectors may be wider.
    are_alike: bool,
}

impl Lanes {
    /// Returns the numbers of the packed weights.
    pub fn size(groups: Groups) -> usize {
        groups.taps * groups.channels * padded(groups.all_outputs())
    }

    /// Packs `weight [outputs of all groups][channels of a group][taps]` into zeros.
    pub fn pack(weight: &[Unaligned], groups: Groups, packed: &mut [f32]) {
        let width = padded(groups.all_outputs());
        for (i, row) in packed.chunks_exact_mut(width).enumerate() {
            let (tap, channel) = (i / groups.channels, i % groups.channels);
            let of_output = weight.chunks_exact(groups.channels * groups.taps);
            for (to, weight) in row.iter_mut().zip(of_output) {
                *to = f32::from_ne_bytes(weight[channel * groups.taps + tap]);
            }
        }
    }

    /// Returns `weights` of the [size](Self::size) of the layer, with a bias per column.
    pub fn of(weights: Numbers<f32>, bias: Numbers<f32>, groups: Groups) -> Self {
        let width = padded(groups.all_channels());
        let (mut first, mut sources) = (Vec::new(), Vec::new());
        for output in (0..padded(groups.all_outputs())).step_by(LANES) {
            let channel = |output: usize| output / groups.outputs * groups.channels;
            // Eight channels can be read from there on, also of the last pixel.
            let start = channel(output).min(width - LANES);
            first.push(start);
            for of_group in 0..groups.channels {
                let lane = |i: usize| channel(output + i) + of_group - start;
                sources.push(std::array::from_fn(|i| lane(i).min(LANES - 1) as u32));
            }
        }
        let (channels, all) = (groups.channels, sources.len());
        let are_alike = first.iter().enumerate().all(|(i, &first)| first == i * LANES)
            && sources[channels..] == sources[..all - channels];
        Lanes { weights, bias, first, sources, channels, are_alike }
    }

    /// Returns the bytes of the packed weights.
    pub fn bytes(&self) -> usize {
        4 * (self.weights.len() + self.bias.len())
    }

    /// Computes all columns of a block from the pixels of `x` at `offsets [taps][rows]`, each of which is
    /// [`OUTSIDE`] or leads to a whole pixel.
    ///
    /// # Panics
    /// Panics if offsets, epilogue and block do not agree.
    pub fn convolve(
        &self,
        isa: Isa,
        x: &[f32],
        offsets: &[u32],
        epilogue: &Epilogue,
        block: &mut Block,
    ) {
        assert_eq!(block.width(), self.bias.len());
        assert_eq!(block.columns(), 0..block.width());
        let taps = self.weights.len() / self.channels / self.bias.len();
        assert_eq!(offsets.len(), taps * block.rows().len());
        let most = self.first.iter().max().map_or(0, |first| first + LANES);
        let is_inside = |&offset: &u32| (offset == OUTSIDE) | (offset as usize + most <= x.len());
        assert!(offsets.iter().fold(true, |all, offset| all & is_inside(offset)));
        assert_rows_fit(block, epilogue);
        isa.run(Convolution { lanes: self, x, offsets, epilogue, block });
    }
}

struct Convolution<'a, 'b, 'c> {
    lanes: &'a Lanes,
    x: &'a [f32],
    offsets: &'a [u32],
    epilogue: &'a Epilogue<'a>,
    block: &'c mut Block<'b>,
}

impl Vectorised for Convolution<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let width = self.lanes.bias.len();
        let whole = if self.lanes.are_alike { width - width % S::WIDTH } else { 0 };
        for column in (0..whole).step_by(S::WIDTH) {
            self.column_of_any(s, column);
        }
        for column in (whole..width).step_by(LANES) {
            self.column_of_any(s.narrow(), column);
        }
    }
}

impl Convolution<'_, '_, '_> {
    /// Computes a vector of columns of all rows. It has more columns than eight only if all eights are
    /// alike.
    #[inline(always)]
    fn column_of_any<S: Simd>(&mut self, s: S, column: usize) {
        match self.lanes.channels {
            1 => self.column::<S, 1>(s, column),
            2 => self.column::<S, 2>(s, column),
            4 => self.column::<S, 4>(s, column),
            channels => unreachable!("groups of {channels} channels"),
        }
    }

    /// As [`column_of_any`](Self::column_of_any), for groups of `C` channels.
    fn column<S: Simd, const C: usize>(&mut self, s: S, column: usize) {
        s.vectorise(
            #[inline(always)]
            || {
                let count = self.block.rows().len();
                let mut row = 0;
                while row < count {
                    // SAFETY: no more rows than are left are computed.
                    row += unsafe {
                        match count - row {
                            12.. if const { S::TILE_ROWS >= 12 } => {
                                self.tile::<S, C, 12>(s, row, column)
                            }
                            6.. if const { S::TILE_ROWS >= 6 } => {
                                self.tile::<S, C, 6>(s, row, column)
                            }
                            2.. => self.tile::<S, C, 2>(s, row, column),
                            _ => self.tile::<S, C, 1>(s, row, column),
                        }
                    };
                }
            },
        );
    }

    /// Computes a vector of columns of `M` rows, and returns `M`.
    ///
    /// # Safety
    /// The block has these rows and columns.
    #[inline(always)]
    unsafe fn tile<S: Simd, const C: usize, const M: usize>(
        &mut self,
        s: S,
        row: usize,
        column: usize,
    ) -> usize {
        let Lanes { weights, bias, first, sources, .. } = self.lanes;
        let (count, width) = (self.block.rows().len(), self.block.width());
        let eight = column / LANES;
        let channels = self.x[first[eight]..].as_ptr();
        let sources: &[[u32; LANES]; C] = sources[eight * C..].first_chunk().expect("C per eight");
        // SAFETY: the caller guarantees the rows and columns of the block. Weights and bias have as many
        // columns, and `convolve` checked that every offset leads to the channels of all eights.
        unsafe {
            let mut sum = [[s.load(bias.as_ptr().add(column))]; M];
            let mut weights = weights.as_ptr().add(column);
            for offsets in self.offsets.chunks_exact(count) {
                let mut weight = [s.splat(0.0); C];
                for weight in &mut weight {
                    *weight = s.load(weights);
                    weights = weights.add(width);
                }
                for (m, sum) in sum.iter_mut().enumerate() {
                    let from = match *offsets.get_unchecked(row + m) {
                        OUTSIDE => ZEROS.as_ptr(),
                        offset => channels.add(offset as usize),
                    };
                    let x = s.load(from);
                    for (&weight, source) in weight.iter().zip(sources) {
                        sum[0] = s.mul_add(s.permute(x, source), weight, sum[0]);
                    }
                }
            }
            let row = self.block.rows().start + row;
            self.epilogue.finish(s, sum, Place::in_block(self.block, row, column));
        }
        M
    }
}
