//! The mutable half of running a plan.

use std::time::Duration;

use super::batch::run_images;
use super::executor::Executor;
use super::options::RunOptions;
use super::outputs::Outputs;
use super::spans;
use super::watch::Watch;
use crate::error::Result;
use crate::graph::Bindings;
use crate::plan::input::Input;
use crate::plan::memory::{Batching, Buffers, Converted, Placement, Schedule};
use crate::plan::threads::Team;
use crate::plan::{Plan, SlotKind};
use crate::simd::Isa;

/// Runs a plan for one caller, on the threads and in the memory that it owns. Memory is planned for
/// the shapes of the inputs, and planned again when they change.
pub struct Runner {
    team: Team,
    isa: Isa,
    batching: Batching,
    /// Whether the memory is planned for the plan of the last run.
    is_planned: bool,
    /// For the first steps, which run image by image: one per placement of the
    /// [schedule](Schedule::per_image).
    per_image: Vec<Buffers>,
    /// For the other steps; absent before the first run.
    whole_batch: Option<Buffers>,
    /// The images of bytes that the other steps read.
    converted: Converted,
}

impl Runner {
    /// Creates a runner on the threads of `team`, which uses the kernels for `isa`.
    pub fn new(team: Team, isa: Isa) -> Self {
        let (per_image, whole_batch) = (Vec::new(), None);
        let (batching, is_planned) = (Batching::Whole, false);
        let converted = Vec::new();
        Runner { team, isa, batching, is_planned, per_image, whole_batch, converted }
    }

    /// Sets how long a helping thread [spins](Team::set_spin_duration) for the next step.
    pub fn set_spin_duration(&mut self, duration: Duration) {
        self.team.set_spin_duration(duration);
    }

    /// Prepares the runner for another plan. Memory that is large enough is used again.
    pub fn forget_plan(&mut self) {
        self.is_planned = false;
    }

    /// Runs `plan` on `inputs`. It is the plan of the last run, unless [`forget_plan`](Self::forget_plan)
    /// was called in between.
    ///
    /// `bindings` returns the sizes that the symbols of the graph stand for when the inputs have the
    /// given shapes. It is called only if the shapes differ from those of the last run.
    ///
    /// # Errors
    /// Those of `bindings`; [`Shape`](crate::ErrorKind::Shape) if the inputs do not fit the network or
    /// ask for too much memory, [`Input`](crate::ErrorKind::Input) if the system does not have that
    /// memory; what a step reports, with the name of its node; and those of `options`.
    pub fn run<'a>(
        &'a mut self,
        plan: &'a Plan,
        inputs: &'a [Input<'a>],
        options: &'a RunOptions,
        watch: &mut Watch,
        bindings: impl Fn(&[Vec<usize>]) -> Result<Bindings>,
    ) -> Result<Outputs<'a>> {
        let _span = spans::run();
        inputs.iter().try_for_each(Input::check)?;
        // An observer of values expects those of the whole batch.
        let batching = match watch {
            Watch::Values(_) => Batching::Whole,
            Watch::Nobody | Watch::Times(_) => Batching::ByImage,
        };
        self.plan_memory(plan, inputs, batching, bindings)?;
        let Runner { team, isa, per_image, whole_batch: Some(buffers), converted, .. } = self
        else {
            unreachable!("memory has been planned");
        };
        convert_levels(plan, inputs, buffers.placement.steps.start, converted);
        let executor = Executor { plan, inputs, converted, options, isa: *isa };
        run_images(&executor, per_image, buffers, team, watch)?;
        executor.run(buffers, team, watch)?;
        Ok(Outputs { executor, buffers })
    }

    /// Returns the bytes of all arenas of the last run, and of its converted inputs.
    pub fn arena_bytes(&self) -> usize {
        let buffers = self.per_image.iter().chain(&self.whole_batch).map(Buffers::bytes);
        let converted = self.converted.iter().map(|elements| 4 * elements.len());
        buffers.chain(converted).sum()
    }

    /// Plans and allocates memory for these inputs, unless the last run had the same shapes.
    fn plan_memory(
        &mut self,
        plan: &Plan,
        inputs: &[Input],
        batching: Batching,
        bindings: impl Fn(&[Vec<usize>]) -> Result<Bindings>,
    ) -> Result<()> {
        let is_for_inputs = |placement: &Placement| {
            let shapes = inputs.iter().map(Input::shape);
            placement.inputs.iter().map(Vec::as_slice).eq(shapes)
        };
        let last = self.whole_batch.as_ref().map(|buffers| &buffers.placement);
        if self.is_planned && self.batching == batching && last.is_some_and(is_for_inputs) {
            return Ok(());
        }
        let Schedule { per_image, whole_batch } =
            Schedule::new(plan, inputs, batching, self.team.threads(), bindings)?;
        let slots = plan.slots.len();
        let old_whole_batch = self.whole_batch.take();
        let mut old = std::mem::take(&mut self.per_image).into_iter();
        let allocate = |placement| Buffers::new(placement, slots, old.next());
        self.per_image = per_image.into_iter().map(allocate).collect::<Result<_>>()?;
        self.whole_batch = Some(Buffers::new(whole_batch, slots, old_whole_batch)?);
        (self.batching, self.is_planned) = (batching, true);
        Ok(())
    }
}

/// Converts the images of bytes that the steps from number `first` on read, or that are outputs. Those that
/// only earlier steps read are converted one by one as these run.
fn convert_levels(plan: &Plan, inputs: &[Input], first: usize, converted: &mut Converted) {
    converted.resize_with(inputs.len(), Vec::new);
    for (n, (input, elements)) in inputs.iter().zip(converted).enumerate() {
        let mut slots = plan.slots.iter().zip(&plan.last_use);
        let mut is_read = || {
            slots.any(|(info, &last_use)| {
                matches!(info.kind, SlotKind::Input(of) if of == n) && last_use >= Some(first)
            })
        };
        match input {
            Input::Levels(levels) if is_read() => {
                elements.resize(levels.shape().iter().product(), 0.0);
                levels.convert(0, elements);
            }
            _ => elements.clear(),
        }
    }
}
