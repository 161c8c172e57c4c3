//! Convolution steps.

use super::epilogue::Fused;
use super::io::{Io, MOST_INPUTS};
use super::kernel::Kernel;
use super::window::WindowShape;
use crate::error::Result;
use crate::kernels::conv::{ConvWeights, Image, conv};
use crate::kernels::depthwise::{DepthwiseWeights, depthwise};
use crate::plan::extent::{Extent, View};
use crate::plan::threads::compute_blocks;
use crate::plan::tuning::{
    BLOCK, COLUMNS, FEW_ROWS, MOST_COLUMN_BLOCKS, MOST_GATHERED_ROWS, ROWS, WORTH_COLUMNS,
};
use crate::tensor::{Cut, Layout};

/// How a matrix of `rows` an image is cut. Few rows are cut less finely, for each block reads all
/// weights; the columns of very few rows are cut instead.
fn cut(images: usize, rows: usize, width: usize, length: usize) -> Cut {
    let row_blocks = match rows {
        _ if rows < FEW_ROWS => 1,
        _ if rows < 2 * ROWS => rows / FEW_ROWS,
        _ => rows / ROWS,
    };
    let column_blocks = match rows.saturating_mul(width).saturating_mul(length) {
        work if rows < FEW_ROWS && work > WORTH_COLUMNS => {
            (width / COLUMNS).clamp(1, MOST_COLUMN_BLOCKS)
        }
        _ => 1,
    };
    Cut { images, rows, width, row_blocks, column_blocks }
}

/// A dense convolution, or a fully connected layer as a convolution of single pixels. Input 0 is
/// the map.
pub struct ConvStep {
    /// Packed weights.
    pub weights: ConvWeights,
    /// The window.
    pub window: WindowShape,
    /// What is applied to the input first; asks for a pointwise window.
    pub prologue: Option<Fused>,
    /// What is applied to the output.
    pub fused: Fused,
    /// Whether images are single pixels, which are then multiplied together.
    pub vectors: bool,
}

impl ConvStep {
    /// Whether the images of a batch are the rows of one matrix.
    fn as_rows(&self) -> bool {
        self.vectors && self.prologue.is_none() && self.fused.coefficients.is_none()
    }

    fn cut(&self, output: Extent) -> Cut {
        let Extent { images, .. } = output;
        let packed = self.weights.packed();
        let (images, rows) = if self.as_rows() { (1, images) } else { (images, output.pixels()) };
        let mut cut = cut(images, rows, packed.width(), packed.length());
        if self.prologue.is_some() {
            cut.column_blocks = 1;
        }
        if self.reads_nchw() && (ROWS..=MOST_GATHERED_ROWS).contains(&output.width) {
            cut.row_blocks = output.height;
        }
        cut
    }
}

impl Kernel for ConvStep {
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

    /// Images of single pixels are the rows of a matrix, which are padded in the arena.
    fn reads_nchw(&self) -> bool {
        self.weights.gathers() && self.prologue.is_none() && !self.vectors
    }

    fn check(&self, input: Extent) -> Result<()> {
        self.window.over(input).map(|_| ())
    }

    fn run(&self, io: Io) -> Result<()> {
        let (x, result) = (io.input(0), io.result(0));
        let cut = self.cut(result);
        let (x, inputs) = if self.as_rows() { rows_of_one(x, &io) } else { (x, io.inputs) };
        let window = self.window.over(x.extent)?;
        let cost = cut.images * cut.rows * cut.width * self.weights.packed().length();
        let [Some(y), sums] = io.outputs else { return Ok(()) };
        let sums = sums.map(|sums| (sums, cut.width));
        compute_blocks(y, sums, cut, (io.workspace, io.team, cost), |mut block, work| {
            let i = block.image;
            let image = Image { data: x.image(i), layout: x.layout };
            let prologue = self.prologue.as_ref().map(|p| p.epilogue(&inputs, i));
            let epilogue = self.fused.epilogue(&inputs, i);
            let prologue = prologue.as_ref();
            let weights = &self.weights;
            conv(io.isa, image, weights, &window, prologue, &epilogue, &mut block, work);
        });
        Ok(())
    }
}

/// The images of maps of single pixels as the pixels of one image. All of them are NHWC: one that
/// is not would have no padding between its rows.
fn rows_of_one<'a>(x: View<'a>, io: &Io<'a>) -> (View<'a>, [Option<View<'a>>; MOST_INPUTS]) {
    let as_one = |view: View<'a>| {
        assert_eq!(view.layout, Layout::Nhwc);
        let Extent { images, channels, .. } = view.extent;
        View { extent: Extent { images: 1, height: images, width: 1, channels }, ..view }
    };
    (as_one(x), io.inputs.map(|view| view.map(as_one)))
}

/// A depthwise convolution. Input 0 is the map.
pub struct DepthwiseStep {
    /// Packed weights.
    pub weights: DepthwiseWeights,
    /// The window.
    pub window: WindowShape,
    /// What is applied to the output.
    pub fused: Fused,
}

impl DepthwiseStep {
    fn cut(output: Extent) -> Cut {
        let width = output.width * output.stride();
        let row_blocks = (output.height * width / BLOCK).clamp(1, output.height.max(1));
        Cut { images: output.images, rows: output.height, width, row_blocks, column_blocks: 1 }
    }
}

impl Kernel for DepthwiseStep {
    fn name(&self) -> &'static str {
        "depthwise"
    }

    fn macs(&self, _: Extent, output: Extent) -> usize {
        output.images * output.pixels() * output.channels * self.window.taps()
    }

    fn partial_sums(&self, output: Extent) -> usize {
        Self::cut(output).row_blocks
    }

    fn weight_bytes(&self) -> usize {
        self.weights.bytes()
    }

    fn check(&self, input: Extent) -> Result<()> {
        self.window.over(input).map(|_| ())
    }

    fn run(&self, io: Io) -> Result<()> {
        let (x, result) = (io.input(0), io.result(0));
        let window = self.window.over(x.extent)?;
        let taps = window.kernel[0] * window.kernel[1];
        let inputs = io.inputs;
        let [Some(y), sums] = io.outputs else { return Ok(()) };
        let sums = sums.map(|sums| (sums, result.stride()));
        let cost = (io.workspace, io.team, result.len() * taps);
        compute_blocks(y, sums, Self::cut(result), cost, |mut block, _| {
            let epilogue = self.fused.epilogue(&inputs, block.image);
            let image = x.image(block.image);
            depthwise(io.isa, image, &self.weights, &window, &epilogue, &mut block);
        });
        Ok(())
    }
}
