//! An epilogue as a step of its own.

use super::epilogue::Fused;
use super::io::Io;
use super::kernel::Kernel;
use crate::error::Result;
use crate::kernels::transform::{transform, transform_in_place};
use crate::plan::extent::Extent;
use crate::plan::threads::compute_blocks;
use crate::plan::tuning::BLOCK;
use crate::tensor::Cut;

/// Additions, activations and max-affine functions of input 0, in place where nobody else reads it.
pub struct TransformStep {
    /// What is applied.
    pub fused: Fused,
}

impl TransformStep {
    fn cut(output: Extent) -> Cut {
        let (rows, width) = (output.pixels(), output.stride());
        let row_blocks = (rows * width / BLOCK).clamp(1, rows.max(1));
        Cut { images: output.images, rows, width, row_blocks, column_blocks: 1 }
    }
}

impl Kernel for TransformStep {
    fn name(&self) -> &'static str {
        "transform"
    }

    fn partial_sums(&self, output: Extent) -> usize {
        Self::cut(output).row_blocks
    }

    fn works_in_place(&self) -> bool {
        true
    }

    fn run(&self, io: Io) -> Result<()> {
        let (x, inputs, result) = (io.inputs[0], io.inputs, io.result(0));
        let [Some(y), sums] = io.outputs else { return Ok(()) };
        let sums = sums.map(|sums| (sums, result.stride()));
        let cost = (io.workspace, io.team, 4 * result.len());
        compute_blocks(y, sums, Self::cut(result), cost, |mut block, _| {
            let epilogue = self.fused.epilogue(&inputs, block.image);
            match x {
                Some(x) => transform(io.isa, x.image(block.image), &epilogue, &mut block),
                None => transform_in_place(io.isa, result.pixels(), &epilogue, &mut block),
            }
        });
        Ok(())
    }
}
