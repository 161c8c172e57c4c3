//! Cutting a map into blocks that several threads compute at once.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::sizes::product_of;
use crate::simd::padded;
use crate::tensor::MOST_PARTS;

/// Columns are cut at multiples of this.
pub const COLUMN_UNIT: usize = 16;

/// How a map of `images` matrices is cut: every image into `row_blocks` times `column_blocks`
/// blocks of nearly equal size. Where it decides in which order something is added up, it has to
/// follow from shapes alone, so that results do not depend on the number of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Matrices, one after another.
    pub images: usize,
    /// Rows of each.
    pub rows: usize,
    /// Elements of a row.
    pub width: usize,
    /// Blocks that the rows of an image fall into.
    pub row_blocks: usize,
    /// Blocks that the columns fall into.
    pub column_blocks: usize,
    /// Rows are cut at multiples of this, as long as every block has some.
    pub row_unit: usize,
}

impl Cut {
    /// Returns a cut into blocks of whole rows, which have about `elements` elements.
    pub fn in_rows(images: usize, rows: usize, width: usize, elements: usize) -> Self {
        let row_blocks = (rows * width / elements).clamp(1, rows.max(1));
        Cut { images, rows, width, row_blocks, column_blocks: 1, row_unit: 1 }
    }

    /// The number of blocks.
    pub fn blocks(&self) -> usize {
        self.images * self.row_blocks * self.column_blocks
    }

    /// Returns a number of rows that no block exceeds.
    pub fn most_rows(&self) -> usize {
        let most = self.rows.div_ceil(self.row_blocks).saturating_add(self.unit() - 1);
        most.min(self.rows)
    }

    /// Returns the multiple at which rows are cut.
    fn unit(&self) -> usize {
        let has_enough =
            self.row_unit.checked_mul(self.row_blocks).is_some_and(|least| least <= self.rows);
        if has_enough { self.row_unit.max(1) } else { 1 }
    }

    /// The rows of an image that belong to a block of rows.
    fn rows_of(&self, block: usize) -> Range<usize> {
        let unit = self.unit();
        let at = |i: usize| i * self.rows / self.row_blocks / unit * unit;
        let end = if block + 1 == self.row_blocks { self.rows } else { at(block + 1) };
        at(block)..end
    }

    fn columns(&self, block: usize) -> Range<usize> {
        let units = self.width / COLUMN_UNIT;
        let at = |i: usize| i * units / self.column_blocks * COLUMN_UNIT;
        let end = if block + 1 == self.column_blocks { self.width } else { at(block + 1) };
        at(block)..end
    }
}

/// The most shares that blocks are dealt into.
pub const MOST_SHARES: usize = MOST_PARTS;

/// A map that is being computed block by block. Each block is handed out once.
///
/// Blocks are dealt into shares of neighbours, one for each thread. A thread that has the same share
/// of every map finds much of what it reads in its own cache, for it has written that.
pub struct Blocks<'a> {
    map: *mut f32,
    sums: Option<(*mut f32, usize)>,
    products: Option<Products>,
    cut: Cut,
    shares: usize,
    /// The next block of each share.
    next: [AtomicUsize; MOST_SHARES],
    /// Whether each share has an owner.
    claimed: [AtomicBool; MOST_SHARES],
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: threads get blocks, which are disjoint; the pointers are not given to anyone else.
unsafe impl Sync for Blocks<'_> {}

impl<'a> Blocks<'a> {
    /// All blocks of `map`.
    ///
    /// # Panics
    /// Panics if `map` is not as large as `cut` says, or if `cut` has no blocks.
    pub fn new(map: &'a mut [f32], cut: Cut) -> Self {
        assert_eq!(map.len(), product_of([cut.images, cut.rows, cut.width]), "{cut:?}");
        assert!(cut.row_blocks > 0 && cut.column_blocks > 0, "{cut:?}");
        product_of([cut.images, cut.row_blocks, cut.column_blocks]);
        let map = map.as_mut_ptr();
        let next = [const { AtomicUsize::new(0) }; MOST_SHARES];
        let claimed = [const { AtomicBool::new(false) }; MOST_SHARES];
        Blocks {
            map,
            sums: None,
            products: None,
            cut,
            shares: 1,
            next,
            claimed,
            borrow: PhantomData,
        }
    }

