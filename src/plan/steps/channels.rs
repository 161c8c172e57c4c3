//! Concatenation and parts of maps, along the channels.

use super::arguments::Arguments;
use super::primitive::Primitive;
use crate::error::{Error, Result};
use crate::kernels::Cut;
use crate::kernels::channels::{Channels, join_channels};
use crate::plan::map::Extent;
use crate::plan::tuning::ELEMENTS_PER_BLOCK;

/// Channels of inputs, one part after another.
pub struct ChannelsPrimitive {
    /// The first channel of each input that is taken, and the number of channels.
    pub parts: Vec<[usize; 2]>,
}

impl Primitive for ChannelsPrimitive {
    fn name(&self) -> &'static str {
        "channels"
    }

    fn run(&self, arguments: Arguments) -> Result<()> {
        let (inputs, output) = (arguments.inputs, arguments.output_extent(0));
        for view in inputs.iter().flatten() {
            let Extent { height, width, .. } = view.extent;
            if [height, width] != [output.height, output.width] {
                let found = format!("{height}x{width}");
                return Err(Error::shape(format!(
                    "maps of {found} and {}x{} are joined by their channels",
                    output.height, output.width
                )));
            }
        }
        let (rows, width) = (output.pixels(), output.stride());
        let cut = Cut::in_rows(output.images, rows, width, ELEMENTS_PER_BLOCK);
        let [Some(y), _] = arguments.outputs else { return Ok(()) };
        arguments.workers.compute_blocks(y, None, cut, 4 * output.len(), |mut block, _| {
            let image = block.image();
            let parts = self.parts.iter().zip(inputs.iter().flatten());
            let channels = parts.map(|(&[first, count], view)| {
                let width = view.extent.stride();
                Channels { x: view.image(image), width, first, count }
            });
            join_channels(channels, &mut block);
        });
        Ok(())
    }
}
