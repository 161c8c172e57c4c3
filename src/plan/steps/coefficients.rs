//! The coefficients of a dynamic activation.

use super::arguments::Arguments;
use super::primitive::Primitive;
use crate::error::Result;
use crate::kernels::Cut;
use crate::kernels::hyperfunction::{Coefficients, coefficients};
use crate::plan::map::Extent;
use crate::plan::tuning::{
    COEFFICIENTS_PER_BATCH_BLOCK, COEFFICIENTS_PER_BLOCK, MOST_COEFFICIENT_BLOCKS,
    MOST_COLUMN_BLOCKS,
};

/// The second layer of a hyperfunction, from the hidden layer in input 0 to coefficients
/// `[N,2K,C]`.
pub struct CoefficientsPrimitive {
    /// The packed layer.
    pub layer: Coefficients,
}

impl Primitive for CoefficientsPrimitive {
    fn name(&self) -> &'static str {
        "coefficients"
    }

    fn macs(&self, _: Extent, output: Extent) -> usize {
        output.images * output.pixels() * output.channels * self.layer.hidden()
    }

    fn workspace(&self, _: Extent) -> usize {
        self.layer.workspace()
    }

    fn weight_bytes(&self) -> usize {
        self.layer.bytes()
    }

    fn run(&self, arguments: Arguments) -> Result<()> {
        let isa = arguments.isa;
        let (hidden, extent) = (arguments.input(0), arguments.output_extent(0));
        let width = self.layer.outputs();
        // A single image takes a long block per thread. Several images take blocks whose weights stay in
        // the cache until all of them have read these. The cut may depend on the number of threads: each
        // coefficient is one sum, whichever block it is in.
        let threads = arguments.workers.team.threads();
        let shares = (width / COEFFICIENTS_PER_BLOCK).min(threads);
        let column_blocks = match extent.images {
            1 => shares.clamp(1, MOST_COEFFICIENT_BLOCKS),
            _ => (width / COEFFICIENTS_PER_BATCH_BLOCK).max(shares).clamp(1, MOST_COLUMN_BLOCKS),
        };
        let cut = Cut {
            images: 1,
            rows: extent.images,
            width,
            row_blocks: 1,
            column_blocks,
            row_unit: 1,
        };
        let [Some(y), _] = arguments.outputs else { return Ok(()) };
        let macs = cut.rows * width * self.layer.hidden();
        arguments.workers.compute_blocks(y, None, cut, macs, |block, workspace| {
            coefficients(isa, &self.layer, hidden.data, block, workspace);
        });
        Ok(())
    }
}
