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
    /// For every input that is an image of bytes, its elements as f32.
    pub converted: Converted,
}

/// For every input of a run, its elements as f32 if they had to be converted, otherwise none.
pub(in crate::plan) type Converted = Vec<Vec<f32>>;

impl Buffers {
    /// Allocates buffers for the `slots` slots of a plan. Takes the arena of `old` if it is large
    /// enough.
    ///
    /// # Errors
    /// [`Input`](crate::ErrorKind::Input) if the system does not have so much memory.
    pub fn new(placement: Placement, slots: usize, old: Option<Buffers>) -> Result<Self> {
        let (arena, converted) = old.map(|old| (old.arena, old.converted)).unzip();
        let arena = match arena {
            Some(arena) if arena.len() >= placement.arena_len() => arena,
            _ => Arena::new(placement.arena_len()).ok_or_else(|| {
                let megabytes = placement.arena_bytes() / 1_000_000;
                Error::input(format!(
                    "a run on such inputs needs {megabytes} MB of working memory, which the system \
                     does not have"
                ))
            })?,
        };
        let converted = converted.unwrap_or_default();
        Ok(Buffers { placement, arena, tensors: vec![None; slots], converted })
    }

    /// Returns the bytes of the arena and of the converted inputs.
    pub fn bytes(&self) -> usize {
        let converted = self.converted.iter().map(|elements| 4 * elements.len());
        self.placement.arena_bytes() + converted.sum::<usize>()
    }

    /// Returns the elements of the map in `slot`, or `None` if it has no place in the arena.
    pub fn map(&self, slot: Slot) -> Option<&[f32]> {
        Some(self.arena.read(self.placement.place(slot)?))
    }
}
