//! Convolution by Winograd's algorithm.

use super::arguments::Arguments;
use super::epilogue::StepEpilogue;
use super::primitive::Primitive;
use super::window::WindowShape;
use crate::error::Result;
use crate::kernels::Cut;
use crate::kernels::winograd::{TILE, WinogradWeights, winograd};
use crate::plan::map::Extent;
use crate::plan::tuning::{COLUMNS_PER_BLOCK, MOST_TILE_COLUMN_BLOCKS, TILES_PER_BLOCK};

/// A dense convolution of input 0, with 3x3 windows and a stride of 1.
pub struct WinogradPrimitive {
    /// The transformed weights.
    pub weights: WinogradWeights,
    /// The window.
    pub window: WindowShape,
    /// What is applied to the output.
    pub epilogue: StepEpilogue,
}

impl WinogradPrimitive {
    /// Cuts the output into blocks of whole lines, or by channels if all lines are one block.
    fn cut(&self, output: Extent) -> Cut {
        let Extent { images, height, .. } = output;
        let lines = TILE * TILES_PER_BLOCK.div_ceil(output.width.div_ceil(TILE).max(1));
        let divides = |&blocks: &usize| height.is_multiple_of(blocks) && height / blocks >= lines;
        let row_blocks = (2..=height).rev().find(divides).unwrap_or(1);
        let width = self.weights.width();
        let column_blocks = match row_blocks {
            1 => (width / COLUMNS_PER_BLOCK).clamp(1, MOST_TILE_COLUMN_BLOCKS),
            _ => 1,
        };
        Cut { images, rows: output.pixels(), width, row_blocks, column_blocks, row_unit: 1 }
    }
}

impl Primitive for WinogradPrimitive {
    fn name(&self) -> &'static str {
        "Winograd"
    }

    fn macs(&self, _: Extent, output: Extent) -> usize {
        let outputs = output.images * output.pixels() * output.channels;
        outputs * self.weights.channels() * self.window.taps()
    }

    fn workspace(&self, output: Extent) -> usize {
        let lines = output.height / self.cut(output).row_blocks;
        self.weights.workspace(lines, output.width)
    }

    fn partial_sums(&self, output: Extent) -> usize {
        self.cut(output).row_blocks
    }

    fn weight_bytes(&self) -> usize {
        self.weights.bytes()
    }

    fn check(&self, input: Extent) -> Result<()> {
        self.window.over(input).map(|_| ())
    }

    fn run(&self, arguments: Arguments) -> Result<()> {
        let Arguments { inputs, isa, .. } = arguments;
        let (x, extent) = (arguments.input(0), arguments.output_extent(0));
        let window = self.window.over(x.extent)?;
        let cut = self.cut(extent);
        let macs = extent.len() * self.weights.channels() * 9 / 4;
        let [Some(y), sums] = arguments.outputs else { return Ok(()) };
        let sums = sums.map(|sums| (sums, cut.width));
        arguments.workers.compute_blocks(y, sums, cut, macs, |block, workspace| {
            let epilogue = self.epilogue.for_image(inputs, block.image());
            let image = x.image(block.image());
            winograd(isa, image, &self.weights, &window, &epilogue, block, workspace);
        });
        Ok(())
    }
}
