//! Convolution in groups.

use super::arguments::Arguments;
use super::conv::cut_rows;
use super::epilogue::StepEpilogue;
use super::primitive::Primitive;
use super::window::WindowShape;
use crate::error::Result;
use crate::kernels::Cut;
use crate::kernels::grouped::{GroupedWeights, grouped};
use crate::plan::map::Extent;

/// A convolution of input 0 in groups of several channels.
pub struct GroupedPrimitive {
    /// The packed weights.
    pub weights: GroupedWeights,
    /// The window.
    pub window: WindowShape,
    /// What is applied to the output.
    pub epilogue: StepEpilogue,
}

impl GroupedPrimitive {
    /// Returns the products per element of the output.
    fn length(&self) -> usize {
        let groups = self.weights.groups();
        groups.channels * groups.taps
    }

    /// Cuts the output into blocks of rows.
    fn cut(&self, output: Extent) -> Cut {
        let (images, rows) = (output.images, output.pixels());
        cut_rows(images, rows, self.weights.width())
    }
}

impl Primitive for GroupedPrimitive {
    fn name(&self) -> &'static str {
        "grouped"
    }

    fn macs(&self, _: Extent, output: Extent) -> usize {
        output.images * output.pixels() * output.channels * self.length()
    }

    fn workspace(&self, output: Extent) -> usize {
        self.weights.workspace(self.cut(output).most_rows())
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
        let macs = extent.len() * self.length();
        let [Some(y), sums] = arguments.outputs else { return Ok(()) };
        let sums = sums.map(|sums| (sums, cut.width));
        arguments.workers.compute_blocks(y, sums, cut, macs, |block, workspace| {
            let epilogue = self.epilogue.for_image(inputs, block.image());
            let image = x.image(block.image());
            grouped(isa, image, &self.weights, &window, &epilogue, block, workspace);
        });
        Ok(())
    }
}
