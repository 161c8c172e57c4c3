//! The product of rows with packed weights, and an epilogue: what every dense convolution and
//! fully connected layer comes down to.
//!
//! A register tile has up to [`Simd::TILE_ROWS`] rows of two vectors. Weights are packed in panels,
//! a panel holding what one tile of columns needs in the order in which it is read. Rows are found
//! through a table of offsets, so that a convolution reads its taps where they are.
#![allow(unsafe_code)]

use std::ops::Range;

use super::block::{Block, COLUMN_UNIT};
use super::epilogue::Epilogue;
use super::fits::{assert_rows_fit, assert_whole_panels};
use super::packing::{Unaligned, transpose_rows};
use super::place::Place;
use super::sizes::product_of;
use crate::simd::{Isa, LANES, Simd, Vectorised, Wider, padded};
use crate::tensor::Numbers;

/// The offset of a row of zeros, which lies outside of the map.
pub const OUTSIDE: u32 = u32::MAX;

/// The most elements that a row of zeros has.
pub const MOST_ZEROS: usize = 4096;

/// Weights are asked for so many steps ahead: as long as memory takes to answer.
const AHEAD: usize = 40;

/// Elements of packed weights, 768 kB, from which on a core reads them from memory or from a cache that it
/// shares: its own caches hold maps, too.
///
/// Register tiles then ask for the weights of the next columns, which arrive while tiles of other rows are
/// computed. With fewer weights that costs more than it gains. `cargo bench --bench networks`, the ResNets.
pub const STREAMED_WEIGHTS: usize = 192 * 1024;

/// What rows outside of the map read.
pub(super) static ZEROS: [f32; MOST_ZEROS] = [0.0; MOST_ZEROS];

/// Weights `[outputs][taps * depth]` and biases in the order in which tiles read them.
///
/// Panels have 16 columns; where the number of vectors is odd, the last has 24, or 8 if it is the
/// only one. A panel is `[taps * depth][columns of the panel]`.
pub struct Packed {
    panels: Numbers<f32>,
    bias: Numbers<f32>,
    length: usize,
}

impl Packed {
    /// Weights that were packed earlier; `None` where the lengths do not fit together.
    pub fn of(panels: Numbers<f32>, bias: Numbers<f32>, length: usize) -> Option<Self> {
        let fits = Some(panels.len()) == bias.len().checked_mul(length);
        (fits && bias.len().is_multiple_of(LANES)).then_some(Packed { panels, bias, length })
    }

    /// One for each column of the result.
    pub fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// Columns of the result: the number of outputs, padded.
    pub fn width(&self) -> usize {
        self.bias.len()
    }

    /// Elements of the rows that are multiplied.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Returns the weights from the panel on that begins at `column`; none if there is no such panel.
    pub(super) fn panels_from(&self, column: usize) -> &[f32] {
        self.panels.get(column * self.length..).unwrap_or_default()
    }

    /// Returns the weights where they lie.
    pub(super) fn view(&self) -> PackedView<'_> {
        PackedView { panels: &self.panels, bias: &self.bias, length: self.length }
    }

    /// Bytes of the packed weights.
    pub fn bytes(&self) -> usize {
        4 * (self.panels.len() + self.bias.len())
    }
}

/// Packed weights where they lie.
#[derive(Clone, Copy)]
pub(super) struct PackedView<'a> {
    pub panels: &'a [f32],
    pub bias: &'a [f32],
    pub length: usize,
}

impl<'a> PackedView<'a> {
    /// Returns a view of `panels [bias.len()][length]`, in the order of [`Packed`].
    ///
    /// # Panics
    /// Panics if the lengths do not agree.
    pub fn new(panels: &'a [f32], bias: &'a [f32], length: usize) -> Self {
        assert_eq!(panels.len(), product_of([bias.len(), length]));
        assert!(bias.len().is_multiple_of(LANES));
        PackedView { panels, bias, length }
    }

    /// Returns the columns of the result.
    pub fn width(&self) -> usize {
        self.bias.len()
    }

    /// Returns the elements of the rows that are multiplied.
    pub fn length(&self) -> usize {
        self.length
    }
}

/// Packs `weight [outputs][lines.len()]` into panels: element `i` of a row goes to line `lines[i]`
/// of its panel, and columns without an output get zeros.
pub(super) fn fill_panels(panels: &mut [f32], weight: &[Unaligned], lines: &[usize]) {
    let length = lines.len();
    let outputs = weight.len() / length.max(1);
    let mut column = 0;
    while column < outputs {
        let columns = panel_columns(column, padded(outputs));
        let panel = &mut panels[column * length..][..columns * length];
        let rows = column * length..outputs.min(column + columns) * length;
        transpose_rows(&weight[rows], length, |i, first, numbers| {
            panel[lines[i] * columns + first..][..LANES].copy_from_slice(numbers);
        });
        column += columns;
    }
}