    /// Deals the blocks into `shares` shares, at least one and at most [`MOST_SHARES`].
    ///
    /// # Panics
    /// Panics if a block has been handed out.
    pub fn with_shares(mut self, shares: usize) -> Self {
        self.assert_untouched();
        self.shares = shares.clamp(1, MOST_SHARES);
        self
    }

    /// Adds a map of sums to be filled, a row of `width` for each block of rows: as wide as the
    /// map, or of another width where columns are not cut.
    ///
    /// # Panics
    /// Panics if `sums` is not `[images * row_blocks][width]`, or if a block has been handed out.
    pub fn with_sums(mut self, sums: &'a mut [f32], width: usize) -> Self {
        self.assert_untouched();
        let count = product_of([self.cut.images, self.cut.row_blocks, width]);
        assert_eq!(sums.len(), count, "{:?}", self.cut);
        assert!(width == self.cut.width || self.cut.column_blocks == 1);
        self.sums = Some((sums.as_mut_ptr(), width));
        self
    }

    /// Adds a plane of products to be filled, one number per pixel of `depth` elements, of which the
    /// rows of the map consist. The numbers of an image are padded to whole vectors.
    ///
    /// # Panics
    /// Panics if `products` is not `[images][padded pixels]`, if rows are cut or do not consist of whole
    /// pixels, or if a block has been handed out.
    pub fn with_products(mut self, products: &'a mut [f32], depth: usize) -> Self {
        self.assert_untouched();
        let Cut { images, rows, width, column_blocks, .. } = self.cut;
        assert!(column_blocks == 1 && depth > 0 && width.is_multiple_of(depth), "{:?}", self.cut);
        let per_row = width / depth;
        let per_image = padded(product_of([rows, per_row]));
        assert_eq!(products.len(), product_of([images, per_image]), "{:?}", self.cut);
        self.products = Some(Products { first: products.as_mut_ptr(), per_row, per_image });
        self
    }

    /// A block that was handed out before the blocks are dealt again might be handed out twice.
    fn assert_untouched(&mut self) {
        let is_untouched = self.next.iter_mut().all(|next| *next.get_mut() == 0);
        assert!(is_untouched, "blocks have been handed out");
    }

    /// Makes the caller the owner of a share: of the share `wish` modulo the number of shares, or
    /// of the next that has no owner. `None` if all have owners.
    pub fn claim(&self, wish: usize) -> Option<usize> {
        let first = wish % self.shares;
        let shares = (first..first + self.shares).map(|share| share % self.shares);
        let is_free = |&share: &usize| !self.claimed[share].swap(true, Ordering::Relaxed);
        shares.into_iter().find(is_free)
    }

