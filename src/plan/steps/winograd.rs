//! Convolution steps by Winograd's algorithm.

use super::epilogue::Fused;
use super::io::Io;
use super::kernel::Kernel;
use super::window::WindowShape;
use crate::error::Result;
use crate::kernels::winograd::{TILE, WinogradWeights, winograd};
use crate::plan::extent::Extent;
use crate::plan::threads::compute_blocks;
use crate::plan::tuning::{COLUMNS, MOST_TILE_COLUMN_BLOCKS, TILES};
use crate::tensor::Cut;

/// A dense convolution with 3x3 windows that move by one. Input 0 is the map.
pub struct WinogradStep {
    /// Transformed weights.
    pub weights: WinogradWeights,
    /// The window.
    pub window: WindowShape,
    /// What is applied to the output.
    pub fused: Fused,
}

impl WinogradStep {
    /// Blocks are whole lines; where all of them are one block, channels are cut.
    fn cut(&self, output: Extent) -> Cut {
        let Extent { images, height, .. } = output;
        let lines = TILE * TILES.div_ceil(output.width.div_ceil(TILE).max(1));
        let divides = |&blocks: &usize| height.is_multiple_of(blocks) && height / blocks >= lines;
        let row_blocks = (2..=height).rev().find(divides).unwrap_or(1);
        let width = self.weights.width();
        let column_blocks = match row_blocks {
            1 => (width / COLUMNS).clamp(1, MOST_TILE_COLUMN_BLOCKS),
            _ => 1,
        };
        Cut { images, rows: output.pixels(), width, row_blocks, column_blocks }
    }
}

impl Kernel for WinogradStep {
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

    fn run(&self, io: Io) -> Result<()> {
        let (x, result) = (io.input(0), io.result(0));
        let window = self.window.over(x.extent)?;
        let cut = self.cut(result);
        let cost = (io.workspace, io.team, result.len() * self.weights.channels() * 9 / 4);
        let inputs = io.inputs;
        let [Some(y), sums] = io.outputs else { return Ok(()) };
        let sums = sums.map(|sums| (sums, cut.width));
        compute_blocks(y, sums, cut, cost, |mut block, work| {
            let epilogue = self.fused.epilogue(&inputs, block.image);
            let image = x.image(block.image);
            winograd(io.isa, image, &self.weights, &window, &epilogue, &mut block, work);
        });
        Ok(())
    }
}
