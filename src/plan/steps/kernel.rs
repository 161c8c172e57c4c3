//! What computes a step.

use super::io::Io;
use crate::error::Result;
use crate::plan::extent::Extent;

/// A computation over maps, with whatever it has prepared in advance.
///
/// It cuts its work by shape alone, so that results do not depend on the number of threads.
pub trait Kernel: Send + Sync {
    /// What it is called where plans are shown.
    fn name(&self) -> &'static str;

    /// Elements of workspace that each thread needs.
    fn workspace(&self, _output: Extent) -> usize {
        0
    }

    /// Rows of partial sums an image that it leaves beside its output, where they are wanted.
    fn partial_sums(&self, _output: Extent) -> usize {
        1
    }

    /// Bytes of the weights that it reads.
    fn weight_bytes(&self) -> usize {
        0
    }

    /// Multiply-adds for an input 0 and an output of these sizes, those of the direct way where
    /// there are several; 0 for what is no sum of products.
    fn macs(&self, _input: Extent, _output: Extent) -> usize {
        0
    }

    /// Whether its output may lie where input 0 lies.
    fn works_in_place(&self) -> bool {
        false
    }

    /// Whether input 0 may be an input of the network as the user gave it, NCHW.
    fn reads_nchw(&self) -> bool {
        false
    }

    /// Checks that it can be applied to an input 0 of this size.
    ///
    /// # Errors
    /// `Shape` where it cannot.
    fn check(&self, _input: Extent) -> Result<()> {
        Ok(())
    }

    /// Computes the outputs.
    ///
    /// # Errors
    /// `Shape` where the inputs do not fit the operation.
    fn run(&self, io: Io) -> Result<()>;
}
