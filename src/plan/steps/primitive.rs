//! What a step computes.

use super::arguments::Arguments;
use crate::error::Result;
use crate::plan::map::Extent;

/// An operation over maps, with its packed weights and its fused epilogue.
///
/// The word is oneDNN's. A primitive cuts its work by shape alone wherever the cut decides the order
/// of a sum, so that results do not depend on the number of threads.
pub trait Primitive: Send + Sync {
    /// Returns the name that listings of a plan show.
    fn name(&self) -> &'static str;

    /// Returns the elements of workspace that each thread needs.
    fn workspace(&self, _output: Extent) -> usize {
        0
    }

    /// Returns the rows of partial sums per image that the primitive leaves beside its output, if
    /// the step has a slot for them.
    fn partial_sums(&self, _output: Extent) -> usize {
        1
    }

    /// Returns the size in bytes of the packed weights.
    fn weight_bytes(&self) -> usize {
        0
    }

    /// Returns the multiply-adds for an input 0 and an output of these sizes, counted for the direct
    /// algorithm; 0 for an operation that is not a sum of products.
    fn macs(&self, _input: Extent, _output: Extent) -> usize {
        0
    }

    /// Returns whether the output may overwrite input 0.
    fn works_in_place(&self) -> bool {
        false
    }

    /// Returns whether input 0 may be an input of the network, NCHW, where the caller has it.
    fn reads_nchw(&self) -> bool {
        false
    }

    /// Returns whether the output has as many images as each input that has more than one.
    fn keeps_images(&self) -> bool {
        true
    }

    /// Checks that the primitive can be applied to an input 0 of this size.
    ///
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape) if it cannot.
    fn check(&self, _input: Extent) -> Result<()> {
        Ok(())
    }

    /// Computes the outputs.
    ///
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape) if the inputs do not fit the operation.
    fn run(&self, arguments: Arguments) -> Result<()>;
}
