//! Depthwise convolution.

use super::arguments::Arguments;
use super::epilogue::StepEpilogue;
use super::primitive::Primitive;
use super::window::WindowShape;
use crate::error::Result;
use crate::kernels::Cut;
use crate::kernels::depthwise::{DepthwiseWeights, depthwise};
use crate::plan::map::Extent;
use crate::plan::tuning::{ELEMENTS_PER_BLOCK, MACS_PER_THREAD};

/// A depthwise convolution of input 0.
pub struct DepthwisePrimitive {
    /// The packed weights.
    pub weights: DepthwiseWeights,
    /// The window.
    pub window: WindowShape,
    /// What is applied to the output.
    pub epilogue: StepEpilogue,
}

impl DepthwisePrimitive {
    /// Cuts the output into blocks of lines, at least two where that much work is worth a second thread.
    fn cut(&self, output: Extent) -> Cut {
        let width = output.width * output.stride();
        let mut cut = Cut::in_rows(output.images, output.height, width, ELEMENTS_PER_BLOCK);
        if output.image() * self.window.taps() > MACS_PER_THREAD {
            cut.row_blocks = cut.row_blocks.max(output.height.min(2));
        }
        cut
    }
}

impl Primitive for DepthwisePrimitive {
    fn name(&self) -> &'static str {
        "depthwise"
    }

    fn macs(&self, _: Extent, output: Extent) -> usize {
        output.images * output.pixels() * output.channels * self.window.taps()
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
        let [Some(y), sums] = arguments.outputs else { return Ok(()) };
        let sums = sums.map(|sums| (sums, extent.stride()));
        let macs = extent.len() * self.window.taps();
        arguments.workers.compute_blocks(y, sums, self.cut(extent), macs, |block, _| {
            let epilogue = self.epilogue.for_image(inputs, block.image());
            let image = x.image(block.image());
            depthwise(isa, image, &self.weights, &window, &epilogue, block);
        });
        Ok(())
    }
}
