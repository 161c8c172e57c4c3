//! Pixels of a map in another order.

use super::arguments::Arguments;
use super::primitive::Primitive;
use crate::error::{Error, Result};
use crate::kernels::Cut;
use crate::kernels::pixels::{PixelTable, copy_pixels};
use crate::plan::map::Extent;
use crate::plan::tuning::ELEMENTS_PER_BLOCK;

/// Pixels of input 0: windows of an image, a part of it, an image put together of windows.
///
/// A sample of a batch may be one image on one side and several on the other.
pub struct PixelsPrimitive {
    /// The pixels of the input, counted through all images of a sample, for the result.
    pub table: Vec<u32>,
    /// The number of pixels whose channels lie side by side in a pixel of the result.
    pub group: usize,
    /// The pixels of a sample of the input.
    pub pixels: usize,
}

impl Primitive for PixelsPrimitive {
    fn name(&self) -> &'static str {
        "pixels"
    }

    fn keeps_images(&self) -> bool {
        false
    }

    fn run(&self, arguments: Arguments) -> Result<()> {
        let (x, output) = (arguments.input(0), arguments.output_extent(0));
        let PixelsPrimitive { table, group, pixels } = self;
        let Extent { images, channels, .. } = x.extent;
        let (rows, width) = (output.images * output.pixels(), output.stride());
        let fits = channels.checked_mul(*group) == Some(output.channels)
            && rows * *group * pixels == images * x.extent.pixels() * table.len();
        if !fits {
            let message = format!("pixels of a map {:?} do not form one {output:?}", x.extent);
            return Err(Error::shape(message));
        }
        let table = PixelTable {
            table,
            group: *group,
            channels,
            width: x.extent.stride(),
            pixels: *pixels,
        };
        let cut = Cut::in_rows(1, rows, width, ELEMENTS_PER_BLOCK);
        let [Some(y), _] = arguments.outputs else { return Ok(()) };
        arguments.workers.compute_blocks(y, None, cut, 4 * output.len(), |block, _| {
            copy_pixels(x.data, table, block);
        });
        Ok(())
    }
}
