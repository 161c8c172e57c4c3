//! What a step gets to work with.

use crate::plan::extent::{Extent, View};
use crate::plan::threads::Team;
use crate::simd::Isa;

/// The most inputs of a step that a kernel computes.
pub const MOST_INPUTS: usize = 9;

/// The most outputs of such a step: a map and its partial sums.
pub const MOST_OUTPUTS: usize = 2;

/// The maps that a step reads and writes, and its workspace.
pub struct Io<'a> {
    /// What the step reads; the first is absent where the step works in place.
    pub inputs: [Option<View<'a>>; MOST_INPUTS],
    /// The sizes of what the step reads.
    pub sizes: [Option<Extent>; MOST_INPUTS],
    /// What the step writes.
    pub outputs: [Option<&'a mut [f32]>; MOST_OUTPUTS],
    /// The sizes of what the step writes.
    pub results: [Option<Extent>; MOST_OUTPUTS],
    /// A part for every thread.
    pub workspace: &'a mut [f32],
    /// The instructions to use.
    pub isa: Isa,
    /// The threads that may work.
    pub team: &'a mut Team,
}

impl<'a> Io<'a> {
    /// Input `i`.
    ///
    /// # Panics
    /// Where the step has no such input: a mistake of the pass that made the step.
    pub fn input(&self, i: usize) -> View<'a> {
        self.inputs[i].expect("the step was made with this input")
    }

    /// The size of output `i`.
    ///
    /// # Panics
    /// Where the step has no such output: a mistake of the pass that made the step.
    pub fn result(&self, i: usize) -> Extent {
        self.results[i].expect("the step was made with this output")
    }
}
