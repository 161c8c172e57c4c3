//! The memory of one caller, planned for the shapes of its inputs.

use super::bound::Bound;
use super::division::{Batching, Division, divide};
use crate::error::{Error, Result};
use crate::graph::Bindings;
use crate::plan::threads::Team;
use crate::plan::{Input, Plan};
use crate::simd::Isa;
use crate::tensor::{Arena, Tensor};

/// The arena of some steps, and what it was planned for.
pub(in crate::plan) struct Memory {
    pub bound: Bound,
    pub arena: Arena,
    /// The values that only general operators know.
    pub tensors: Vec<Option<Tensor>>,
    pub isa: Isa,
}

impl Memory {
    /// Memory for `bound`; `old` is used again where it is large enough.
    ///
    /// # Errors
    /// `Input` where the system does not have so much memory.
    fn new(plan: &Plan, bound: Bound, old: Option<Memory>, isa: Isa) -> Result<Self> {
        let arena = match old {
            Some(old) if old.arena.len() >= bound.arena_len() => old.arena,
            _ => Arena::new(bound.arena_len()).ok_or_else(|| {
                let megabytes = bound.arena_bytes() / 1_000_000;
                Error::input(format!(
                    "a run on such inputs needs {megabytes} MB of working memory, which the system \
                     does not have"
                ))
            })?,
        };
        Ok(Memory { bound, arena, tensors: vec![None; plan.slots.len()], isa })
    }
}

/// The memory of one caller.
pub struct State {
    /// For the first steps, run image by image: one for each thread, or one for all of them.
    pub(in crate::plan) heads: Vec<Memory>,
    /// For the other steps.
    pub(in crate::plan) memory: Option<Memory>,
    /// The threads that run the steps.
    pub(in crate::plan) team: Team,
    batching: Batching,
    isa: Isa,
}

impl State {
    /// Memory for runs on the threads of `team`.
    pub fn new(team: Team, isa: Isa) -> Self {
        State { heads: Vec::new(), memory: None, team, batching: Batching::Whole, isa }
    }

    /// What the memory was last planned for; the steps that are run image by image are not in it.
    pub fn bound(&self) -> Option<&Bound> {
        self.memory.as_ref().map(|memory| &memory.bound)
    }

    /// Bytes of all arenas.
    pub fn arena_bytes(&self) -> usize {
        self.heads.iter().chain(&self.memory).map(|memory| memory.bound.arena_bytes()).sum()
    }

    pub(in crate::plan) fn memory(&self) -> Result<&Memory> {
        self.memory.as_ref().ok_or_else(|| Error::graph("the network has not been run"))
    }

    /// Plans memory for these inputs, unless the last run had the same shapes. `bindings` says
    /// which sizes the symbols of the graph stand for when inputs have these shapes.
    ///
    /// # Errors
    /// `Shape` where the inputs do not fit the network or ask for too much memory.
    pub fn bind(
        &mut self,
        plan: &Plan,
        inputs: &[Input],
        batching: Batching,
        bindings: impl Fn(&[Vec<usize>]) -> Result<Bindings>,
    ) -> Result<()> {
        let same = |bound: &Bound| {
            bound.inputs.len() == inputs.len()
                && bound.inputs.iter().zip(inputs).all(|(shape, input)| shape == input.shape())
        };
        if self.batching == batching && self.bound().is_some_and(same) {
            return Ok(());
        }
        let (threads, isa) = (self.team.threads(), self.isa);
        let Division { heads, rest } = divide(plan, inputs, batching, threads, bindings)?;
        let (mut old, old_rest) = (std::mem::take(&mut self.heads).into_iter(), self.memory.take());
        let head = |bound| Memory::new(plan, bound, old.next(), isa);
        self.heads = heads.into_iter().map(head).collect::<Result<_>>()?;
        self.memory = Some(Memory::new(plan, rest, old_rest, isa)?);
        self.batching = batching;
        Ok(())
    }
}

/// Bytes of all arenas that runs on f32 inputs of these `shapes` will have, on `threads` threads.
/// `bindings` are as in [`State::bind`].
///
/// # Errors
/// As [`State::bind`].
pub fn planned_bytes(
    plan: &Plan,
    shapes: &[Vec<usize>],
    threads: usize,
    bindings: impl Fn(&[Vec<usize>]) -> Result<Bindings>,
) -> Result<usize> {
    let inputs: Vec<Input> = shapes.iter().map(|shape| Input::F32 { shape, data: &[] }).collect();
    let Division { heads, rest } = divide(plan, &inputs, Batching::ByImage, threads, bindings)?;
    Ok(heads.iter().chain([&rest]).map(Bound::arena_bytes).sum())
}
