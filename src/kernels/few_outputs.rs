//! The product of rows with packed weights of so few outputs that a register tile has all of them, as in
//! the first projections of inverted residuals.
//!
//! Each row is read once. A tile copies a vector of each of its rows at a time to a chunk that stays in the
//! nearest cache, and multiplies the chunk at once. Meanwhile the next vectors are fetched: twelve rows are
//! too many streams for the hardware prefetcher. Where an activation is still to be applied to the rows, as
//! after a DY-ReLU, it is applied on the way to the chunk. With more outputs, the rows are activated in a
//! pass of their own, which writes them to a workspace that every panel of weights reads.
#![allow(unsafe_code)]

use super::block::Block;
use super::epilogue::{Epilogue, TwoPieces};
use super::fits::{assert_rows_fit, assert_whole_panels};
use super::place::Place;
use super::product::{PackedView, most_rows};
use super::sizes::product_of;
use crate::simd::{Isa, LANES, MOST_LANES, Simd, Vectorised, Wider, padded};

/// Computes the first rows of `block`, as many as make up whole register tiles: those of `x`, activated by
/// the `prologue` if there is one, times the weights, then the epilogue. Returns their number, which is 0 if
/// the weights have too many outputs, the columns of the block are cut, or the prologue is not a max-affine
/// function of two pieces.
///
/// `x [rows of the block][padded depth]` and `prologue` begin with the first row of the block.
///
/// # Panics
/// Panics if rows, weights, epilogues and block do not agree.
pub(super) fn product_of_few_outputs(
    isa: Isa,
    x: &[f32],
    prologue: Option<&Epilogue>,
    weights: PackedView,
    epilogue: &Epilogue,
    block: &mut Block,
) -> usize {
    let (count, width) = (block.rows().len(), padded(weights.length));
    assert_eq!(x.len(), product_of([count, width]));
    assert_eq!(weights.width(), block.width());
    assert_whole_panels(block);
    assert_rows_fit(block, epilogue);
    if block.columns() != (0..block.width()) {
        return 0;
    }
    let activation = match prologue {
        None => None,
        Some(prologue) => {
            assert!(prologue.fits(count, width), "the prologue does not fit the rows");
            match prologue.two_pieces() {
                Some(activation) => Some(activation),
                None => return 0,
            }
        }
    };
    isa.run(Run { x, width, activation, weights, epilogue, block })
}

struct Run<'a, 'b, 'c> {
    x: &'a [f32],
    width: usize,
    activation: Option<TwoPieces<'a>>,
    weights: PackedView<'a>,
    epilogue: &'a Epilogue<'a>,
    block: &'c mut Block<'b>,
}

impl Vectorised for Run<'_, '_, '_> {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) -> usize {
        let vectors = self.weights.width() / LANES;
        if const { S::WIDTH == LANES } {
            match vectors {
                1 => self.rows::<S, S, 1>(s, s, 0),
                2 => self.rows::<S, S, 2>(s, s, S::WIDTH),
                3 => self.rows::<S, S, 3>(s, s, S::WIDTH),
                _ => 0,
            }
        } else {
            match vectors {
                1 => self.rows::<S::Narrow, S, 1>(s.narrow(), s, 0),
                2 => self.rows::<S, S, 1>(s, s, 0),
                3 => self.rows::<Wider<S>, S, 1>(Wider(s), s, 0),
                4 => self.rows::<S, S, 2>(s, s, S::WIDTH * self.weights.length),
                _ => 0,
            }
        }
    }
}

