//! The sizes of the pieces that work is cut into. Each has its unit, its reason, and the bench that
//! shows it. How long threads wait for each other is defined in `threads`.
//!
//! Where a cut decides the order of a sum it follows from shapes alone, so that results do not
//! depend on the number of threads.

/// Multiply-adds per thread: a step with fewer runs on the calling thread alone.
///
/// A core with AVX2 computes up to 50 per nanosecond, so these take 4 microseconds. Waking another
/// thread and waiting for it takes longer. `cargo bench --bench networks`, on 2 threads.
pub(super) const MACS_PER_THREAD: usize = 200_000;

/// Images per thread from which threads take whole images of a batch through the first steps even
/// if the images do not divide evenly among the threads.
///
/// From 4 images per thread on, threads spend at most a fifth of the time waiting for the last
/// images. `cargo bench --bench networks`, batch 8 on 2 threads.
pub(super) const IMAGES_PER_THREAD: usize = 4;

/// Elements per block of a step that reads each element a few times.
///
/// 64 kB stay in the nearest caches between reading and writing.
/// `cargo bench --bench kernels -- depthwise`.
pub(super) const ELEMENTS_PER_BLOCK: usize = 16 * 1024;

/// Rows per block of a matrix product with many rows.
///
/// The weights of a panel are read once per block.
/// `cargo bench --bench kernels -- pointwise`.
pub(super) const ROWS_PER_BLOCK: usize = 48;

/// Rows from which a matrix product has many rows.
///
/// Each of two blocks then has [`ROWS_PER_BLOCK`]. `cargo bench --bench kernels -- pointwise`.
pub(super) const MANY_ROWS: usize = 2 * ROWS_PER_BLOCK;

/// Rows of matrix products are cut at multiples of this, the most rows that a register tile has.
///
/// Blocks of 49 rows would have tiles of nine and ten rows, or one row left over.
/// `cargo bench --bench networks`.
pub(super) const ROW_UNIT: usize = 12;

/// Rows per block of a matrix product with few rows. A matrix with fewer than twice as many is one
/// block.
///
/// Each block reads all weights of its columns, so the 49 rows of a 7x7 map become two blocks rather than
/// four, and one that is cut by columns if there are many weights.
/// `cargo bench --bench kernels -- pointwise`.
pub(super) const FEW_ROWS: usize = 24;

/// Multiply-adds from which a matrix product with fewer than [`FEW_ROWS`] rows is cut by columns.
///
/// Half of [`MACS_PER_THREAD`]; a product with fewer runs on one thread in any case.
/// `cargo bench --bench networks`.
pub(super) const MACS_CUT_BY_COLUMNS: usize = 100_000;

/// Columns per block of a product that is cut by columns: four panels, which are read as one stream.
/// `cargo bench --bench networks`.
pub(super) const COLUMNS_PER_BLOCK: usize = 64;

/// The most column blocks of such a product. `cargo bench --bench networks`.
pub(super) const MOST_COLUMN_BLOCKS: usize = 16;

/// Pixels per line of the output up to which a convolution that reads NCHW computes one line per
/// block.
///
/// The taps of a whole line are then gathered in long runs. `cargo bench --bench networks`: the
/// first convolution of each network reads NCHW.
pub(super) const MOST_GATHERED_PIXELS: usize = 256;

/// Tiles per block of a convolution by Winograd's algorithm, where an image has that many.
///
/// Transformed weights take four times the memory of plain ones and are read once per block.
/// `cargo bench --bench kernels -- 3x3`.
pub(super) const TILES_PER_BLOCK: usize = 20;

/// The most column blocks of a convolution by Winograd's algorithm whose lines are one block.
///
/// Each column block transforms the whole input. `cargo bench --bench kernels -- 3x3`.
pub(super) const MOST_TILE_COLUMN_BLOCKS: usize = 4;

/// Row blocks per image of an expansion that is joined with its depthwise convolution.
///
/// The lines of the map in between that two neighbouring blocks need are computed twice.
/// `cargo bench --bench networks`.
pub(super) const EXPAND_ROW_BLOCKS: usize = 4;

/// Elements of the result that a joined expansion and depthwise convolution compute at a time.
///
/// The lines of the map in between that they need fit in the second cache.
/// `cargo bench --bench networks`.
pub(super) const EXPAND_ELEMENTS: usize = 32 * 1024;

/// Coefficients per block of a hyperfunction's second layer, for a single image.
///
/// Rows of 2 kB of the weights are long enough to be read at the speed of memory.
/// `cargo bench --bench networks`.
pub(super) const COEFFICIENTS_PER_BLOCK: usize = 512;

/// The most blocks of coefficients for a single image: the number of streams that memory serves at
/// once. `cargo bench --bench networks`.
pub(super) const MOST_COEFFICIENT_BLOCKS: usize = 4;

/// Coefficients per block for several images: rows of 2 kB of 16-bit weights, which several groups of
/// images read.
/// `cargo bench --bench networks`, batch 8.
pub(super) const COEFFICIENTS_PER_BATCH_BLOCK: usize = 1024;

/// The mean number of channels of a run from which channels are copied in pieces rather than by a table.
/// `cargo bench --bench networks`.
pub(super) const LONG_RUN: usize = 32;
