//! Running the first steps of a batch image by image.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use super::executor::Executor;
use super::spans;
use super::watch::Watch;
use crate::error::{Error, Result};
use crate::plan::input::Input;
use crate::plan::memory::{Buffers, MOST_BATCHED_INPUTS};
use crate::plan::threads::Team;

/// Runs the first steps on each image in one of `per_image`, and copies the maps that later steps
/// read to the buffers of the whole batch, `batch`.
///
/// With several of `per_image`, each belongs to a thread, which takes one image after another.
/// Otherwise all threads work on the same image.
pub(super) fn run_images(
    executor: &Executor,
    per_image: &mut [Buffers],
    batch: &mut Buffers,
    team: &mut Team,
    watch: &mut Watch,
) -> Result<()> {
    let images = executor.inputs.first().and_then(|input| input.shape().first());
    let Some(&images) = images else { return Ok(()) };
    let is_watched = !matches!(watch, Watch::Nobody);
    match per_image {
        [] => Ok(()),
        [first, others @ ..] if others.is_empty() || is_watched => {
            // One of several buffers has a workspace for one thread.
            let alone = &mut Team::alone();
            let team = if others.is_empty() { team } else { alone };
            (0..images).try_for_each(|image| {
                run_image(executor, first, team, image, watch)?;
                collect(executor, first, batch, image, images);
                Ok(())
            })
        }
        _ => share_images(executor, per_image, batch, team, images),
    }
}

/// Has each thread run whole images, in buffers of its own. Stops at the first error.
fn share_images(
    executor: &Executor,
    per_image: &mut [Buffers],
    batch: &mut Buffers,
    team: &mut Team,
    images: usize,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let error: Mutex<Option<Error>> = Mutex::new(None);
    let members = per_image.len();
    let (unclaimed, batch) = (Mutex::new(per_image.iter_mut()), Mutex::new(batch));
    let run = spans::current();
    team.share(members, &|_| {
        let _run = run.enter();
        let Some(buffers) = locked(&unclaimed).next() else { return };
        loop {
            let image = next.fetch_add(1, Ordering::Relaxed);
            if image >= images {
                return;
            }
            let alone = &mut Team::alone();
            match run_image(executor, buffers, alone, image, &mut Watch::Nobody) {
                Ok(()) => collect(executor, buffers, &mut locked(&batch), image, images),
                Err(e) => {
                    next.store(images, Ordering::Relaxed);
                    locked(&error).get_or_insert(e);
                }
            }
        }
    });
    let error = locked(&error).take();
    error.map_or(Ok(()), Err)
}

/// Runs the first steps on one image.
fn run_image(
    executor: &Executor,
    buffers: &mut Buffers,
    team: &mut Team,
    image: usize,
    watch: &mut Watch,
) -> Result<()> {
    // Shared and not taken out: an observer may panic, and the buffers are used again.
    let shapes = buffers.placement.inputs.clone();
    let mut converted = std::mem::take(&mut buffers.converted);
    converted.resize_with(executor.inputs.len(), Vec::new);
    let mut inputs = [Input::F32 { shape: &[], data: &[] }; MOST_BATCHED_INPUTS];
    let given = executor.inputs.iter().zip(&*shapes).zip(&mut converted);
    for (input, ((batch, shape), floats)) in inputs.iter_mut().zip(given) {
        let len = shape.iter().product::<usize>();
        let data = match batch {
            Input::Levels(levels) => {
                floats.resize(len, 0.0);
                levels.convert(image, floats);
                &*floats
            }
            batch => &batch.as_f32()?[image * len..][..len],
        };
        *input = Input::F32 { shape, data };
    }
    let inputs = &inputs[..executor.inputs.len()];
    let done = Executor { inputs, converted: &[], ..*executor }.run(buffers, team, watch);
    buffers.converted = converted;
    done
}

/// Copies the maps of one of `images` images that later steps read to the maps of the batch.
fn collect(executor: &Executor, from: &Buffers, batch: &mut Buffers, image: usize, images: usize) {
    for slot in executor.plan.live_before(from.placement.steps.end) {
        let (Some(map), Some(place)) = (from.map(slot), batch.placement.place(slot)) else {
            continue;
        };
        let len = place.len() / images;
        let first = place.start + image * len;
        let ([], [to]) = batch.arena.borrow(&[], &[Some(first..first + len)]);
        to.unwrap_or_default().copy_from_slice(map);
    }
}

/// Locks a mutex whose value no panic leaves half changed.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}
