//! Pooling.

use super::arguments::Arguments;
use super::primitive::Primitive;
use super::window::WindowShape;
use crate::error::Result;
use crate::kernels::Cut;
use crate::kernels::pool::{Pooling, pool, scaled_sum, sum_of_squares};
use crate::plan::map::Extent;
use crate::plan::tuning::ELEMENTS_PER_BLOCK;

/// Pooling of input 0 over windows.
pub struct PoolPrimitive {
    /// What is computed from the elements of a window.
    pub kind: Pooling,
    /// The window.
    pub window: WindowShape,
}

impl Primitive for PoolPrimitive {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn check(&self, input: Extent) -> Result<()> {
        self.window.over(input).map(|_| ())
    }

    fn run(&self, arguments: Arguments) -> Result<()> {
        let (x, extent, isa) = (arguments.input(0), arguments.output_extent(0), arguments.isa);
        let window = self.window.over(x.extent)?;
        let width = extent.width * extent.stride();
        let cut = Cut::in_rows(extent.images, extent.height, width, ELEMENTS_PER_BLOCK);
        let [Some(y), _] = arguments.outputs else { return Ok(()) };
        arguments.workers.compute_blocks(y, None, cut, 9 * extent.len(), |block, _| {
            let image = x.image(block.image());
            pool(isa, image, extent.stride(), self.kind, &window, block);
        });
        Ok(())
    }
}

/// The mean over all pixels of an image: of input 0, or of the partial sums in input 1, which the
/// step that computed input 0 left there.
pub struct GlobalAveragePrimitive;

impl Primitive for GlobalAveragePrimitive {
    fn name(&self) -> &'static str {
        "average"
    }

    fn run(&self, arguments: Arguments) -> Result<()> {
        let Some(input) = arguments.input_extents[0] else { return Ok(()) };
        let source = arguments.inputs[1].unwrap_or_else(|| arguments.input(0));
        let output = arguments.output_extent(0);
        let [Some(y), _] = arguments.outputs else { return Ok(()) };
        let factor = (1.0 / input.pixels() as f64) as f32;
        for (i, y) in y.chunks_exact_mut(output.stride()).enumerate() {
            scaled_sum(arguments.isa, source.image(i), factor, y);
        }
        Ok(())
    }
}

/// The sums of the squares over all pixels of each image of input 0, or their square roots.
pub struct GlobalNormPrimitive {
    /// Whether the results are roots of sums.
    pub is_root: bool,
}

impl Primitive for GlobalNormPrimitive {
    fn name(&self) -> &'static str {
        "norms"
    }

    fn run(&self, arguments: Arguments) -> Result<()> {
        let (x, output) = (arguments.input(0), arguments.output_extent(0));
        let [Some(y), _] = arguments.outputs else { return Ok(()) };
        for (i, y) in y.chunks_exact_mut(output.stride()).enumerate() {
            sum_of_squares(arguments.isa, x.image(i), y);
            if self.is_root {
                y.iter_mut().for_each(|sum| *sum = sum.sqrt());
            }
        }
        Ok(())
    }
}
