//! How steps cut their work, each number with its unit, its reason and the bench that shows it. How
//! long threads wait for each other is said in `threads`.
//!
//! Cuts follow from shapes alone, so that results do not depend on the number of threads.

/// Multiply-adds below which a step runs on the calling thread.
///
/// At 50 per nanosecond, the peak rate of a core with AVX2, they take 4 microseconds: to wake another
/// thread and to wait for it costs more. `cargo bench --bench networks`, at 2 threads.
pub(super) const WORTH_A_THREAD: usize = 200_000;

/// Images per thread from which on every thread takes whole images of a batch through the first
/// steps, also where some then have one more than others.
///
/// From there on, threads that wait for the last images do so for at most a fifth of the time.
/// `cargo bench --bench networks`, batch 8 at 2 threads.
pub(super) const IMAGES_PER_THREAD: usize = 4;

/// Elements of a block of what reads each element a few times: 64 kB, which stay in the nearest
/// caches while they are read and written. `cargo bench --bench kernels -- depthwise`.
pub(super) const BLOCK: usize = 16 * 1024;

/// Rows of a block of a matrix product where there are many: the weights of a panel are read once
/// for so many. `cargo bench --bench kernels -- pointwise`.
pub(super) const ROWS: usize = 48;

/// Rows of a block where there are few, and half as many as a matrix must have to be cut by rows.
///
/// Each block reads all weights: the 49 rows of a map of 7x7 are two blocks and not four.
/// `cargo bench --bench kernels -- pointwise`.
pub(super) const FEW_ROWS: usize = 24;

/// Multiply-adds from which on a matrix of fewer than [`FEW_ROWS`] rows is cut by columns.
///
/// It is half of [`WORTH_A_THREAD`]: fewer are never shared out. `cargo bench --bench networks`.
pub(super) const WORTH_COLUMNS: usize = 100_000;

/// Columns of a block of such a matrix: four panels, which are read as one stream.
/// `cargo bench --bench networks`.
pub(super) const COLUMNS: usize = 64;

/// The most blocks of columns of such a matrix. `cargo bench --bench networks`.
pub(super) const MOST_COLUMN_BLOCKS: usize = 16;

/// Elements of a line of the output up to which the taps of a whole line are gathered at a time, for
/// long runs of elements. `cargo bench --bench networks`, of which the first convolution gathers.
pub(super) const MOST_GATHERED_ROWS: usize = 256;

/// Tiles of a block of a convolution by Winograd's algorithm where an image has many: transformed
/// weights, which are four times as many as plain ones, are read once for so many.
/// `cargo bench --bench kernels -- 3x3`.
pub(super) const TILES: usize = 20;

/// The most blocks of columns of a convolution by Winograd's algorithm whose lines are one block:
/// each transforms the whole input. `cargo bench --bench kernels -- 3x3`.
pub(super) const MOST_TILE_COLUMN_BLOCKS: usize = 4;

/// Blocks of an image of a convolution that is joined with the one before it: the lines between two
/// of them are computed twice. `cargo bench --bench networks`.
pub(super) const JOINED_BLOCKS: usize = 4;

/// Elements of the result of joined convolutions that are computed at a time: about as many as lines
/// between the two fit into the second cache. `cargo bench --bench networks`.
pub(super) const JOINED_AT_A_TIME: usize = 32 * 1024;

/// Coefficients of a block of a hyperfunction's second layer for a single image: rows of 2 kB of the
/// weights are long enough to be read as fast as memory gives them. `cargo bench --bench networks`.
pub(super) const COEFFICIENTS: usize = 512;

/// The most blocks for a single image: as many streams as memory serves at once.
/// `cargo bench --bench networks`.
pub(super) const MOST_COEFFICIENT_BLOCKS: usize = 4;

/// Coefficients of a block for several images, whose sums have to stay in the nearest cache.
/// `cargo bench --bench networks`, batch 8.
pub(super) const COEFFICIENTS_OF_BATCH: usize = 256;
