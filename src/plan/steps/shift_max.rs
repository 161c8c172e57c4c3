//! Dynamic Shift-Max.

use super::arguments::Arguments;
use super::primitive::Primitive;
use crate::error::{Error, Result};
use crate::kernels::Cut;
use crate::kernels::shift_max::{Shift, shift_max};
use crate::plan::tuning::ELEMENTS_PER_BLOCK;

/// The largest of K sums of each channel and of another one. Input 1 has the coefficients.
pub struct ShiftMaxPrimitive {
    /// The number of pieces.
    pub k: usize,
    /// For every channel, padding included, the channel that is read as well.
    pub source: Vec<usize>,
}

impl Primitive for ShiftMaxPrimitive {
    fn name(&self) -> &'static str {
        "shift max"
    }

    fn run(&self, arguments: Arguments) -> Result<()> {
        let (x, theta) = (arguments.input(0), arguments.input(1));
        let (output, isa) = (arguments.output_extent(0), arguments.isa);
        let (rows, width) = (output.pixels(), output.stride());
        if self.source.len() != width {
            let found = output.channels;
            return Err(Error::shape(format!("the sources are not for {found} channels")));
        }
        let cut = Cut::in_rows(output.images, rows, width, ELEMENTS_PER_BLOCK);
        let [Some(y), _] = arguments.outputs else { return Ok(()) };
        arguments.workers.compute_blocks(y, None, cut, 4 * output.len(), |mut block, _| {
            let image = block.image();
            let shift = Shift {
                source: &self.source,
                k: self.k,
                coefficients: theta.image(image),
                shared: theta.extent.channels == 1,
            };
            shift_max(isa, x.image(image), shift, &mut block);
        });
        Ok(())
    }
}