impl Run<'_, '_, '_> {
    /// Computes whole tiles of `V` vectors of `T`, whose weights are `apart`. Rows are activated in
    /// vectors of `S`. Returns the number of rows.
    fn rows<T: Simd, S: Simd, const V: usize>(&mut self, t: T, s: S, apart: usize) -> usize {
        /// A match with the height of a tile of this instruction set.
        macro_rules! tiles {
            ($($height:literal)*) => {
                match const { most_rows::<T, V>() } {
                    $($height if const { most_rows::<T, V>() == $height } => {
                        self.tiles::<T, S, $height, V>(t, s, apart)
                    })*
                    _ => 0,
                }
            };
        }
        tiles!(2 4 6 12)
    }

    /// Computes whole tiles of `M` rows, as a function of its own.
    fn tiles<T: Simd, S: Simd, const M: usize, const V: usize>(
        &mut self,
        t: T,
        s: S,
        apart: usize,
    ) -> usize {
        let whole = self.block.rows().len() / M * M;
        s.vectorise(
            #[inline(always)]
            || {
                for row in (0..whole).step_by(M) {
                    // SAFETY: `x` and the block have these rows, the tile has all columns of the block, and
                    // the epilogue fits, as `product_of_few_outputs` asserted.
                    unsafe {
                        let y = self.tile::<T, S, M, V>(t, s, row, apart);
                        let row = self.block.rows().start + row;
                        self.epilogue.finish(t, y, Place::in_block(self.block, row, 0));
                    }
                }
            },
        );
        whole
    }

    /// Returns the products of `M` activated rows from `row` on, with the bias.
    ///
    /// # Safety
    /// `x` has these rows, and `V` vectors of `T` are all columns of the weights.
    #[inline(always)]
    unsafe fn tile<T: Simd, S: Simd, const M: usize, const V: usize>(
        &self,
        t: T,
        s: S,
        row: usize,
        apart: usize,
    ) -> [[T::Vector; V]; M] {
        let Run { width, weights: PackedView { panels, bias, length }, .. } = *self;
        // The weights of one element of a row: all columns, or one of two panels.
        let step = if const { V * T::WIDTH > MOST_LANES + LANES } { T::WIDTH } else { bias.len() };
        let mut chunk = Chunk([[0.0; MOST_LANES]; M]);
        // SAFETY: the caller guarantees the rows and the columns; a panel has a line of weights for each
        // element of a row, as `PackedView` says; a chunk has room for a vector of each row.
        unsafe {
            let from = self.x.as_ptr().add(row * width);
            let mut first = [t.splat(0.0); V];
            for (v, bias_of) in first.iter_mut().enumerate() {
                *bias_of = t.load(bias.as_ptr().add(v * T::WIDTH));
            }
            let mut sums = [first; M];
            let mut weights = panels.as_ptr();
            for column in (0..length).step_by(S::WIDTH) {
                let to = &mut chunk.0;
                if width - column >= S::WIDTH {
                    self.fill(s, from, row, column, to);
                } else {
                    self.fill(s.narrow(), from, row, column, to);
                }
                for i in 0..S::WIDTH.min(length - column) {
                    let mut w = [t.splat(0.0); V];
                    for (v, w) in w.iter_mut().enumerate() {
                        *w = t.load(weights.add(v * apart));
                    }
                    for (sums, row) in sums.iter_mut().zip(&chunk.0) {
                        let x = t.splat(row[i]);
                        for (sum, &w) in sums.iter_mut().zip(&w) {
                            *sum = t.mul_add(x, w, *sum);
                        }
                    }
                    weights = weights.add(step);
                }
            }
            sums
        }
    }

    /// Copies a vector of each of `M` rows from `row` on, activated, to the start of a line of `to` each.
    /// `from` is where the first of these rows begins.
    ///
    /// # Safety
    /// `x` has these rows, which have a vector from `column` on.
    #[inline(always)]
    unsafe fn fill<S: Simd, const M: usize>(
        &self,
        s: S,
        from: *const f32,
        row: usize,
        column: usize,
        to: &mut [[f32; MOST_LANES]; M],
    ) {
        const { assert!(S::WIDTH <= MOST_LANES) };
        // SAFETY: the caller guarantees the rows and the vector; the activation fits the rows, as
        // `product_of_few_outputs` asserted; a line of `to` has room for a vector.
        unsafe {
            let mut x = [[s.splat(0.0)]; M];
            for (m, x) in x.iter_mut().enumerate() {
                let from = from.add(m * self.width + column);
                s.prefetch(from.wrapping_add(AHEAD));
                x[0] = s.load(from);
            }
            if let Some(activation) = &self.activation {
                activation.apply(s, &mut x, self.width, row, column);
            }
            for (to, x) in to.iter_mut().zip(x) {
                s.store(to.as_mut_ptr(), x[0]);
            }
        }
    }
}

/// Elements of a row that are asked for before they are read.
const AHEAD: usize = 32;

/// A vector of each of `M` rows, on cache lines of their own.
#[repr(align(64))]
struct Chunk<const M: usize>([[f32; MOST_LANES]; M]);
