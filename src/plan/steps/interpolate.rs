//! Maps that are sampled at positions which the network computes.

use super::arguments::Arguments;
use super::epilogue::StepEpilogue;
use super::primitive::Primitive;
use super::window::WindowShape;
use crate::error::{Error, Result};
use crate::graph::GridSample;
use crate::graph::geometry::{AxisTaps, grid_taps, linear_taps};
use crate::kernels::interpolate::{Neighbours, Parts, interpolate};
use crate::kernels::{Cut, Window};
use crate::plan::map::{Extent, MapView};
use crate::plan::tuning::ELEMENTS_PER_BLOCK;

/// Which positions of a map are sampled.
pub enum Positions {
    /// Those that the windows of a deformable convolution read. Input 1 are the offsets.
    Windows {
        /// The window without offsets.
        window: WindowShape,
        /// The number of groups of channels that have offsets of their own.
        groups: usize,
        /// Whether input 2 are factors of the samples.
        masked: bool,
    },
    /// Those of a grid, which is input 1.
    Grid(GridSample),
}

/// Samples of input 0.
pub struct InterpolatePrimitive {
    /// The positions.
    pub positions: Positions,
    /// What is applied to the output.
    pub epilogue: StepEpilogue,
}

impl InterpolatePrimitive {
    fn cut(output: Extent) -> Cut {
        let width = output.width * output.stride();
        Cut::in_rows(output.images, output.height, width, ELEMENTS_PER_BLOCK)
    }

    /// Returns the samples of a pixel, and the resolved window.
    fn parts(&self, x: Extent) -> Result<(Parts, Option<Window>)> {
        match &self.positions {
            Positions::Grid(_) => Ok((Parts { count: 1, groups: 1, channels: x.channels }, None)),
            Positions::Windows { window, groups, .. } => {
                let channels = x.channels.checked_div(*groups).filter(|c| c * groups == x.channels);
                let channels = channels.ok_or_else(|| {
                    let message = format!("{} channels do not form {groups} groups", x.channels);
                    Error::shape(message)
                })?;
                let count = window.taps().checked_mul(*groups);
                let count = count.ok_or_else(|| Error::shape("a window has too many taps"))?;
                Ok((Parts { count, groups: *groups, channels }, Some(window.over(x)?)))
            }
        }
    }

    /// Checks the sizes of the inputs other than the map.
    fn check_positions(
        &self,
        inputs: &[Option<MapView>],
        parts: Parts,
        output: Extent,
    ) -> Result<()> {
        let (axes, masked) = match self.positions {
            Positions::Windows { masked, .. } => (2 * parts.count, masked),
            Positions::Grid(_) => (2, false),
        };
        for (input, channels) in
            [(1, axes), (2, parts.count)].into_iter().take(1 + usize::from(masked))
        {
            let expected = Extent { channels, ..output };
            let found = inputs[input].map(|map| Extent { images: output.images, ..map.extent });
            if found != Some(expected) {
                let message = format!("positions have sizes {found:?}, expected {expected:?}");
                return Err(Error::shape(message));
            }
        }
        Ok(())
    }
}

/// The pixels that a sample reads of a map of `columns` columns, times `factor`.
#[inline(always)]
fn neighbours(down: AxisTaps, across: AxisTaps, columns: usize, factor: f32) -> Neighbours {
    let mut sample = Neighbours::none(0.0 * factor);
    for &(line, a) in down.iter() {
        for &(column, b) in across.iter() {
            sample.push(line * columns + column, (a * b) as f32 * factor);
        }
    }
    sample
}

impl Primitive for InterpolatePrimitive {
    fn name(&self) -> &'static str {
        "interpolate"
    }

    fn partial_sums(&self, output: Extent) -> usize {
        Self::cut(output).row_blocks
    }

    fn run(&self, arguments: Arguments) -> Result<()> {
        let Arguments { inputs, isa, .. } = arguments;
        let (x, output) = (arguments.input(0), arguments.output_extent(0));
        let (parts, window) = self.parts(x.extent)?;
        self.check_positions(inputs, parts, output)?;
        let Extent { height, width: columns, .. } = x.extent;
        if x.extent.pixels() == 0 && window.is_none() {
            return Err(Error::shape(format!("a map of {height}x{columns} pixels has no samples")));
        }
        if parts.count * parts.channels != output.channels {
            return Err(Error::shape(format!("{parts:?} do not form {output:?}")));
        }
        let width = output.stride();
        let [Some(y), sums] = arguments.outputs else { return Ok(()) };
        let sums = sums.map(|sums| (sums, width));
        let (cut, macs) = (Self::cut(output), 8 * output.len());
        arguments.workers.compute_blocks(y, sums, cut, macs, |block, _| {
            let i = block.image();
            let image = |input: usize| inputs[input].map_or(&[][..], |map| map.image(i));
            let (map, positions, masks) = (x.image(i), image(1), image(2));
            let strides = [1, 2].map(|i| inputs[i].map_or(0, |map| map.extent.stride()));
            for line in block.rows() {
                let mut part = block.part(line..line + 1);
                let stride = x.extent.stride();
                match (&self.positions, &window) {
                    (Positions::Grid(op), _) => {
                        let of = |line: usize, column: usize, _: usize| {
                            let at = (line * output.width + column) * strides[0];
                            let [across, down] = [at, at + 1].map(|at| f64::from(positions[at]));
                            let down = grid_taps(op, down, height);
                            neighbours(down, grid_taps(op, across, columns), columns, 1.0)
                        };
                        interpolate(isa, map, stride, parts, of, width, &mut part);
                    }
                    (Positions::Windows { masked, .. }, Some(window)) => {
                        let of = |line: usize, column: usize, part: usize| {
                            let pixel = line * output.width + column;
                            let (tap, group) = (part / parts.groups, part % parts.groups);
                            let number = group * (parts.count / parts.groups) + tap;
                            let place = [tap / window.kernel[1], tap % window.kernel[1]];
                            let taps = |axis: usize, at: usize, size: usize| {
                                let start =
                                    at * window.stride[axis] + place[axis] * window.dilation[axis];
                                let start = start as f64 - window.before[axis] as f64;
                                let offset = positions[pixel * strides[0] + 2 * number + axis];
                                linear_taps(start + f64::from(offset), size)
                            };
                            let factor =
                                if *masked { masks[pixel * strides[1] + number] } else { 1.0 };
                            neighbours(
                                taps(0, line, height),
                                taps(1, column, columns),
                                columns,
                                factor,
                            )
                        };
                        interpolate(isa, map, stride, parts, of, width, &mut part);
                    }
                    (Positions::Windows { .. }, None) => {}
                }
                self.epilogue.finish_line(isa, inputs, &mut part, line, width);
            }
        });
        Ok(())
    }
}
