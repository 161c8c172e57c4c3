//! How much of a batch goes through which steps at once.
//!
//! Early layers have large maps and small weights, late layers the reverse. What is read again and
//! again should stay in cache: maps in the first part, which therefore sees one image at a time, and
//! weights in the last, which sees the whole batch.

use super::bound::Bound;
use crate::error::Result;
use crate::graph::Bindings;
use crate::plan::extent::Extent;
use crate::plan::tuning::IMAGES_PER_THREAD;
use crate::plan::{Input, Plan, Slot, Step, Work};
use crate::tensor::DType;

/// How much of a batch goes through the network at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batching {
    /// Through the first steps, whose maps are larger than their weights, image by image.
    ByImage,
    /// All of it.
    Whole,
}

/// What is planned for a run.
pub(super) struct Division {
    /// As in [`State`](super::State).
    pub heads: Vec<Bound>,
    /// The steps after those of the heads.
    pub rest: Bound,
}

/// Plans the memory of a run on `inputs`.
///
/// # Errors
/// As [`State::bind`](super::State::bind).
pub(super) fn divide(
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
    let apart = head.images.is_multiple_of(threads) || head.images / IMAGES_PER_THREAD >= threads;
    let (count, sharing) = if apart { (threads.min(head.images), 1) } else { (1, threads) };
    let one = || Bound::new(plan, 0..head.steps, head.inputs.clone(), &head.sizes, sharing);
    let heads = (0..count).map(|_| one()).collect::<Result<_>>()?;
    let rest = Bound::new(plan, head.steps..all, shapes, &sizes, threads)?;
    Ok(Division { heads, rest })
}

/// The most inputs of a network whose batches are taken apart.
pub(in crate::plan) const MOST_SPLIT_INPUTS: usize = 4;

/// The first part of a network, for one image.
struct Head {
    /// The number of its steps.
    pub steps: usize,
    /// The number of images of the batch.
    pub images: usize,
    /// The shapes of the inputs for one image.
    pub inputs: Vec<Vec<usize>>,
    /// What the symbols of the graph stand for.
    pub sizes: Bindings,
}

/// The part of `plan` that a batch for which it is `whole`ly bound had better go through image by
/// image: as many steps as make the bytes that do not stay in cache fewest. `None` where it is
/// empty or images cannot be told apart.
fn head_of(
    plan: &Plan,
    whole: &Bound,
    inputs: &[Input],
    bindings: &impl Fn(&[Vec<usize>]) -> Result<Bindings>,
) -> Option<Head> {
    let images = *inputs.first()?.shape().first()?;
    let batch =
        |input: &Input| input.shape().first() == Some(&images) && input.dtype() == DType::F32;
    if images < 2 || inputs.len() > MOST_SPLIT_INPUTS || !inputs.iter().all(batch) {
        return None;
    }
    let one = |input: &Input| [&[1], &input.shape()[1..]].concat();
    let inputs: Vec<Vec<usize>> = inputs.iter().map(one).collect();
    let sizes = bindings(&inputs).ok()?;
    let single = Bound::new(plan, 0..plan.steps.len(), inputs.clone(), &sizes, 1).ok()?;
    let apart = |slot: Slot| {
        let (one, all) = (single.extents[slot], whole.extents[slot]);
        let grows = |one| Extent { images, ..one } == all.unwrap_or(one);
        one.is_some_and(|one| one.images == 1 && grows(one))
    };
    let separable = |step: &&Step| {
        matches!(step.work, Work::Kernel(_)) && step.outputs.iter().flatten().all(|&s| apart(s))
    };
    let most = plan.steps.iter().take_while(separable).count();
    let maps = |step: &Step| -> usize {
        let slots = step.inputs.iter().chain(&step.outputs).flatten();
        slots.filter_map(|&slot| Some(4 * single.extents[slot]?.len())).sum()
    };
    let (mut best, mut steps, mut saved) = (0, 0, 0isize);
    for (i, step) in plan.steps[..most].iter().enumerate() {
        let weights = match &step.work {
            Work::Kernel(kernel) => kernel.weight_bytes(),
            _ => 0,
        };
        saved += maps(step) as isize - weights as isize;
        if saved > best {
            (best, steps) = (saved, i + 1);
        }
    }
    (steps > 0).then_some(Head { steps, images, inputs, sizes })
}
