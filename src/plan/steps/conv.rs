//! Dense convolution.

use super::arguments::{Arguments, MOST_INPUTS};
use super::epilogue::StepEpilogue;
use super::primitive::Primitive;
use super::window::WindowShape;
use crate::error::Result;
use crate::kernels::conv::{ConvWeights, Image, conv};
use crate::kernels::product::STREAMED_WEIGHTS;
use crate::kernels::{COLUMN_UNIT, Cut};
use crate::plan::map::{Extent, MapView};
use crate::plan::tuning::{
    COLUMNS_PER_BLOCK, FEW_ROWS, MACS_CUT_BY_COLUMNS, MANY_ROWS, MOST_COLUMN_BLOCKS,
    MOST_GATHERED_PIXELS, ROW_UNIT, ROWS_PER_BLOCK,
};
use crate::tensor::Layout;

/// A dense convolution of input 0, or a fully connected layer as a convolution of images of one
/// pixel.
pub struct ConvPrimitive {
    /// The packed weights.
    pub weights: ConvWeights,
    /// The window.
    pub window: WindowShape,
    /// What is applied to the input first. Requires a pointwise window.
    pub prologue: Option<StepEpilogue>,
    /// What is applied to the output.
    pub epilogue: StepEpilogue,
    /// Whether every image is a single pixel, so that the images of a batch can be the rows of one
    /// matrix.
    pub vectors: bool,
}

impl ConvPrimitive {
    /// Returns whether the images of a batch are the rows of one matrix.
    fn batch_is_matrix(&self) -> bool {
        self.vectors && self.prologue.is_none() && self.epilogue.coefficients.is_none()
    }

    fn cut(&self, output: Extent) -> Cut {
        let Extent { images, .. } = output;
        let packed = self.weights.packed();
        let (images, rows) =
            if self.batch_is_matrix() { (1, images) } else { (images, output.pixels()) };
        let mut cut = match self.prologue {
            Some(_) => cut_rows(images, rows, packed.width()),
            None => cut_matrix(images, rows, packed.width(), packed.length()),
        };
        if self.reads_nchw() && (ROWS_PER_BLOCK..=MOST_GATHERED_PIXELS).contains(&output.width) {
            (cut.row_blocks, cut.row_unit) = (output.height, 1);
        }
        cut
    }
}

/// Cuts `images` matrices of `rows` rows and `width` columns, each element of which is a sum of
/// `length` products.
///
/// Rows are cut where register tiles end. Every block reads all weights of its columns. Few rows are
/// therefore cut into fewer blocks. Very few rows are cut by columns instead, and so are few rows with many
/// weights, where register tiles end.
pub(super) fn cut_matrix(images: usize, rows: usize, width: usize, length: usize) -> Cut {
    let most = (width / COLUMNS_PER_BLOCK).clamp(1, MOST_COLUMN_BLOCKS);
    let macs = rows.saturating_mul(width).saturating_mul(length);
    let column_blocks = match rows {
        _ if rows < FEW_ROWS && macs > MACS_CUT_BY_COLUMNS => most,
        FEW_ROWS..MANY_ROWS if width.saturating_mul(length) >= STREAMED_WEIGHTS => {
            let has_whole_tiles = |blocks: &usize| width.is_multiple_of(2 * COLUMN_UNIT * blocks);
            (1..=most).rev().find(has_whole_tiles).unwrap_or(1)
        }
        _ => 1,
    };
    let cut = cut_rows(images, rows, width);
    match column_blocks {
        1 => cut,
        _ => Cut { row_blocks: 1, column_blocks, ..cut },
    }
}

/// Cuts `images` matrices of `rows` rows and `width` columns by rows alone.
pub(super) fn cut_rows(images: usize, rows: usize, width: usize) -> Cut {
    let row_blocks = match rows {
        ..FEW_ROWS => 1,
        FEW_ROWS..MANY_ROWS => rows / FEW_ROWS,
        _ => rows / ROWS_PER_BLOCK,
    };
    Cut { images, rows, width, row_blocks, column_blocks: 1, row_unit: ROW_UNIT }
}

impl Primitive for ConvPrimitive {
    fn name(&self) -> &'static str {
        "dense"
    }

    fn macs(&self, _: Extent, output: Extent) -> usize {
        output.images * output.pixels() * output.channels * self.weights.packed().length()
    }

    fn workspace(&self, output: Extent) -> usize {
        self.weights.workspace(self.cut(output).most_rows(), self.prologue.is_some())
    }

    fn partial_sums(&self, output: Extent) -> usize {
        self.cut(output).row_blocks
    }

    fn weight_bytes(&self) -> usize {
        self.weights.packed().bytes()
    }

    /// Images of one pixel are excluded: they are the rows of a matrix, which needs the padding that
    /// only maps in the arena have.
    fn reads_nchw(&self) -> bool {
        self.weights.gathers() && self.prologue.is_none() && !self.vectors
    }

    fn check(&self, input: Extent) -> Result<()> {
        self.window.over(input).map(|_| ())
    }

    fn run(&self, arguments: Arguments) -> Result<()> {
        let isa = arguments.isa;
        let cut = self.cut(arguments.output_extent(0));
        let (mut x, mut inputs) = (arguments.input(0), arguments.inputs);
        let as_lines: [_; MOST_INPUTS];
        if self.batch_is_matrix() {
            x = batch_as_lines(x);
            as_lines = std::array::from_fn(|i| inputs.get(i).copied()?.map(batch_as_lines));
            inputs = &as_lines;
        }
        let window = self.window.over(x.extent)?;
        let macs = cut.images * cut.rows * cut.width * self.weights.packed().length();
        let [Some(y), sums] = arguments.outputs else { return Ok(()) };
        let sums = sums.map(|sums| (sums, cut.width));
        arguments.workers.compute_blocks(y, sums, cut, macs, |block, workspace| {
            let i = block.image();
            let image = Image { data: x.image(i), layout: x.layout };
            let prologue = self.prologue.as_ref().map(|prologue| prologue.for_image(inputs, i));
            let epilogue = self.epilogue.for_image(inputs, i);
            let (weights, prologue) = (&self.weights, prologue.as_ref());
            conv(isa, image, weights, &window, prologue, &epilogue, block, workspace);
        });
        Ok(())
    }
}

/// Returns a batch of images of one pixel as a single image with one pixel per line.
///
/// # Panics
/// Panics if the map is NCHW: rows without padding between them are no map.
fn batch_as_lines(view: MapView) -> MapView {
    assert_eq!(view.layout, Layout::Nhwc);
    let Extent { images, channels, .. } = view.extent;
    MapView { extent: Extent { images: 1, height: images, width: 1, channels }, ..view }
}
