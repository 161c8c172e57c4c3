//! Runs of a network for one caller.

mod input_view;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rayon::ThreadPool;

use crate::error::{Error, Result};
use crate::graph::{Bindings, bind_inputs};
use crate::model::{Model, Port};
use crate::plan::{Input, Outputs, RunOptions, Runner, StepTime, Team, Watch};
use crate::simd::Isa;
use crate::tensor::{DType, Tensor};

pub use input_view::InputView;

/// The memory and threads of one caller's runs.
///
/// A session allocates its memory at the first run, for the shapes of the inputs, and again when shapes
/// change. Results are the same, bit for bit, for any number of threads, and for an image alone or within
/// a batch.
pub struct Session {
    model: Arc<Model>,
    runner: Runner,
}

impl Session {
    /// Creates a session that runs on the calling thread.
    pub fn new(model: &Arc<Model>) -> Self {
        Self::on(model, Team::alone())
    }

    /// Creates a session that runs on `threads` threads: the calling one, and others that it starts.
    ///
    /// # Errors
    ///
    /// [`Input`](crate::ErrorKind::Input) if `threads` is 0 or more than 1024,
    /// [`Io`](crate::ErrorKind::Io) if the operating system refuses to start them.
    pub fn with_threads(model: &Arc<Model>, threads: usize) -> Result<Self> {
        Ok(Self::on(model, Team::with_threads(threads)?))
    }

    /// Creates a session that runs on the calling thread and on threads of `pool`, one fewer than it
    /// has. The pool may serve other sessions and have other work.
    ///
    /// A run never waits for other jobs of the pool: the calling thread does the work for which no
    /// thread of the pool is free. A run may be called from a thread of the same pool.
    pub fn with_pool(model: &Arc<Model>, pool: Arc<ThreadPool>) -> Self {
        Self::on(model, Team::in_pool(pool))
    }

    fn on(model: &Arc<Model>, team: Team) -> Self {
        Session { model: model.clone(), runner: Runner::new(team, Isa::get()) }
    }

    /// Returns the network that this session runs.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Replaces the network. The session keeps its threads, and its memory where that is large enough.
    pub fn set_model(&mut self, model: &Arc<Model>) {
        self.model = model.clone();
        self.runner.forget_plan();
    }

    /// Sets how long a thread that helps in a run spins for the next step, before it sleeps or returns to
    /// its pool. By default it is half a millisecond for threads that the session started, and zero for
    /// those of a pool.
    ///
    /// A thread that spins takes the processor from other threads, and takes part in the next step, of this
    /// run or the next one, without the 50 microseconds or so that waking it takes. A thread of a pool does
    /// no other job of the pool while it spins. The calling thread is not concerned: it waits only for
    /// threads that still work on the step that it has done its part of.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use dyrelu::{Model, Session};
    ///
    /// let model = Model::open("models/mobilenetv2-x0.35-relu-imagenette.safetensors")?;
    /// let mut session = Session::with_threads(&model, 2)?;
    /// session.set_spin_duration(Duration::ZERO); // leaves the processors to others between steps
    /// # Ok::<(), dyrelu::Error>(())
    /// ```
    pub fn set_spin_duration(&mut self, duration: Duration) {
        self.runner.set_spin_duration(duration);
    }

    /// Returns the bytes of working memory that the last run had, 0 before the first run. Images of bytes that
    /// were converted count too.
    pub fn arena_bytes(&self) -> usize {
        self.runner.arena_bytes()
    }