    /// The next block of a share that nobody has taken; `None` also if there is no such share.
    /// Blocks are counted image by image for each block of columns.
    pub fn next_of(&self, share: usize) -> Option<Block<'a>> {
        if share >= self.shares || self.is_taken(share) {
            return None;
        }
        let taken = self.first_of(share) + self.next[share].fetch_add(1, Ordering::Relaxed);
        (taken < self.first_of(share + 1)).then(|| self.block(taken))
    }

    /// The next block, that nobody has taken, of a share that has no owner.
    pub fn next_unclaimed(&self) -> Option<Block<'a>> {
        let is_free = |&share: &usize| !self.claimed[share].load(Ordering::Relaxed);
        (0..self.shares).filter(is_free).find_map(|share| self.next_of(share))
    }

    /// The next block of any share that nobody has taken.
    pub fn next(&self) -> Option<Block<'a>> {
        (0..self.shares).find_map(|share| self.next_of(share))
    }

    /// Whether every block has been handed out.
    pub fn all_taken(&self) -> bool {
        (0..self.shares).all(|share| self.is_taken(share))
    }

    /// The number of the first block of a share.
    fn first_of(&self, share: usize) -> usize {
        share * self.cut.blocks() / self.shares
    }

    /// Whether every block of a share has been handed out.
    fn is_taken(&self, share: usize) -> bool {
        let len = self.first_of(share + 1) - self.first_of(share);
        self.next[share].load(Ordering::Relaxed) >= len
    }

    /// A block by its number, which has to be below that of blocks and is handed out once.
    fn block(&self, taken: usize) -> Block<'a> {
        let Cut { images, rows, width, row_blocks, .. } = self.cut;
        let (column_block, of_image) =
            (taken / (images * row_blocks), taken % (images * row_blocks));
        let (image, row_block) = (of_image / row_blocks, of_image % row_blocks);
        let columns = self.cut.columns(column_block);
        let sums = self.sums.map(|(sums, sums_width)| {
            let columns = if sums_width == width { columns.clone() } else { 0..sums_width };
            // SAFETY: this row and these columns belong to this block alone, which is handed out
            // once, and `with_sums` checked that there are so many.
            unsafe {
                let first = sums.add(of_image * sums_width + columns.start);
                let part = std::slice::from_raw_parts_mut(first, columns.len());
                part.fill(0.0);
                part
            }
        });
        let rows_of_block = self.cut.rows_of(row_block);
        let products = self.products.as_ref().map(|plane| {
            let first = image * plane.per_image + rows_of_block.start * plane.per_row;
            // SAFETY: no other block has these rows, and this one is handed out once; `with_products`
            // checked that there are so many numbers.
            unsafe {
                let count = rows_of_block.len() * plane.per_row;
                std::slice::from_raw_parts_mut(plane.first.add(first), count)
            }
        });
        Block {
            image,
            rows: rows_of_block,
            columns,
            width,
            // SAFETY: the image lies in the map, as `new` checked.
            map: unsafe { self.map.add(image * rows * width) },
            sums,
            products,
            borrow: PhantomData,
        }
    }
}

/// A plane of numbers, one per pixel of a map.
struct Products {
    /// The number of the first pixel of the first image.
    first: *mut f32,
    /// The pixels of a row of the map.
    per_row: usize,
    /// The numbers of an image, padded to whole vectors.
    per_image: usize,
}

/// Some rows and columns of one image, to be written by one thread.
///
/// A block holds what it says: its rows and columns lie in the map, and no other block has them.
pub struct Block<'a> {
    image: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    width: usize,
    sums: Option<&'a mut [f32]>,
    products: Option<&'a mut [f32]>,
    /// The first element of the image.
    map: *mut f32,
    borrow: PhantomData<&'a mut [f32]>,
}

impl<'a> Block<'a> {
    /// Returns all of `map`, a matrix of rows of `width`, as one block.
    ///
    /// # Panics
    /// Panics if the map does not consist of whole rows.
    pub fn whole(map: &'a mut [f32], width: usize) -> Self {
        let rows = map.len().checked_div(width).unwrap_or(0);
        assert_eq!(map.len(), rows * width, "a map of whole rows");
        Block {
            image: 0,
            rows: 0..rows,
            columns: 0..width,
            width,
            sums: None,
            products: None,
            map: map.as_mut_ptr(),
            borrow: PhantomData,
        }
    }

    /// Adds sums to be filled: one number per column, to which the kernel adds the block's rows.
    pub fn with_sums(mut self, sums: &'a mut [f32]) -> Self {
        self.sums = Some(sums);
        self
    }

    /// Keeps only some of the columns.
    ///
    /// # Panics
    /// Panics if the block does not have the columns, or has sums.
    pub fn with_columns(mut self, columns: Range<usize>) -> Self {
        assert!(self.columns.start <= columns.start && columns.end <= self.columns.end);
        assert!(columns.start <= columns.end && self.sums.is_none());
        self.columns = columns;
        self
    }

