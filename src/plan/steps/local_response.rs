//! Normalisation over neighbouring channels.

use super::arguments::Arguments;
use super::primitive::Primitive;
use crate::error::Result;
use crate::graph::Lrn;
use crate::kernels::Cut;
use crate::kernels::local_response::{LocalResponse, local_response};
use crate::plan::map::Extent;
use crate::plan::tuning::ELEMENTS_PER_BLOCK;

/// Normalisation of each element of input 0 by those of neighbouring channels.
pub struct LocalResponsePrimitive(pub Lrn);

impl LocalResponsePrimitive {
    fn operation(&self) -> LocalResponse {
        let Lrn { size, alpha, beta, bias } = self.0;
        let factor = (f64::from(alpha) / size as f64) as f32;
        LocalResponse { reach: self.0.reach(), factor, bias, beta }
    }
}

impl Primitive for LocalResponsePrimitive {
    fn name(&self) -> &'static str {
        "local response"
    }

    fn workspace(&self, output: Extent) -> usize {
        self.operation().workspace(output.channels)
    }

    fn run(&self, arguments: Arguments) -> Result<()> {
        let (x, output, isa) = (arguments.input(0), arguments.output_extent(0), arguments.isa);
        let (rows, width, op) = (output.pixels(), output.stride(), self.operation());
        let cut = Cut::in_rows(output.images, rows, width, ELEMENTS_PER_BLOCK);
        let [Some(y), _] = arguments.outputs else { return Ok(()) };
        arguments.workers.compute_blocks(y, None, cut, 8 * output.len(), |block, workspace| {
            let x = x.image(block.image());
            local_response(isa, x, output.channels, op, block, workspace);
        });
        Ok(())
    }
}
