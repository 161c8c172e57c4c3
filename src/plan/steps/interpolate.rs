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

/// `Positions` for a map of known size.
enum Places<'a> {
    Windows(Window),
    Grid(&'a GridSample),
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

    fn is_masked(&self) -> bool {
        matches!(self.positions, Positions::Windows { masked: true, .. })
    }

    /// Returns the samples of a pixel of the output.
    fn parts(&self, x: Extent) -> Result<Parts> {
        let Positions::Windows { window, groups, .. } = &self.positions else {
            return Ok(Parts { count: 1, groups: 1, channels: x.channels });
        };
        let channels = x.channels.checked_div(*groups).filter(|c| c * groups == x.channels);
        let channels = channels.ok_or_else(|| {
            let message = format!("{} channels do not form {groups} groups", x.channels);
            Error::shape(message)
        })?;
        let count = window.taps().checked_mul(*groups);
        let count = count.ok_or_else(|| Error::shape("a window has too many taps"))?;
        Ok(Parts { count, groups: *groups, channels })
    }

    /// Checks the sizes of the inputs other than the map.
    fn check_positions(
        &self,
        inputs: &[Option<MapView>],
        parts: Parts,
        output: Extent,
    ) -> Result<()> {
        let axes = match self.positions {
            Positions::Windows { .. } => 2 * parts.count,
            Positions::Grid(_) => 2,
        };
        let checked = 1 + usize::from(self.is_masked());
        for (input, channels) in [(1, axes), (2, parts.count)].into_iter().take(checked) {
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

/// An image of the map, and the positions at which the pixels of an output of `width` columns sample it.
struct Sampled<'a> {
    map: Extent,
    positions: &'a [f32],
    masks: &'a [f32],
    /// The distances between the values of two pixels in `positions` and in `masks`.
    strides: [usize; 2],
    width: usize,
}

impl Sampled<'_> {
    /// Returns the pixels that a position of the grid reads.
    #[inline(always)]
    fn on_grid(&self, op: &GridSample, line: usize, column: usize) -> Neighbours {
        let at = (line * self.width + column) * self.strides[0];
        let [across, down] = [at, at + 1].map(|at| f64::from(self.positions[at]));
        let (down, across) =
            (grid_taps(op, down, self.map.height), grid_taps(op, across, self.map.width));
        self.neighbours(down, across, 1.0)
    }

    /// Returns the pixels that a tap of a window of one group of channels reads. Taps of groups take turns.
    #[inline(always)]
    fn in_window(
        &self,
        window: &Window,
        parts: Parts,
        line: usize,
        column: usize,
        part: usize,
    ) -> Neighbours {
        let pixel = line * self.width + column;
        let (tap, group) = (part / parts.groups, part % parts.groups);
        let number = group * (parts.count / parts.groups) + tap;
        let place = [tap / window.kernel[1], tap % window.kernel[1]];
        let taps = |axis: usize, at: usize, size: usize| {
            let start = at * window.stride[axis] + place[axis] * window.dilation[axis];
            let start = start as f64 - window.before[axis] as f64;
            let offset = self.positions[pixel * self.strides[0] + 2 * number + axis];
            linear_taps(start + f64::from(offset), size)
        };
        let (down, across) = (taps(0, line, self.map.height), taps(1, column, self.map.width));
        let mask =
            if self.masks.is_empty() { 1.0 } else { self.masks[pixel * self.strides[1] + number] };
        self.neighbours(down, across, mask)
    }

    /// Returns the pixels in some lines and columns, with the products of both weights and `factor`.
    #[inline(always)]
    fn neighbours(&self, down: AxisTaps, across: AxisTaps, factor: f32) -> Neighbours {
        let mut sample = Neighbours::none(0.0 * factor);
        for &(line, a) in down.iter() {
            for &(column, b) in across.iter() {
                sample.push(line * self.map.width + column, (a * b) as f32 * factor);
            }
        }
        sample
    }
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
        let parts = self.parts(x.extent)?;
        self.check_positions(inputs, parts, output)?;
        let places = match &self.positions {
            Positions::Grid(op) => Places::Grid(op),
            Positions::Windows { window, .. } => Places::Windows(window.over(x.extent)?),
        };
        if x.extent.pixels() == 0 && matches!(places, Places::Grid(_)) {
            let Extent { height, width, .. } = x.extent;
            return Err(Error::shape(format!("a map of {height}x{width} pixels has no samples")));
        }
        if parts.count * parts.channels != output.channels {
            return Err(Error::shape(format!("{parts:?} do not form {output:?}")));
        }
        let (stride, width) = (x.extent.stride(), output.stride());
        let [Some(y), sums] = arguments.outputs else { return Ok(()) };
        let sums = sums.map(|sums| (sums, width));
        let (cut, macs) = (Self::cut(output), 8 * output.len());
        arguments.workers.compute_blocks(y, sums, cut, macs, |block, _| {
            let number = block.image();
            let image = |i: usize| inputs[i].map_or(&[][..], |map| map.image(number));
            let masks = if self.is_masked() { image(2) } else { &[] };
            let strides = [1, 2].map(|i| inputs[i].map_or(0, |map| map.extent.stride()));
            let sampled =
                Sampled { map: x.extent, positions: image(1), masks, strides, width: output.width };
            for line in block.rows() {
                let mut rows = block.part(line..line + 1);
                match &places {
                    Places::Grid(op) => {
                        let of = |line, column, _| sampled.on_grid(op, line, column);
                        interpolate(isa, image(0), stride, parts, of, width, &mut rows);
                    }
                    Places::Windows(window) => {
                        let of = |line, column, part| {
                            sampled.in_window(window, parts, line, column, part)
                        };
                        interpolate(isa, image(0), stride, parts, of, width, &mut rows);
                    }
                }
                self.epilogue.finish_line(isa, inputs, &mut rows, line, width);
            }
        });
        Ok(())
    }
}
