//! An epilogue as a step of its own.

use super::arguments::Arguments;
use super::epilogue::StepEpilogue;
use super::primitive::Primitive;
use crate::error::Result;
use crate::kernels::Cut;
use crate::kernels::transform::{transform, transform_in_place};
use crate::plan::map::Extent;
use crate::plan::tuning::ELEMENTS_PER_BLOCK;

/// Additions, activations and max-affine functions of input 0. Works in place if no later step reads
/// input 0.
pub struct TransformPrimitive {
    /// What is applied to input 0.
    pub epilogue: StepEpilogue,
}

impl TransformPrimitive {
    fn cut(output: Extent) -> Cut {
        let (rows, width) = (output.pixels(), output.stride());
        Cut::in_rows(output.images, rows, width, ELEMENTS_PER_BLOCK)
    }
}

impl Primitive for TransformPrimitive {
    fn name(&self) -> &'static str {
        "transform"
    }

    fn partial_sums(&self, output: Extent) -> usize {
        Self::cut(output).row_blocks
    }

    fn works_in_place(&self) -> bool {
        true
    }

    fn run(&self, arguments: Arguments) -> Result<()> {
        let Arguments { inputs, isa, .. } = arguments;
        let (x, extent) = (inputs[0], arguments.output_extent(0));
        let [Some(y), sums] = arguments.outputs else { return Ok(()) };
        let sums = sums.map(|sums| (sums, extent.stride()));
        let (cut, macs) = (Self::cut(extent), 4 * extent.len());
        arguments.workers.compute_blocks(y, sums, cut, macs, |block, _| {
            let epilogue = self.epilogue.for_image(inputs, block.image());
            match x {
                Some(x) => transform(isa, x.image(block.image()), &epilogue, block),
                None => transform_in_place(isa, &epilogue, block),
            }
        });
        Ok(())
    }
}