    /// Borrows some of the rows as a block of their own, with the same sums.
    ///
    /// # Panics
    /// Panics if the block does not have the rows.
    pub fn part(&mut self, rows: Range<usize>) -> Block<'_> {
        assert!(self.rows.start <= rows.start && rows.end <= self.rows.end);
        assert!(rows.start <= rows.end);
        Block {
            image: self.image,
            rows,
            columns: self.columns.clone(),
            width: self.width,
            sums: self.sums.as_deref_mut(),
            products: None,
            map: self.map,
            borrow: PhantomData,
        }
    }

    /// Borrows one row as a block of rows of `width` elements, such as a line of pixels as a block of
    /// the pixels, with the same sums.
    ///
    /// # Panics
    /// Panics if the block does not have the row, or if it does not consist of whole rows, each of a
    /// multiple of `width` elements.
    pub fn pixels(&mut self, row: usize, width: usize) -> Block<'_> {
        assert!(self.rows.contains(&row) && self.columns == (0..self.width));
        assert!(width > 0 && self.width.is_multiple_of(width));
        Block {
            image: self.image,
            rows: 0..self.width / width,
            columns: 0..width,
            width,
            sums: self.sums.as_deref_mut(),
            products: None,
            map: self.map.wrapping_add(row * self.width),
            borrow: PhantomData,
        }
    }

    /// Returns which image of the map the block is a part of.
    pub fn image(&self) -> usize {
        self.image
    }

    /// Returns the rows of the image.
    pub fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// Returns the columns of the image.
    pub fn columns(&self) -> Range<usize> {
        self.columns.clone()
    }

    /// Returns the elements of a whole row of the map.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Returns the sums, if they are wanted.
    pub fn sums(&mut self) -> Option<&mut [f32]> {
        self.sums.as_deref_mut()
    }

    /// Returns how many sums there are, if they are wanted.
    pub(super) fn sums_len(&self) -> Option<usize> {
        self.sums.as_ref().map(|sums| sums.len())
    }

    /// Returns the elements of the block's rows and the products of their pixels; `None` if products are
    /// not wanted.
    pub(super) fn products(&mut self) -> Option<(&[f32], &mut [f32])> {
        let products = self.products.as_deref_mut()?;
        let first = self.map.wrapping_add(self.rows.start * self.width);
        // SAFETY: only a block of whole rows has products. The rows lie in the map and belong to this
        // block alone; the borrow of it is exclusive, and no product lies in the map.
        let rows = unsafe { std::slice::from_raw_parts(first, self.rows.len() * self.width) };
        Some((rows, products))
    }

    /// Returns where `row` of the image starts at `column`. It is sound to write there for rows and
    /// columns of this block only.
    #[inline(always)]
    pub(super) fn at(&mut self, row: usize, column: usize) -> *mut f32 {
        debug_assert!(self.rows.contains(&row) && self.columns.contains(&column));
        self.map.wrapping_add(row * self.width + column)
    }

    /// Returns where the image starts.
    pub(super) fn image_start(&self) -> *const f32 {
        self.map
    }

    /// Returns where the sum at `index` lies, if there are sums.
    ///
    /// # Panics
    /// Panics if there are sums, but not so many.
    #[inline(always)]
    pub(super) fn sum_at(&mut self, index: usize) -> Option<NonNull<f32>> {
        self.sums.as_mut().map(|sums| NonNull::from(&mut sums[index..]).cast())
    }

    /// Returns the block's part of one row.
    ///
    /// # Panics
    /// Panics if the block does not have the row.
    pub fn row(&mut self, row: usize) -> &mut [f32] {
        assert!(self.rows.contains(&row), "row {row} is none of the block's, {:?}", self.rows);
        let first = self.map.wrapping_add(row * self.width + self.columns.start);
        // SAFETY: the constructors and the methods that restrict a block see to it that its rows and
        // columns lie in the map, and belong to this block alone; the borrow of it is exclusive.
        unsafe { std::slice::from_raw_parts_mut(first, self.columns.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_block_of_pixels() {
        let mut map: Vec<f32> = (0..24).map(|i| i as f32).collect();
        let mut sums = [0.0; 4];
        let mut block = Block::whole(&mut map, 12).with_sums(&mut sums);
        let mut line = block.pixels(1, 4);
        assert_eq!((line.rows(), line.columns(), line.sums_len()), (0..3, 0..4, Some(4)));
        assert_eq!(line.row(2), [20.0, 21.0, 22.0, 23.0]);
    }

    #[test]
    fn rows_are_cut_at_multiples_of_the_unit_if_there_are_enough() {
        let starts = |rows: usize, row_blocks: usize| -> Vec<usize> {
            let (images, width, column_blocks, row_unit) = (1, 8, 1, 12);
            let cut = Cut { images, rows, width, row_blocks, column_blocks, row_unit };
            (0..row_blocks).map(|block| cut.rows_of(block).start).collect()
        };
        assert_eq!(starts(49, 2), [0, 24]);
        assert_eq!(starts(196, 4), [0, 48, 96, 144]);
        assert_eq!(starts(20, 2), [0, 10]);
    }

    #[test]
    #[should_panic(expected = "Cut")]
    fn products_of_rows_that_are_cut() {
        let cut =
            Cut { images: 1, rows: 2, width: 32, row_blocks: 1, column_blocks: 2, row_unit: 1 };
        let _ = Blocks::new(&mut [0.0; 64], cut).with_products(&mut [0.0; 8], 32);
    }

    #[test]
    #[should_panic(expected = "Cut")]
    fn products_that_are_too_few() {
        let cut =
            Cut { images: 2, rows: 9, width: 8, row_blocks: 3, column_blocks: 1, row_unit: 1 };
        let _ = Blocks::new(&mut [0.0; 144], cut).with_products(&mut [0.0; 18], 8);
    }

    #[test]
    #[should_panic(expected = "is_multiple_of")]
    fn a_row_that_is_no_whole_number_of_pixels() {
        Block::whole(&mut [0.0; 24], 12).pixels(0, 5);
    }

    #[test]
    fn blocks_cover_the_map_once() {
        for (images, rows, width, row_blocks, column_blocks, row_unit) in [
            (1, 1, 8, 1, 1, 1),
            (2, 49, 40, 2, 2, 1),
            (3, 7, 16, 7, 1, 1),
            (1, 5, 1000, 3, 16, 1),
            (2, 49, 40, 2, 2, 12),
            (1, 100, 8, 9, 1, 12),
            (1, 784, 16, 16, 1, 12),
        ] {
            let cut = Cut { images, rows, width, row_blocks, column_blocks, row_unit };
            let mut map = vec![0f32; images * rows * width];
            let mut sums = vec![0f32; images * row_blocks * width];
            let blocks = Blocks::new(&mut map, cut).with_sums(&mut sums, width).with_shares(3);
            let mut count = 0;
            let owned = [1, 1, 7, 0].map(|wish| blocks.claim(wish));
            assert_eq!(owned, [Some(1), Some(2), Some(0), None]);
            while let Some(mut block) = blocks.next_of(count % 3).or_else(|| blocks.next()) {
                count += 1;
                assert!(block.rows().len() <= cut.most_rows());
                assert!(block.columns().start.is_multiple_of(COLUMN_UNIT));
                for row in block.rows() {
                    block.row(row).iter_mut().for_each(|x| *x += 1.0);
                }
                block.sums().unwrap().iter_mut().for_each(|x| *x += 1.0);
            }
            assert_eq!(count, cut.blocks());
            assert!(map.iter().chain(&sums).all(|&x| x == 1.0), "{cut:?}");
        }
    }
}