/// Packs `weight [length][outputs]` into panels of zeros.
pub(super) fn fill_panels_transposed(panels: &mut [f32], weight: &[Unaligned], length: usize) {
    let outputs = weight.len() / length.max(1);
    let mut column = 0;
    while column < outputs {
        let columns = panel_columns(column, padded(outputs));
        let panel = &mut panels[column * length..][..columns * length];
        let filled = columns.min(outputs - column);
        for (to, from) in panel.chunks_exact_mut(columns).zip(weight.chunks_exact(outputs)) {
            let to: &mut [u8] = bytemuck::cast_slice_mut(&mut to[..filled]);
            to.copy_from_slice(from[column..][..filled].as_flattened());
        }
        column += columns;
    }
}

/// Columns of the panel that begins at `column`.
pub(super) fn panel_columns(column: usize, width: usize) -> usize {
    match width - column {
        24 => 24,
        rest => rest.min(COLUMN_UNIT),
    }
}

/// Rows of `taps` pieces each, found in `base` by offset.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// Where offsets count from.
    pub base: &'a [f32],
    /// `[taps][rows]`, or [`OUTSIDE`].
    pub offsets: &'a [u32],
    /// Elements of a piece.
    pub depth: usize,
    /// Distance of the elements of a piece.
    pub step: usize,
}

/// Computes a block: row `i` of `rows` times the weights, then the epilogue. The next product reads the
/// weights `after`.
///
/// # Panics
/// Panics if rows, weights, epilogue and block do not agree.
pub fn product(
    isa: Isa,
    rows: Rows,
    weights: &Packed,
    after: &[f32],
    epilogue: &Epilogue,
    block: &mut Block,
) {
    all_columns(isa, rows, weights.view(), Some(after), epilogue, block);
}

/// As [`product`], with weights that need not belong to a layer. The next product reads the weights behind
/// those of the block.
///
/// # Panics
/// Panics if rows, weights, epilogue and block do not agree.
pub(super) fn product_with(
    isa: Isa,
    rows: Rows,
    weights: PackedView,
    epilogue: &Epilogue,
    block: &mut Block,
) {
    let after = weights.panels.get(block.columns().end * weights.length..);
    let after = after.filter(|_| weights.panels.len() >= STREAMED_WEIGHTS);
    all_columns(isa, rows, weights, after, epilogue, block);
}

/// Computes all columns of a block.
fn all_columns(
    isa: Isa,
    rows: Rows,
    weights: PackedView,
    after: Option<&[f32]>,
    epilogue: &Epilogue,
    block: &mut Block,
) {
    assert_eq!(weights.width(), block.width());
    assert_whole_panels(block);
    let (columns, first) = (block.columns(), 0);
    run(isa, rows, Columns { first, weights }, columns, after, epilogue, block);
}

/// Some columns of a map, which have packed weights of their own.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a> {
    /// The first column.
    pub first: usize,
    /// The weights of the columns from there on.
    pub weights: PackedView<'a>,
}

/// As [`product`], for some columns of a block.
///
/// # Panics
/// Panics if rows, weights, epilogue and block do not agree.
pub(super) fn product_of_columns(
    isa: Isa,
    rows: Rows,
    columns: Columns,
    epilogue: &Epilogue,
    block: &mut Block,
) {
    let Columns { first, weights } = columns;
    let range = first..first + weights.width();
    let whole = block.columns();
    assert!(whole.start <= range.start && range.end <= whole.end, "columns of the block");
    run(isa, rows, columns, range, None, epilogue, block);
}

/// Computes `columns`, whole panels of the weights. Tiles ask for the next weights if those that are read
/// after the columns are given.
fn run(
    isa: Isa,
    rows: Rows,
    Columns { first, weights }: Columns,
    columns: Range<usize>,
    after: Option<&[f32]>,
    epilogue: &Epilogue,
    block: &mut Block,
) {
    let count = block.rows().len();
    assert!(count > 0 && rows.depth > 0 && rows.offsets.len().is_multiple_of(count));
    let PackedView { panels, bias, length } = weights;
    assert_eq!(product_of([rows.offsets.len() / count, rows.depth]), length);
    let reach = product_of([rows.depth - 1, rows.step]);
    let may_be_outside = rows.step == 1 && rows.depth <= MOST_ZEROS;
    // The largest offset of a row that lies in the map. Without branches, several are compared at once.
    let last =
        rows.base.len().checked_sub(reach + 1).map(|last| last.min(OUTSIDE as usize - 1) as u32);
    let is_inside = |&offset: &u32| {
        last.is_some_and(|last| offset <= last) | (may_be_outside & (offset == OUTSIDE))
    };
    let all_inside = rows.offsets.iter().fold(true, |all, offset| all & is_inside(offset));
    assert!(all_inside, "every row lies in the map");
    assert_eq!(panels.len(), product_of([bias.len(), length]));
    assert_rows_fit(block, epilogue);
    let next = None;
    isa.run(Product { rows, panels, bias, length, first, columns, after, next, epilogue, block });
}

