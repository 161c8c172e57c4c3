//! Dynamic Shift-Max.

use super::arguments::Arguments;
use super::primitive::Primitive;
use crate::error::{Error, Result};
use crate::kernels::Cut;
use crate::kernels::channels::ChannelTable;
use crate::kernels::shift_max::{Shift, shift_max};
use crate::plan::tuning::ELEMENTS_PER_BLOCK;

/// The largest of K sums of each channel and of another one. Input 1 has the coefficients.
pub struct ShiftMaxPrimitive {
    k: usize,
    own: ChannelTable,
    other: ChannelTable,
}

impl ShiftMaxPrimitive {
    /// Returns the primitive of a function of K pieces in which channel `c` also reads channel
    /// `source[c]`, and whose results are permuted: result `i` is that of channel `order[i]`.
    ///
    /// # Panics
    /// Panics if `order` is not one of the channels of `source`.
    pub fn new(k: usize, source: &[usize], order: &[usize]) -> Self {
        let other: Vec<usize> = order.iter().map(|&channel| source[channel]).collect();
        ShiftMaxPrimitive { k, own: ChannelTable::new(order), other: ChannelTable::new(&other) }
    }
}

impl Primitive for ShiftMaxPrimitive {
    fn name(&self) -> &'static str {
        "shift max"
    }

    fn run(&self, arguments: Arguments) -> Result<()> {
        let (x, theta) = (arguments.input(0), arguments.input(1));
        let (output, isa) = (arguments.output_extent(0), arguments.isa);
        let (rows, width) = (output.pixels(), output.stride());
        if self.own.width() != width {
            let found = output.channels;
            return Err(Error::shape(format!("the sources are not for {found} channels")));
        }
        let cut = Cut::in_rows(output.images, rows, width, ELEMENTS_PER_BLOCK);
        let [Some(y), _] = arguments.outputs else { return Ok(()) };
        arguments.workers.compute_blocks(y, None, cut, 4 * output.len(), |block, _| {
            let image = block.image();
            let shift = Shift {
                own: &self.own,
                other: &self.other,
                k: self.k,
                coefficients: theta.image(image),
                shared: theta.extent.channels == 1,
            };
            shift_max(isa, x.image(image), shift, block);
        });
        Ok(())
    }
}
