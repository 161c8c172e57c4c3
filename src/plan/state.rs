//! The memory of one caller, planned for the shapes of its inputs.

use super::batch::head_of;
use super::run::Input;
use super::team::Team;
use super::{Bound, Plan};
use crate::error::{Error, Result};
use crate::graph::Bindings;
use crate::simd::Isa;
use crate::tensor::{Arena, Tensor};

/// The arena of some steps, and what it was planned for.
pub(super) struct Memory {
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

/// How much of a batch goes through the network at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batching {
    /// Through the first steps, whose maps are larger than their weights, image by image.
    ByImage,
    /// All of it.
    Whole,
}

/// The memory of one caller.
pub struct State {
    /// For the first steps, run image by image: one for each thread, or one for all of them.
    pub(super) heads: Vec<Memory>,
    /// For the other steps.
    pub(super) memory: Option<Memory>,
    /// The threads that run the steps.
    pub(super) team: Team,
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

    pub(super) fn memory(&self) -> Result<&Memory> {
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

/// What is planned for a run.
struct Division {
    /// As in [`State`].
    heads: Vec<Bound>,
    /// The steps after those of the heads.
    rest: Bound,
}

fn divide(
    plan: &Plan,
    inputs: &[Input],
    batching: Batching,
    threads: usize,
    bindings: impl Fn(&[Vec<usize>]) -> Result<Bindings>,
) -> Result<Division> {
    let shapes: Vec<_> = inputs.iter().map(|input| input.shape().to_vec()).collect();
    let (sizes, all) = (bindings(&shapes)?, plan.steps.len());
    let whole = Bound::new(plan, 0..all, shapes.clone(), &sizes, threads)?;
    let head = match batching {
        Batching::ByImage => head_of(plan, &whole, inputs, &bindings),
        Batching::Whole => None,
    };
    let Some(head) = head else { return Ok(Division { heads: Vec::new(), rest: whole }) };
    // Every thread takes images where that keeps them all busy, else all share each image.
    let apart = head.images.is_multiple_of(threads) || head.images >= 4 * threads;
    let (count, sharing) = if apart { (threads.min(head.images), 1) } else { (1, threads) };
    let one = || Bound::new(plan, 0..head.steps, head.inputs.clone(), &head.sizes, sharing);
    let heads = (0..count).map(|_| one()).collect::<Result<_>>()?;
    let rest = Bound::new(plan, head.steps..all, shapes, &sizes, threads)?;
    Ok(Division { heads, rest })
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
