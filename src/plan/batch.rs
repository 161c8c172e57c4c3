//! Batches: the first steps of a network run image by image.
//!
//! Early layers have large maps and small weights, late layers the reverse. What is read again and
//! again should stay in cache: maps in the first part, which therefore sees one image at a time, and
//! weights in the last, which sees the whole batch.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use super::run::{Input, Watch};
use super::state::Memory;
use super::team::Team;
use super::{Bound, Extent, Plan, Slot, Step, Work};
use crate::error::Result;
use crate::graph::Bindings;
use crate::tensor::DType;

/// The most inputs of a network whose batches are taken apart.
const MOST_SPLIT_INPUTS: usize = 4;

/// The first part of a network, for one image.
pub(super) struct Head {
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
pub(super) fn head_of(
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

impl Plan {
    /// Runs the first steps for each image, and collects what the others read in `memory`.
    pub(super) fn run_heads(
        &self,
        heads: &mut [Memory],
        memory: &mut Memory,
        team: &mut Team,
        inputs: &[Input],
        watch: &mut Watch,
    ) -> Result<()> {
        let Some(images) = inputs.first().and_then(|input| input.shape().first()).copied() else {
            return Ok(());
        };
        let is_watched = !matches!(watch, Watch::Nobody);
        match heads {
            [] => Ok(()),
            [head, others @ ..] if others.is_empty() || is_watched => {
                (0..images).try_for_each(|i| {
                    self.run_head(head, team, inputs, i, watch)?;
                    self.collect(head, memory, i, images);
                    Ok(())
                })
            }
            heads => {
                let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
                let (members, heads) = (heads.len(), Mutex::new(heads.iter_mut()));
                let memory = Mutex::new(memory);
                team.share(members, &|_| {
                    let Some(head) = locked(&heads).next() else { return };
                    loop {
                        let i = next.fetch_add(1, Ordering::Relaxed);
                        if i >= images {
                            return;
                        }
                        let alone = &mut Team::alone();
                        match self.run_head(head, alone, inputs, i, &mut Watch::Nobody) {
                            Ok(()) => self.collect(head, &mut locked(&memory), i, images),
                            Err(e) => {
                                next.store(images, Ordering::Relaxed);
                                locked(&failure).get_or_insert(e);
                            }
                        }
                    }
                });
                match locked(&failure).take() {
                    Some(e) => Err(e),
                    None => Ok(()),
                }
            }
        }
    }

    fn run_head(
        &self,
        head: &mut Memory,
        team: &mut Team,
        inputs: &[Input],
        image: usize,
        watch: &mut Watch,
    ) -> Result<()> {
        // The shapes are lent to the inputs while the rest of the memory is written.
        let shapes = std::mem::take(&mut head.bound.inputs);
        let mut single = [Input::F32 { shape: &[], data: &[] }; MOST_SPLIT_INPUTS];
        let mut done = Ok(());
        for ((single, input), shape) in single.iter_mut().zip(inputs).zip(&shapes) {
            let len = shape.iter().product::<usize>();
            match input.as_f32() {
                Ok(data) => *single = Input::F32 { shape, data: &data[image * len..][..len] },
                Err(e) => done = Err(e),
            }
        }
        let done = done.and_then(|()| self.run_steps(head, team, &single[..inputs.len()], watch));
        head.bound.inputs = shapes;
        done
    }

    /// Copies the maps of one of `images` images that later steps read.
    fn collect(&self, head: &Memory, memory: &mut Memory, image: usize, images: usize) {
        for slot in self.crossing(head.bound.steps.end) {
            let (Some(from), Some(to)) = (&head.bound.ranges[slot], &memory.bound.ranges[slot])
            else {
                continue;
            };
            let len = to.len() / images;
            let first = to.start + image * len;
            let ([], [to]) = memory.arena.borrow(&[], &[Some(first..first + len)]);
            to.unwrap_or_default().copy_from_slice(head.arena.read(from.clone()));
        }
    }
}

/// Locks what no panic leaves half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}
