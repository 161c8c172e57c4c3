//! Which steps of a batch run image by image.
//!
//! The first layers of a network have large maps and small weights, the last layers the reverse. What
//! is read repeatedly should stay in the cache. The first steps therefore run on one image at a time,
//! so that maps stay there; the others run on the whole batch, so that weights do.

use super::placement::Placement;
use crate::error::Result;
use crate::graph::Bindings;
use crate::plan::input::Input;
use crate::plan::map::Extent;
use crate::plan::tuning::IMAGES_PER_THREAD;
use crate::plan::{Plan, Slot, Step, StepKind};
use crate::tensor::DType;

/// Whether a batch may be run image by image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::plan) enum Batching {
    /// The first steps run image by image, if that keeps more bytes in the cache.
    ByImage,
    /// All steps run on the whole batch.
    Whole,
}

/// The two parts of a run on a batch.
pub(in crate::plan) struct Schedule {
    /// The first steps, for one image. There is a placement for each thread that takes images, a
    /// single one if all threads work on the same image, and none if the batch is not divided.
    pub per_image: Vec<Placement>,
    /// The remaining steps, for the whole batch.
    pub whole_batch: Placement,
}

impl Schedule {
    /// Schedules a run of `plan` on `inputs`, on `threads` threads. `bindings` returns the sizes that
    /// the symbols of the graph stand for when the inputs have the given shapes.
    ///
    /// # Errors
    /// Those of `bindings`, and [`Shape`](crate::ErrorKind::Shape) as [`Placement::new`].
    pub fn new(
        plan: &Plan,
        inputs: &[Input],
        batching: Batching,
        threads: usize,
        bindings: impl Fn(&[Vec<usize>]) -> Result<Bindings>,
    ) -> Result<Self> {
        let shapes: Vec<_> = inputs.iter().map(|input| input.shape().to_vec()).collect();
        let (sizes, steps) = (bindings(&shapes)?, plan.steps.len());
        let whole_batch = Placement::new(plan, 0..steps, shapes.clone(), &sizes, threads)?;
        let first_steps = match batching {
            Batching::ByImage => FirstSteps::choose(plan, &whole_batch, inputs, &bindings),
            Batching::Whole => None,
        };
        let Some(first) = first_steps else {
            return Ok(Schedule { per_image: Vec::new(), whole_batch });
        };
        // Each thread takes whole images if that keeps all threads busy. Otherwise the threads work
        // on one image together.
        let FirstSteps { count, images, .. } = first;
        let keeps_busy = images.is_multiple_of(threads) || images / IMAGES_PER_THREAD >= threads;
        let (placements, threads_per_image) =
            if keeps_busy { (threads.min(images), 1) } else { (1, threads) };
        let place_image = |_| {
            Placement::new(plan, 0..count, first.inputs.clone(), &first.bindings, threads_per_image)
        };
        let per_image = (0..placements).map(place_image).collect::<Result<_>>()?;
        let whole_batch = Placement::new(plan, count..steps, shapes, &sizes, threads)?;
        Ok(Schedule { per_image, whole_batch })
    }
}

/// Returns the bytes of all arenas of a run on f32 inputs of these `shapes`, on `threads` threads.
/// `bindings` returns the sizes that the symbols of the graph stand for when the inputs have the
/// given shapes.
///
/// # Errors
/// Those of `bindings`, and [`Shape`](crate::ErrorKind::Shape) if the shapes do not fit the network
/// or ask for too much memory.
pub fn planned_bytes(
    plan: &Plan,
    shapes: &[Vec<usize>],
    threads: usize,
    bindings: impl Fn(&[Vec<usize>]) -> Result<Bindings>,
) -> Result<usize> {
    let inputs: Vec<Input> = shapes.iter().map(|shape| Input::F32 { shape, data: &[] }).collect();
    let Schedule { per_image, whole_batch } =
        Schedule::new(plan, &inputs, Batching::ByImage, threads, bindings)?;
    Ok(per_image.iter().chain([&whole_batch]).map(Placement::arena_bytes).sum())
}

/// The most inputs of a network whose batches are divided into images.
pub(in crate::plan) const MOST_BATCHED_INPUTS: usize = 4;

/// The first steps of a plan, which run image by image.
struct FirstSteps {
    /// The number of steps.
    count: usize,
    /// The number of images of the batch.
    images: usize,
    /// The shapes of the inputs for one image.
    inputs: Vec<Vec<usize>>,
    /// The sizes that the symbols of the graph stand for, for one image.
    bindings: Bindings,
}

impl FirstSteps {
    /// Chooses the number of steps that saves the most memory traffic. Returns `None` if that is
    /// none, or if the batch cannot be divided into images.
    ///
    /// Running a step image by image instead of on the `whole` batch keeps its maps in the cache, and
    /// evicts its weights.
    fn choose(
        plan: &Plan,
        whole: &Placement,
        inputs: &[Input],
        bindings: &impl Fn(&[Vec<usize>]) -> Result<Bindings>,
    ) -> Option<Self> {
        let images = *inputs.first()?.shape().first()?;
        let is_batch =
            |input: &Input| input.shape().first() == Some(&images) && input.dtype() == DType::F32;
        if images < 2 || inputs.len() > MOST_BATCHED_INPUTS || !inputs.iter().all(is_batch) {
            return None;
        }
        let image_shape = |input: &Input| [&[1], &input.shape()[1..]].concat();
        let inputs: Vec<Vec<usize>> = inputs.iter().map(image_shape).collect();
        let bindings = bindings(&inputs).ok()?;
        let single =
            Placement::new(plan, 0..plan.steps.len(), inputs.clone(), &bindings, 1).ok()?;
        // A map of the batch consists of the maps of its images.
        let consists_of_images = |slot: Slot| {
            let (image, batch) = (single.extents[slot], whole.extents[slot]);
            image.is_some_and(|image| {
                image.images == 1 && Extent { images, ..image } == batch.unwrap_or(image)
            })
        };
        let can_run_by_image = |step: &&Step| {
            matches!(step.kind, StepKind::Primitive(_))
                && step.outputs.iter().flatten().all(|&slot| consists_of_images(slot))
        };
        let most = plan.steps.iter().take_while(can_run_by_image).count();
        let map_bytes = |step: &Step| -> usize {
            let slots = step.inputs.iter().chain(&step.outputs).flatten();
            slots.filter_map(|&slot| Some(4 * single.extents[slot]?.len())).sum()
        };
        let (mut count, mut most_saved, mut saved) = (0, 0, 0isize);
        for (i, step) in plan.steps[..most].iter().enumerate() {
            saved += map_bytes(step) as isize - step.kind.weight_bytes() as isize;
            if saved > most_saved {
                (count, most_saved) = (i + 1, saved);
            }
        }
        (count > 0).then_some(FirstSteps { count, images, inputs, bindings })
    }
}
