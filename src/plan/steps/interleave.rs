//! Maps whose pixels alternate in a larger one.

use super::arguments::Arguments;
use super::epilogue::StepEpilogue;
use super::primitive::Primitive;
use crate::error::{Error, Result};
use crate::kernels::Cut;
use crate::kernels::interleave::{Phase, interleave};
use crate::plan::map::Extent;
use crate::plan::tuning::ELEMENTS_PER_BLOCK;

/// A map of the pixels of several maps: of the phases of a transposed convolution, or of parts of the
/// channels.
pub struct InterleavePrimitive {
    /// The number of phases down and across.
    pub steps: [usize; 2],
    /// For every phase, row by row, its input, its first channel, and the distance of its channels.
    pub phases: Vec<[usize; 3]>,
    /// What is applied to the output.
    pub epilogue: StepEpilogue,
}

impl InterleavePrimitive {
    fn cut(output: Extent) -> Cut {
        let width = output.width * output.stride();
        Cut::in_rows(output.images, output.height, width, ELEMENTS_PER_BLOCK)
    }
}

impl Primitive for InterleavePrimitive {
    fn name(&self) -> &'static str {
        "interleave"
    }

    fn partial_sums(&self, output: Extent) -> usize {
        Self::cut(output).row_blocks
    }

    fn run(&self, arguments: Arguments) -> Result<()> {
        let Arguments { inputs, isa, .. } = arguments;
        let (output, [rows, columns]) = (arguments.output_extent(0), self.steps);
        for (at, &[input, first, step]) in self.phases.iter().enumerate() {
            let Some(x) = inputs[input].map(|x| x.extent) else { return Ok(()) };
            let needed = [
                output.height.saturating_sub(at / columns).div_ceil(rows),
                output.width.saturating_sub(at % columns).div_ceil(columns),
                first + (output.channels - 1) * step + 1,
            ];
            let found = [x.height, x.width, x.channels];
            if needed.iter().zip(found).any(|(&needed, found)| needed > found) {
                return Err(Error::shape(format!(
                    "a phase needs {needed:?} lines, columns and channels, and the map has {found:?}"
                )));
            }
        }
        let (width, channels) = (output.stride(), output.channels);
        let [Some(y), sums] = arguments.outputs else { return Ok(()) };
        let sums = sums.map(|sums| (sums, width));
        let (cut, macs) = (Self::cut(output), 4 * output.len());
        arguments.workers.compute_blocks(y, sums, cut, macs, |block, _| {
            let image = block.image();
            let phase = |line: usize, column: usize| {
                let [input, first, step] = self.phases[line * columns + column];
                let x = inputs[input].expect("the inputs were looked at above");
                let Extent { width: line, .. } = x.extent;
                Phase { x: x.image(image), line, width: x.extent.stride(), first, step }
            };
            for line in block.rows() {
                let mut part = block.part(line..line + 1);
                interleave(phase, self.steps, channels, width, &mut part);
                self.epilogue.finish_line(isa, inputs, &mut part, line, width);
            }
        });
        Ok(())
    }
}
