//! The results of a run.

use super::executor::Executor;
use crate::error::{Error, Result};
use crate::plan::SlotKind;
use crate::plan::map::copy_from_map;
use crate::plan::memory::Buffers;
use crate::tensor::Tensor;

/// The outputs of a run, which lie in the memory of the runner until the next run.
pub struct Outputs<'a> {
    pub(super) executor: Executor<'a>,
    pub(super) buffers: &'a Buffers,
}

impl Outputs<'_> {
    /// Returns output `i` as a tensor.
    ///
    /// # Errors
    /// [`Graph`](crate::ErrorKind::Graph) if no step computes it.
    pub fn tensor(&self, i: usize) -> Result<Tensor> {
        self.executor.value(self.buffers, self.executor.plan.outputs[i])
    }

    /// Copies output `i` to `to`, in row-major order. Does not allocate if a primitive computes the
    /// output.
    ///
    /// # Errors
    /// [`Input`](crate::ErrorKind::Input) if `to` has another number of elements or the output is not
    /// of type f32, [`Graph`](crate::ErrorKind::Graph) if no step computes it.
    pub fn copy_to(&self, i: usize, to: &mut [f32]) -> Result<()> {
        let Outputs { executor, buffers } = self;
        let slot = executor.plan.outputs[i];
        let info = &executor.plan.slots[slot];
        let check = |expected: usize| match to.len() {
            found if found != expected => {
                let name = &info.name;
                let message =
                    format!("output {name:?} has {expected} elements, room is for {found}");
                Err(Error::input(message).at_port(name))
            }
            _ => Ok(()),
        };
        match &info.kind {
            SlotKind::Map(_) | SlotKind::Alias { .. } => {
                let shape = buffers.placement.shape(slot);
                check(shape.iter().product())?;
                let (map, layout) = (buffers.map(slot), buffers.placement.layouts[slot]);
                if let (Some(map), Some(extent)) = (map, buffers.placement.extents[slot]) {
                    copy_from_map(executor.isa, map, layout, extent, to);
                }
            }
            _ => {
                let tensor = executor.value(buffers, slot)?;
                check(tensor.len())?;
                to.copy_from_slice(tensor.as_f32()?);
            }
        }
        Ok(())
    }
}
