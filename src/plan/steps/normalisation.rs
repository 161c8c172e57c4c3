//! The statistics of normalisation.

use super::arguments::Arguments;
use super::primitive::Primitive;
use crate::error::Result;
use crate::kernels::Cut;
use crate::kernels::normalisation::{Normalisation, group_coefficients};

/// The slopes and offsets by which a normalisation over groups changes the channels of input 0.
pub struct GroupCoefficientsPrimitive {
    /// The number of groups.
    pub num_groups: usize,
    /// Added to the variance.
    pub epsilon: f32,
    /// The scale of every channel.
    pub scale: Vec<f32>,
    /// The offset of every channel.
    pub bias: Vec<f32>,
}

impl Primitive for GroupCoefficientsPrimitive {
    fn name(&self) -> &'static str {
        "moments"
    }

    fn run(&self, arguments: Arguments) -> Result<()> {
        let (x, output, isa) = (arguments.input(0), arguments.output_extent(0), arguments.isa);
        let norm = Normalisation {
            groups: self.num_groups,
            epsilon: self.epsilon,
            scale: &self.scale,
            bias: &self.bias,
        };
        // An image is one block, because sums over it have one order.
        let width = output.image();
        let cut = Cut {
            images: output.images,
            rows: 1,
            width,
            row_blocks: 1,
            column_blocks: 1,
            row_unit: 1,
        };
        let macs = 2 * x.extent.len();
        let [Some(y), _] = arguments.outputs else { return Ok(()) };
        arguments.workers.compute_blocks(y, None, cut, macs, |block, _| {
            let image = x.image(block.image());
            group_coefficients(isa, image, norm, block.row(0));
        });
        Ok(())
    }
}