struct Product<'a, 'b, 'c> {
    rows: Rows<'a>,
    panels: &'a [f32],
    bias: &'a [f32],
    length: usize,
    /// The column of the block that the first column of the weights computes.
    first: usize,
    /// The columns to be computed.
    columns: Range<usize>,
    /// The weights that are read after those of the columns, if tiles ask for the next weights.
    after: Option<&'a [f32]>,
    /// The weights for which the tiles under way ask.
    next: Option<&'a [f32]>,
    epilogue: &'a Epilogue<'a>,
    block: &'c mut Block<'b>,
}

impl Vectorised for Product<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let columns = self.columns.start - self.first..self.columns.end - self.first;
        each_tile(s, [self.bias.len(), self.length], columns, &mut self);
    }
}

impl Tiles for Product<'_, '_, '_> {
    #[inline(always)]
    fn tiles<S: Simd, const V: usize>(&mut self, s: S, at: Tile) {
        self.rows::<S, V>(s, at);
    }
}

/// What computes results by register tiles.
pub(super) trait Tiles {
    /// Computes the tiles that have `V` vectors of columns at `at`.
    fn tiles<S: Simd, const V: usize>(&mut self, s: S, at: Tile);
}

/// Deals `columns` of packed weights, whole panels, to register tiles. `sizes` are the width and the length of
/// the weights.
#[inline(always)]
pub(super) fn each_tile<S: Simd>(
    s: S,
    [width, length]: [usize; 2],
    columns: Range<usize>,
    tiles: &mut impl Tiles,
) {
    let (mut column, end) = (columns.start, columns.end);
    while column < end {
        let panel = panel_columns(column, width);
        let mut at = Tile { column, weights: column * length, step: panel, apart: S::WIDTH };
        column += panel;
        if const { S::WIDTH == LANES } {
            match panel / LANES {
                1 => tiles.tiles::<S, 1>(s, at),
                2 => tiles.tiles::<S, 2>(s, at),
                _ => tiles.tiles::<S, 3>(s, at),
            }
        } else if panel == COLUMN_UNIT {
            // A vector is a whole panel: two of them where the next is one, too.
            if column < end && panel_columns(column, width) == panel {
                at.apart = panel * length;
                tiles.tiles::<S, 2>(s, at);
                column += panel;
            } else {
                tiles.tiles::<S, 1>(s, at);
            }
        } else if panel > COLUMN_UNIT {
            tiles.tiles::<Wider<S>, 1>(Wider(s), at);
        } else {
            tiles.tiles::<S::Narrow, 1>(s.narrow(), at);
        }
    }
}

/// The most rows of a register tile of `V` vectors: of one vector twice as many as of two, up to twelve, of
/// three at most four.
pub(super) const fn most_rows<S: Simd, const V: usize>() -> usize {
    match V {
        1 if S::TILE_ROWS <= 6 => 2 * S::TILE_ROWS,
        3 if S::TILE_ROWS > 4 => 4,
        _ => S::TILE_ROWS,
    }
}

/// The columns of a register tile.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    /// The first, counted from the first of the weights.
    pub column: usize,
    /// Where its weights start.
    pub weights: usize,
    /// From the weights of one element of the rows to those of the next.
    pub step: usize,
    /// From the weights of one vector to those of the next.
    pub apart: usize,
}