    /// Runs the network on one tensor per input and returns one per output, in the order of
    /// [`Model::inputs`] and [`Model::outputs`].
    ///
    /// The tensors have the element types that the network declares. Networks of half and double
    /// precision are computed in single precision.
    ///
    /// # Errors
    ///
    /// [`Input`](crate::ErrorKind::Input) and [`Shape`](crate::ErrorKind::Shape) if the tensors are not
    /// what the network takes.
    pub fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        self.run_with(inputs, &RunOptions::default())
    }

    /// Runs the network as [`run`](Self::run) does, unless `options` end the run early.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run), [`Cancelled`](crate::ErrorKind::Cancelled) and
    /// [`DeadlineExceeded`](crate::ErrorKind::DeadlineExceeded).
    pub fn run_with(&mut self, inputs: &[Tensor], options: &RunOptions) -> Result<Vec<Tensor>> {
        self.run_watched(inputs, options, &mut Watch::Nobody)
    }

    /// Runs the network on one tensor per input, in any order, each with the name of its input. Returns the
    /// outputs by name.
    ///
    /// # Errors
    ///
    /// As [`run_with`](Self::run_with), and [`Input`](crate::ErrorKind::Input) if a name is unknown, is
    /// given twice or is missing.
    ///
    /// # Examples
    ///
    /// ```
    /// use dyrelu::{Model, RunOptions, Session, Tensor};
    ///
    /// let model = Model::open("models/mobilenetv2-x0.35-relu-imagenette.safetensors")?;
    /// let mut session = Session::new(&model);
    /// let image = Tensor::new(&[1, 3, 128, 128], vec![0.5f32; 3 * 128 * 128])?;
    /// let outputs = session.run_named(&[("input", &image)], &RunOptions::default())?;
    /// assert_eq!(outputs["logits"].shape(), [1, 10]);
    /// # Ok::<(), dyrelu::Error>(())
    /// ```
    pub fn run_named(
        &mut self,
        inputs: &[(&str, &Tensor)],
        options: &RunOptions,
    ) -> Result<BTreeMap<String, Tensor>> {
        let model = self.model.clone();
        let quoted = |names: &mut dyn Iterator<Item = &str>| {
            names.map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
        };
        for (i, (name, _)) in inputs.iter().enumerate() {
            if model.inputs().iter().all(|port| port.name != *name) {
                let known = quoted(&mut model.inputs().iter().map(|port| port.name.as_str()));
                let message = format!("the network has no input {name:?}, its inputs are {known}");
                return Err(Error::input(message));
            }
            if inputs[..i].iter().any(|(other, _)| other == name) {
                return Err(Error::input(format!("the input {name:?} is given twice")));
            }
        }
        let given = model.inputs().iter().map(|port| {
            let tensor = inputs.iter().find(|(name, _)| port.name == *name);
            tensor.map(|&(_, tensor)| Input::Tensor(tensor)).ok_or_else(|| {
                Error::input(format!("the input {:?} of the network is missing", port.name))
            })
        });
        let given: Vec<Input> = given.collect::<Result<_>>()?;
        let results = self.execute(&given, options, &mut Watch::Nobody)?;
        let output = |(i, port): (usize, &Port)| Ok((port.name.clone(), results.tensor(i)?));
        model.outputs().iter().enumerate().map(output).collect()
    }

    /// Runs the network on at most eight f32 inputs, each a shape and its elements in row-major order,
    /// and writes each output to a slice with exactly as many elements.
    ///
    /// After the first run for the same shapes, a run on one thread allocates nothing if the result of every
    /// step has a place in the arena (`dyrelu inspect --plan` lists them).
    ///
    /// # Errors
    ///
    /// [`Input`](crate::ErrorKind::Input) and [`Shape`](crate::ErrorKind::Shape) if inputs or outputs are
    /// not what the network takes and gives.
    pub fn run_into(
        &mut self,
        inputs: &[(&[usize], &[f32])],
        outputs: &mut [&mut [f32]],
    ) -> Result<()> {
        self.run_into_with(inputs, outputs, &RunOptions::default())
    }

    /// Runs the network as [`run_into`](Self::run_into) does, unless `options` end the run early. The
    /// outputs are then as they were.
    ///
    /// # Errors
    ///
    /// As [`run_into`](Self::run_into), [`Cancelled`](crate::ErrorKind::Cancelled) and
    /// [`DeadlineExceeded`](crate::ErrorKind::DeadlineExceeded).
    pub fn run_into_with(
        &mut self,
        inputs: &[(&[usize], &[f32])],
        outputs: &mut [&mut [f32]],
        options: &RunOptions,
    ) -> Result<()> {
        let inputs = inputs.iter().map(|&(shape, data)| Input::F32 { shape, data });
        self.run_borrowed(inputs, outputs, options)
    }

    /// Runs the network on at most eight inputs of several kinds, in memory of the caller, and writes each
    /// output to a slice with exactly as many elements, unless `options` end the run early.
    ///
    /// As for [`run_into`](Self::run_into), a run on one thread allocates nothing after the first for the same
    /// shapes, unless an input is a tensor of another type than f32.
    ///
    /// # Errors
    ///
    /// As [`run_into_with`](Self::run_into_with), and [`Input`](crate::ErrorKind::Input) for images of bytes if
    /// the network does not take f32.
    pub fn run_views(
        &mut self,
        inputs: &[InputView],
        outputs: &mut [&mut [f32]],
        options: &RunOptions,
    ) -> Result<()> {
        for (InputView(input), port) in inputs.iter().zip(self.model.inputs()) {
            if let (Input::Levels(_), Some(dtype)) = (input, port.dtype())
                && dtype != DType::F32
            {
                return Err(Error::input(format!(
                    "input {:?} is of type {dtype}, images of bytes are converted to f32 only; give a tensor \
                     of type {dtype}",
                    port.name
                )));
            }
        }
        self.run_borrowed(inputs.iter().map(|&InputView(input)| input), outputs, options)
    }

    fn run_borrowed<'a>(
        &mut self,
        inputs: impl ExactSizeIterator<Item = Input<'a>>,
        outputs: &mut [&mut [f32]],
        options: &RunOptions,
    ) -> Result<()> {
        let count = inputs.len();
        if count > MOST_BORROWED {
            return Err(Error::input(format!("at most {MOST_BORROWED} inputs can be borrowed")));
        }
        let mut list = [Input::F32 { shape: &[], data: &[] }; MOST_BORROWED];
        list.iter_mut().zip(inputs).for_each(|(place, input)| *place = input);
        let wanted = self.model.outputs().len();
        if outputs.len() != wanted {
            let found = outputs.len();
            return Err(Error::input(format!("the network gives {wanted} outputs, found {found}")));
        }
        let results = self.execute(&list[..count], options, &mut Watch::Nobody)?;
        for (i, out) in outputs.iter_mut().enumerate() {
            results.copy_to(i, out)?;
        }
        Ok(())
    }

    /// Runs the network as [`run_with`](Self::run_with) does, and also returns the time of each step, in the
    /// order in which they ran. Other runs do not read the clock.
    ///
    /// A step that runs image by image is listed once per image, and the images of a batch run one after
    /// another.
    ///
    /// # Errors
    ///
    /// As [`run_with`](Self::run_with).
    ///
    /// # Examples
    ///
    /// ```
    /// use dyrelu::{Model, RunOptions, Session, Tensor};
    ///
    /// let model = Model::open("models/mobilenetv2-x0.35-relu-imagenette.safetensors")?;
    /// let image = Tensor::new(&[1, 3, 128, 128], vec![0.5f32; 3 * 128 * 128])?;
    /// let (_, steps) = Session::new(&model).run_timed(&[image], &RunOptions::default())?;
    /// let slowest = steps.iter().max_by_key(|step| step.duration).expect("there are steps");
    /// println!("{} ({}): {:?}", slowest.name, slowest.op, slowest.duration);
    /// # Ok::<(), dyrelu::Error>(())
    /// ```
    pub fn run_timed(
        &mut self,
        inputs: &[Tensor],
        options: &RunOptions,
    ) -> Result<(Vec<Tensor>, Vec<StepTime>)> {
        let mut times = Vec::with_capacity(self.model.plan().steps().len());
        let mut note = |time| times.push(time);
        let outputs = self.run_watched(inputs, options, &mut Watch::Times(&mut note))?;
        Ok((outputs, times))
    }

    /// Runs the network as [`run`](Self::run) does, and calls `observe` with the name and contents of
    /// every value that is not fused away.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    #[doc(hidden)]
    pub fn run_observed(
        &mut self,
        inputs: &[Tensor],
        observe: &mut dyn FnMut(&str, &Tensor),
    ) -> Result<Vec<Tensor>> {
        self.run_watched(inputs, &RunOptions::default(), &mut Watch::Values(observe))
    }

    fn run_watched(
        &mut self,
        inputs: &[Tensor],
        options: &RunOptions,
        watch: &mut Watch,
    ) -> Result<Vec<Tensor>> {
        let inputs: Vec<Input> = inputs.iter().map(Input::Tensor).collect();
        let outputs = 0..self.model.outputs().len();
        let results = self.execute(&inputs, options, watch)?;
        outputs.map(|i| results.tensor(i)).collect()
    }

    fn execute<'a>(
        &'a mut self,
        inputs: &'a [Input<'a>],
        options: &'a RunOptions,
        watch: &mut Watch,
    ) -> Result<Outputs<'a>> {
        let Session { model, runner } = self;
        runner.run(model.plan(), inputs, options, watch, |shapes| {
            let mut bindings = Bindings::new();
            let types = inputs.iter().map(|input| input.dtype());
            let given = types.zip(shapes.iter().map(Vec::as_slice));
            bind_inputs(model.graph(), given, &mut bindings)?;
            Ok(bindings)
        })
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arena_bytes = self.arena_bytes();
        let mut session = f.debug_struct("Session");
        session.field("model", &self.model).field("arena_bytes", &arena_bytes).finish()
    }
}

/// The most inputs of [`Session::run_into`], which keeps their list on the stack.
const MOST_BORROWED: usize = 8;
