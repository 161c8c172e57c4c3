//! Resizing and padding of maps.

use std::sync::{Arc, Mutex, PoisonError};

use super::arguments::Arguments;
use super::epilogue::StepEpilogue;
use super::primitive::Primitive;
use crate::error::{Error, Result};
use crate::graph::geometry::{self, Fraction, ResizeAxis};
use crate::graph::{PadMode, Resize};
use crate::kernels::Cut;
use crate::kernels::sample::{Taps, sample};
use crate::plan::map::Extent;
use crate::plan::tuning::ELEMENTS_PER_BLOCK;

/// Which pixels of a map a pixel of the result is computed from.
pub enum Sampling {
    /// Interpolation.
    Resize {
        /// The attributes. Regions of interest are not supported.
        op: Resize,
        /// The scales down and across; `None` if the network states sizes.
        scales: Option<[f32; 2]>,
    },
    /// Continuation beyond the border.
    Pad {
        /// How the map is continued.
        mode: PadMode,
        /// The lines added above and the columns added to the left.
        before: [i64; 2],
    },
}

/// A map that is sampled.
pub struct SamplePrimitive {
    sampling: Sampling,
    outside: f32,
    epilogue: StepEpilogue,
    /// The taps of the last run, for maps of the same sizes.
    taps: Mutex<Option<Arc<SizedTaps>>>,
}

/// The taps of both axes, for an input and an output of these heights and widths.
struct SizedTaps {
    sizes: [[usize; 2]; 2],
    taps: [Taps; 2],
}

impl SamplePrimitive {
    /// Returns the primitive that samples input 0. Pixels outside the map have the value `outside`.
    pub fn new(sampling: Sampling, outside: f32, epilogue: StepEpilogue) -> Self {
        SamplePrimitive { sampling, outside, epilogue, taps: Mutex::new(None) }
    }

    /// Returns the taps for these sizes, which are computed if the last run had other sizes.
    fn taps(&self, sizes: [[usize; 2]; 2]) -> Arc<SizedTaps> {
        let mut last = self.taps.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(taps) if taps.sizes == sizes => taps.clone(),
            _ => {
                let axis = |axis: usize| {
                    let [input, output] = sizes.map(|sizes| sizes[axis]);
                    let outputs =
                        (0..output).map(|at| self.sampling.taps(axis, [input, output], at));
                    Taps::new(input, outputs)
                };
                last.insert(Arc::new(SizedTaps { sizes, taps: [0, 1].map(axis) })).clone()
            }
        }
    }

    fn cut(output: Extent) -> Cut {
        let width = output.width * output.stride();
        Cut::in_rows(output.images, output.height, width, ELEMENTS_PER_BLOCK)
    }
}

impl Sampling {
    /// Returns the positions of an axis that entry `at` of the result is a weighted sum of.
    fn taps(&self, axis: usize, [input, output]: [usize; 2], at: usize) -> Vec<(usize, f32)> {
        match self {
            Sampling::Resize { op, scales } => {
                let scale = match scales {
                    Some(scales) => Fraction::from_f32(scales[axis]),
                    None => Fraction { numerator: output as i128, denominator: input as i128 },
                };
                let axis = ResizeAxis { input, output, scale, roi: (0.0, 1.0) };
                if axis.is_identity() {
                    return vec![(at, 1.0)];
                }
                let taps = geometry::taps(op, &axis, at).unwrap_or_default();
                let taps = taps.into_iter().map(|(place, weight)| (place, weight as f32));
                taps.filter(|&(_, weight)| weight != 0.0).collect()
            }
            Sampling::Pad { mode, before } => {
                let (position, size) = (at as i64 - before[axis], input as i64);
                let place = match mode {
                    PadMode::Constant if !(0..size).contains(&position) => return Vec::new(),
                    PadMode::Constant => position,
                    PadMode::Edge => position.clamp(0, size - 1),
                    PadMode::Wrap => position.rem_euclid(size),
                    PadMode::Reflect if size == 1 => 0,
                    PadMode::Reflect => {
                        let last = size - 1;
                        last - (position.rem_euclid(2 * last) - last).abs()
                    }
                };
                vec![(place as usize, 1.0)]
            }
        }
    }
}

impl Primitive for SamplePrimitive {
    fn name(&self) -> &'static str {
        match self.sampling {
            Sampling::Resize { .. } => "resize",
            Sampling::Pad { .. } => "pad",
        }
    }

    fn partial_sums(&self, output: Extent) -> usize {
        Self::cut(output).row_blocks
    }

    fn run(&self, arguments: Arguments) -> Result<()> {
        let Arguments { inputs, isa, .. } = arguments;
        let (x, output) = (arguments.input(0), arguments.output_extent(0));
        let extends = matches!(self.sampling, Sampling::Pad { mode: PadMode::Constant, .. });
        if x.extent.pixels() == 0 && !extends {
            let Extent { height, width, .. } = x.extent;
            let message = format!("a map of {height}x{width} pixels cannot be resized or padded");
            return Err(Error::shape(message));
        }
        let sizes = [x.extent, output].map(|extent| [extent.height, extent.width]);
        let sized = self.taps(sizes);
        let [lines, columns] = &sized.taps;
        let width = output.stride();
        let [Some(y), sums] = arguments.outputs else { return Ok(()) };
        let sums = sums.map(|sums| (sums, width));
        let (cut, macs) = (Self::cut(output), 8 * output.len());
        arguments.workers.compute_blocks(y, sums, cut, macs, |block, _| {
            let image = x.image(block.image());
            for line in block.rows() {
                let mut part = block.part(line..line + 1);
                sample(isa, image, [lines, columns], width, self.outside, &mut part);
                self.epilogue.finish_line(isa, inputs, &mut part, line, width);
            }
        });
        Ok(())
    }
}
