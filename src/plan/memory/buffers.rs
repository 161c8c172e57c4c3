//! The memory that steps run in.

use super::placement::Placement;
use crate::error::{Error, Result};
use crate::plan::Slot;
use crate::tensor::{Arena, Tensor};

/// The values of a run, for the steps of one placement.
pub(in crate::plan) struct Buffers {
    /// Where each map lies in the arena.
    pub placement: Placement,
    /// The maps and the workspace.
    pub arena: Arena,
    /// For every slot, its tensor, from the step that computes it to the last one that reads it. That of
    /// a map or an input is made by the first step that reads it as a tensor.
    pub tensors: Vec<Option<Tensor>>,
}

impl Buffers {
    /// Allocates buffers for the `slots` slots of a plan. Takes the arena of `old` if it is large
    /// enough.
    ///
    /// # Errors
    /// [`Input`](crate::ErrorKind::Input) if the system does not have so much memory.
    pub fn new(placement: Placement, slots: usize, old: Option<Buffers>) -> Result<Self> {
        let arena = match old {
            Some(old) if old.arena.len() >= placement.arena_len() => old.arena,
            _ => Arena::new(placement.arena_len()).ok_or_else(|| {
                let megabytes = placement.arena_bytes() / 1_000_000;
                Error::input(format!(
                    "a run on such inputs needs {megabytes} MB of working memory, which the system \
                     does not have"
                ))
            })?,
        };
        Ok(Buffers { placement, arena, tensors: vec![None; slots] })
    }

    /// Returns the elements of the map in `slot`, or `None` if it has no place in the arena.
    pub fn map(&self, slot: Slot) -> Option<&[f32]> {
        Some(self.arena.read(self.placement.place(slot)?))
    }
}
