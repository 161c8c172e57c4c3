//! Pooling steps.

use super::io::Io;
use super::kernel::Kernel;
use super::window::WindowShape;
use crate::error::Result;
use crate::kernels::pool::{Pooling, pool, scaled_sum};
use crate::plan::extent::Extent;
use crate::plan::threads::compute_blocks;
use crate::plan::tuning::BLOCK;
use crate::tensor::Cut;

/// Pooling over windows of input 0.
pub struct PoolStep {
    /// What a window gives.
    pub kind: Pooling,
    /// The window.
    pub window: WindowShape,
}

impl Kernel for PoolStep {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn check(&self, input: Extent) -> Result<()> {
        self.window.over(input).map(|_| ())
    }

    fn run(&self, io: Io) -> Result<()> {
        let (x, result) = (io.input(0), io.result(0));
        let window = self.window.over(x.extent)?;
        let width = result.width * result.stride();
        let rows = result.height;
        let row_blocks = (rows * width / BLOCK).clamp(1, rows.max(1));
        let cut = Cut { images: result.images, rows, width, row_blocks, column_blocks: 1 };
        let [Some(y), _] = io.outputs else { return Ok(()) };
        let cost = (io.workspace, io.team, 9 * result.len());
        compute_blocks(y, None, cut, cost, |mut block, _| {
            let image = x.image(block.image);
            pool(io.isa, image, result.stride(), self.kind, &window, &mut block);
        });
        Ok(())
    }
}

/// The mean over all pixels: of input 0, or of the partial sums that the step which produced a map
/// left in input 1.
pub struct GlobalAverageStep;

impl Kernel for GlobalAverageStep {
    fn name(&self) -> &'static str {
        "average"
    }

    fn run(&self, io: Io) -> Result<()> {
        let Some(size) = io.sizes[0] else { return Ok(()) };
        let source = io.inputs[1].unwrap_or_else(|| io.input(0));
        let result = io.result(0);
        let [Some(y), _] = io.outputs else { return Ok(()) };
        let factor = (1.0 / size.pixels() as f64) as f32;
        for (i, y) in y.chunks_exact_mut(result.stride()).enumerate() {
            scaled_sum(io.isa, source.image(i), factor, y);
        }
        Ok(())
    }
}
