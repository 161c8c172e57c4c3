//! The arguments of a primitive.

use crate::plan::map::{Extent, MapView};
use crate::plan::threads::Workers;
use crate::simd::Isa;

/// The most inputs of a step that a primitive computes.
pub const MOST_INPUTS: usize = 16;

/// The most outputs of such a step: a map, its partial sums and the plane of its logits.
pub const MOST_OUTPUTS: usize = 3;

/// The position of the partial sums among the outputs of a step.
pub const SUMS: usize = 1;

/// The position of the plane of logits among the outputs of a step.
pub const LOGITS: usize = 2;

/// The inputs that nearly every step does with. The arrays that are filled for each step are as long as
/// that or as [`MOST_INPUTS`], because filling long ones takes a tenth of the time of the smallest steps.
pub const FEW_INPUTS: usize = 4;

/// The maps that a step reads, by position: at least `FEW_INPUTS` entries.
pub type Inputs<'a> = [Option<MapView<'a>>];

/// What a primitive reads, writes and computes with.
pub struct Arguments<'a> {
    /// The maps that the step reads. Input 0 is absent if the step works in place.
    pub inputs: &'a Inputs<'a>,
    /// The sizes of the inputs, also that of an input 0 that is absent.
    pub input_extents: &'a [Option<Extent>],
    /// The map that the step writes, and its partial sums. The workers write the logits.
    pub outputs: [Option<&'a mut [f32]>; SUMS + 1],
    /// The sizes of the outputs.
    pub output_extents: [Option<Extent>; MOST_OUTPUTS],
    /// The instruction set of the kernels.
    pub isa: Isa,
    /// The threads and their workspace.
    pub workers: Workers<'a>,
}

impl<'a> Arguments<'a> {
    /// Returns input `i`.
    ///
    /// # Panics
    /// Panics if the step has no such input, which is a mistake of the pass that built the step.
    pub fn input(&self, i: usize) -> MapView<'a> {
        self.inputs[i].expect("the step was built with this input")
    }

    /// Returns the size of output `i`.
    ///
    /// # Panics
    /// Panics if the step has no such output, which is a mistake of the pass that built the step.
    pub fn output_extent(&self, i: usize) -> Extent {
        self.output_extents[i].expect("the step was built with this output")
    }
}