impl Product<'_, '_, '_> {
    /// `V` vectors of columns for all rows, which are dealt evenly: 49 rows are four tiles of six
    /// and five of five, none of one.
    fn rows<S: Simd, const V: usize>(&mut self, s: S, at: Tile) {
        let count = self.block.rows().len();
        let tiles = count.div_ceil(most_rows::<S, V>());
        let high = count.div_ceil(tiles);
        let end = (count - tiles * (high - 1)) * high;
        // A single tile asks for the weights that it reads itself.
        self.next = self.after.filter(|_| tiles > 1).map(|after| {
            let next = at.weights + V * S::WIDTH * self.length;
            let end = (self.columns.end - self.first) * self.length;
            if next < end { &self.panels[next..] } else { after }
        });
        self.tiles_of::<S, V>(s, high, 0..end, at);
        self.tiles_of::<S, V>(s, high - 1, end..count, at);
    }

    /// Tiles of `high` rows each; none if that is 0.
    fn tiles_of<S: Simd, const V: usize>(
        &mut self,
        s: S,
        high: usize,
        rows: Range<usize>,
        at: Tile,
    ) {
        /// A match with those heights that this instruction set has.
        macro_rules! tiles {
            ($($height:literal)*) => {
                match high {
                    0 => {}
                    $($height if const { $height <= most_rows::<S, V>() } => {
                        self.tiles_of_height::<S, $height, V>(s, rows, at);
                    })*
                    _ => unreachable!("a tile of {high} rows"),
                }
            };
        }
        tiles!(1 2 3 4 5 6 7 8 9 10 11 12)
    }

    /// Tiles of `M` rows, which fill `rows`, and `V` vectors of columns: for each size a function of
    /// its own. The compiler would take much longer for one function of them all.
    fn tiles_of_height<S: Simd, const M: usize, const V: usize>(
        &mut self,
        s: S,
        rows: Range<usize>,
        at: Tile,
    ) {
        match self.next {
            // Low tiles wait for their own weights.
            Some(_) if const { V == 2 && 2 * M > S::TILE_ROWS } => {
                self.tiles_in_order::<S, M, V, true>(s, rows, at);
            }
            _ => self.tiles_in_order::<S, M, V, false>(s, rows, at),
        }
    }

    /// As [`tiles_of_height`](Self::tiles_of_height), which ask for the next weights if `ASK`.
    fn tiles_in_order<S: Simd, const M: usize, const V: usize, const ASK: bool>(
        &mut self,
        s: S,
        rows: Range<usize>,
        at: Tile,
    ) {
        s.vectorise(
            #[inline(always)]
            move || {
                for row in rows.step_by(M) {
                    // SAFETY: `product` checked every offset, the panel is as long as the rows, and
                    // the tiles are whole.
                    unsafe {
                        let y = self.accumulate::<S, M, V, ASK>(s, row, at);
                        let row = self.block.rows().start + row;
                        let place = Place::in_block(self.block, row, self.first + at.column);
                        self.epilogue.finish(s, y, place);
                    }
                }
            },
        );
    }

    /// The products of `M` rows and `V` vectors of columns, with the bias.
    ///
    /// # Safety
    /// The block has these rows and columns, every offset leads to `depth` readable elements.
    #[inline(always)]
    unsafe fn accumulate<S: Simd, const M: usize, const V: usize, const ASK: bool>(
        &self,
        s: S,
        row: usize,
        at: Tile,
    ) -> [[S::Vector; V]; M] {
        let Rows { base, offsets, depth, step } = self.rows;
        let count = self.block.rows().len();
        // Tiles ask for a share of the next weights, in proportion to their rows.
        let (columns, next) = (V * S::WIDTH, self.next.unwrap_or_default());
        let mut next = next.as_ptr().wrapping_add(columns * self.length * row / count);
        let next_step = (columns * M).div_ceil(count);
        // SAFETY: the caller guarantees the rows and columns of the block; `product` asserted that the bias
        // has all columns, that a panel has a line of weights for every element of a row, and that every
        // offset leads to `depth` elements.
        unsafe {
            let mut bias = [s.splat(0.0); V];
            for (v, bias) in bias.iter_mut().enumerate() {
                *bias = s.load(self.bias.as_ptr().add(at.column + v * S::WIDTH));
            }
            let mut sum = [bias; M];
            let mut weights = self.panels.as_ptr().add(at.weights);
            for offsets in offsets.chunks_exact(count) {
                let mut from = [base.as_ptr(); M];
                for (m, from) in from.iter_mut().enumerate() {
                    *from = match *offsets.get_unchecked(row + m) {
                        OUTSIDE => ZEROS.as_ptr(),
                        offset => base.as_ptr().add(offset as usize),
                    };
                }
                for i in 0..depth {
                    let mut w = [s.splat(0.0); V];
                    for (v, w) in w.iter_mut().enumerate() {
                        let from = weights.add(v * at.apart);
                        *w = s.load(from);
                        s.prefetch(from.wrapping_add(AHEAD * at.step));
                    }
                    if const { ASK } {
                        s.prefetch_l2(next);
                        next = next.wrapping_add(next_step);
                    }
                    for m in 0..M {
                        let x = s.splat(*from[m].add(i * step));
                        for v in 0..V {
                            sum[m][v] = s.mul_add(x, w[v], sum[m][v]);
                        }
                    }
                    weights = weights.add(at.step);
                }
            }
            sum
        }
    }
}
