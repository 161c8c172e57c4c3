//! Batches: the first steps of a network run image by image.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use super::executor::Watch;
use crate::error::Result;
use crate::plan::memory::{MOST_SPLIT_INPUTS, Memory};
use crate::plan::threads::Team;
use crate::plan::{Input, Plan};

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
                // One of several has a workspace for one thread.
                let alone = &mut Team::alone();
                let team = if others.is_empty() { team } else { alone };
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
        // Shared and not taken out: whoever watches may panic, and the memory is used again.
        let shapes = head.bound.inputs.clone();
        let mut single = [Input::F32 { shape: &[], data: &[] }; MOST_SPLIT_INPUTS];
        let mut done = Ok(());
        for ((single, input), shape) in single.iter_mut().zip(inputs).zip(&*shapes) {
            let len = shape.iter().product::<usize>();
            match input.as_f32() {
                Ok(data) => *single = Input::F32 { shape, data: &data[image * len..][..len] },
                Err(e) => done = Err(e),
            }
        }
        done.and_then(|()| self.run_steps(head, team, &single[..inputs.len()], watch))
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
