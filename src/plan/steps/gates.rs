//! Gates of the lines and of the columns of a map.

use super::arguments::Arguments;
use super::primitive::Primitive;
use crate::error::{Error, Result};
use crate::kernels::Cut;
use crate::kernels::gates::gate;
use crate::plan::map::Extent;
use crate::plan::tuning::ELEMENTS_PER_BLOCK;

/// The product of input 0 and of the gates of its lines `[N,C,H,1]`, of its columns `[N,C,1,W]`, or of
/// both, in this order.
pub struct GatePrimitive {
    /// The input that has the gates of the lines.
    pub lines: Option<usize>,
    /// The input that has the gates of the columns.
    pub columns: Option<usize>,
}

impl Primitive for GatePrimitive {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn works_in_place(&self) -> bool {
        true
    }

    fn run(&self, arguments: Arguments) -> Result<()> {
        let Arguments { inputs, isa, .. } = arguments;
        let (x, extent) = (inputs[0], arguments.output_extent(0));
        let gates = |input: Option<usize>, [height, width]: [usize; 2]| -> Result<_> {
            let Some(view) = input.and_then(|input| inputs[input]) else { return Ok(None) };
            let expected = Extent { images: view.extent.images, height, width, ..extent };
            if view.extent != expected {
                let found = view.extent;
                return Err(Error::shape(format!("gates {found:?}, expected {expected:?}")));
            }
            Ok(Some(view))
        };
        let lines = gates(self.lines, [extent.height, 1])?;
        let columns = gates(self.columns, [1, extent.width])?;
        if let Some(found) = x.map(|x| x.extent).filter(|&found| found != extent) {
            return Err(Error::shape(format!("a map {found:?}, expected {extent:?}")));
        }
        let width = extent.width * extent.stride();
        let cut = Cut::in_rows(extent.images, extent.height, width, ELEMENTS_PER_BLOCK);
        let [Some(y), _] = arguments.outputs else { return Ok(()) };
        arguments.workers.compute_blocks(y, None, cut, 2 * extent.len(), |block, _| {
            let image = block.image();
            let x = x.map(|x| x.image(image));
            let (lines, columns) = (lines.map(|l| l.image(image)), columns.map(|c| c.image(image)));
            gate(isa, x, lines, columns, extent.stride(), block);
        });
        Ok(())
    }
}
