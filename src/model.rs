//! What an embedding user holds: a [`Model`] that is shared, and a [`Session`] a caller.

use std::path::Path;
use std::sync::Arc;

use rayon::ThreadPool;

use crate::compile::{self, Compiled, Options, Report};
use crate::error::{Error, Result};
use crate::format::{self, MappedFiles, Opened};
use crate::graph::{Bindings, Graph, TensorType, bind_inputs};
use crate::plan::{Input, Outputs, Placement, Plan, Runner, StepTime, Team, Watch, planned_bytes};
use crate::simd::Isa;
use crate::tensor::{DType, Tensor, num_elements};

/// An input or an output of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name in the file.
    pub name: String,
    /// Its element type and sizes; absent for an output whose sizes depend on the data.
    pub ty: Option<TensorType>,
}

/// An immutable network, ready to run. Share it between threads behind its [`Arc`]; each thread
/// that runs it has a [`Session`] of its own.
pub struct Model {
    graph: Graph,
    plan: Plan,
    report: Report,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

impl Model {
    /// Opens a network from a native weight file or, with the feature `onnx`, from an ONNX file.
    ///
    /// The file is mapped and not read: it must not be changed while the model lives. Replace it
    /// by renaming a new file over it, which leaves the mapped one as it was.
    ///
    /// # Errors
    /// `Io` and `Format` where the file cannot be read or is not a network, `Unsupported` where it
    /// asks for something that this version does not have, `Graph` and `Shape` where the network
    /// contradicts itself.
    pub fn open(path: impl AsRef<Path>) -> Result<Arc<Self>> {
        Self::open_with(path, Options::default())
    }

    /// As [`open`](Self::open), with `options`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, options: Options) -> Result<Arc<Self>> {
        let path = path.as_ref();
        let opened = format::open_with(path, options.external_data_root.as_deref())?;
        Self::compile(opened, &options).map_err(|e| e.in_file(path))
    }

    /// Compiles a graph.
    ///
    /// # Errors
    /// `Graph` and `Shape` where the network contradicts itself.
    pub fn from_graph(graph: Graph, options: Options) -> Result<Arc<Self>> {
        let opened = Opened { graph, prepared: None, files: MappedFiles::default() };
        Self::compile(opened, &options)
    }

    fn compile(opened: Opened, options: &Options) -> Result<Arc<Self>> {
        let Compiled { graph, plan, types, report } = compile::compile(opened, options)?;
        let ports = |ids: &[_]| {
            let port =
                |&id| Port { name: graph.value(id).name.clone(), ty: types.get(id).cloned() };
            ids.iter().map(port).collect()
        };
        let (inputs, outputs) = (ports(graph.inputs()), ports(graph.outputs()));
        Ok(Arc::new(Model { graph, plan, report, inputs, outputs }))
    }

    /// The network after optimisation.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The steps that a run consists of.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Where the values of a run would lie in memory, for inputs of these shapes that go
    /// through the network together, on so many threads.
    ///
    /// # Errors
    /// `Input` and `Shape` where the shapes are not what the network takes.
    pub fn placement(&self, shapes: Vec<Vec<usize>>, threads: usize) -> Result<Placement> {
        let sizes = self.sizes(&shapes)?;
        Placement::new(&self.plan, 0..self.plan.steps().len(), shapes, &sizes, threads)
    }

    /// What the symbols of the graph stand for when inputs have these shapes.
    fn sizes(&self, shapes: &[Vec<usize>]) -> Result<Bindings> {
        let mut sizes = Bindings::new();
        let declared = self.inputs.iter().map(|port| port.ty.as_ref().map(|ty| ty.dtype));
        // Where there are too many shapes, that is what is said of them.
        let types = declared.chain(std::iter::repeat(None)).map(|ty| ty.unwrap_or(DType::F32));
        let given = shapes.iter().zip(types).map(|(shape, dtype)| (dtype, shape.as_slice()));
        bind_inputs(&self.graph, given.collect::<Vec<_>>().into_iter(), &mut sizes)?;
        Ok(sizes)
    }

    /// Bytes of working memory that a [`Session`] on so many threads has for inputs of these
    /// shapes, besides the weights and the tensors that go in and out.
    ///
    /// # Errors
    /// `Input` and `Shape` where the shapes are not what the network takes; `Input` for no threads.
    pub fn arena_bytes(&self, shapes: &[Vec<usize>], threads: usize) -> Result<usize> {
        if threads == 0 {
            return Err(Error::input(NO_THREADS));
        }
        planned_bytes(&self.plan, shapes, threads, |shapes| self.sizes(shapes))
    }

    /// What was recognised in the network.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// What a run takes, in order.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// What a run gives, in order.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// What the file says about itself under `key`, such as `preprocess` or `labels`.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.graph.metadata.get(key).map(String::as_str)
    }
}

/// The mutable half of running a network: one for each thread that runs it. It owns the memory of a
/// run, which is planned for the shapes of the first inputs and again whenever shapes change.
pub struct Session {
    model: Arc<Model>,
    runner: Runner,
}

impl Session {
    /// A session that runs on one thread, the calling one.
    ///
    /// # Errors
    /// None at present.
    pub fn new(model: &Arc<Model>) -> Result<Self> {
        Ok(Self::on(model, Team::alone()))
    }

    /// A session that runs on `threads` threads: the calling one and others of its own. Results do
    /// not depend on how many.
    ///
    /// # Errors
    /// `Input` if `threads` is 0 or more than 1024, `Io` if the operating system refuses them.
    pub fn with_threads(model: &Arc<Model>, threads: usize) -> Result<Self> {
        Ok(Self::on(model, Team::with_threads(threads)?))
    }

    /// A session that runs on the calling thread and on the threads of a pool of the caller's, one
    /// fewer than the pool has. The pool may serve other sessions and have other work.
    ///
    /// A run never waits for other jobs of the pool: what its threads do not come to do, the
    /// calling thread does. They never wait in the pool for a run either. A run may be called from
    /// a thread of the same pool.
    pub fn with_pool(model: &Arc<Model>, pool: Arc<ThreadPool>) -> Self {
        Self::on(model, Team::in_pool(pool))
    }

    fn on(model: &Arc<Model>, team: Team) -> Self {
        Session { model: model.clone(), runner: Runner::new(team, Isa::get()) }
    }

    /// The network that this session runs.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Bytes of working memory that the last run had.
    pub fn arena_bytes(&self) -> usize {
        self.runner.arena_bytes()
    }

    /// Runs the network on one tensor per input; gives one per output. They have the element types
    /// that the network declares. What is between is computed in single precision, also where
    /// the network is of half or double precision.
    ///
    /// # Errors
    /// `Input` and `Shape` where the tensors are not what the network takes.
    pub fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        self.run_watched(inputs, &mut Watch::Nobody)
    }

    /// Runs the network on f32 inputs, each given by its shape and its elements in row-major
    /// order, and writes the outputs to slices of as many elements as they have.
    ///
    /// Once inputs of these shapes have been seen, a network of which every step has a kernel
    /// (see `dyrelu inspect --plan`) allocates nothing here on one thread.
    ///
    /// # Errors
    /// `Input` and `Shape` where inputs or outputs are not what the network takes and gives.
    pub fn run_into(
        &mut self,
        inputs: &[(&[usize], &[f32])],
        outputs: &mut [&mut [f32]],
    ) -> Result<()> {
        if inputs.len() > MOST_BORROWED {
            return Err(Error::input(format!("at most {MOST_BORROWED} inputs can be borrowed")));
        }
        let mut list = [Input::F32 { shape: &[], data: &[] }; MOST_BORROWED];
        for (input, &(shape, data)) in list.iter_mut().zip(inputs) {
            if num_elements(shape) != Some(data.len()) {
                let found = data.len();
                return Err(Error::input(format!(
                    "shape {shape:?} does not have {found} elements"
                )));
            }
            *input = Input::F32 { shape, data };
        }
        let inputs = &list[..inputs.len()];
        let wanted = self.model.outputs.len();
        if outputs.len() != wanted {
            let found = outputs.len();
            return Err(Error::input(format!("the network gives {wanted} outputs, found {found}")));
        }
        let results = self.execute(inputs, &mut Watch::Nobody)?;
        for (i, out) in outputs.iter_mut().enumerate() {
            results.copy_to(i, out)?;
        }
        Ok(())
    }

    /// As [`run`](Self::run), and says how long each step took.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_timed(&mut self, inputs: &[Tensor]) -> Result<(Vec<Tensor>, Vec<StepTime>)> {
        let mut times = Vec::with_capacity(self.model.plan.steps().len());
        let mut note = |time| times.push(time);
        let outputs = self.run_watched(inputs, &mut Watch::Times(&mut note))?;
        Ok((outputs, times))
    }

    /// As [`run`](Self::run), and shows `observe` every value that is not fused away, by name.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_observed(
        &mut self,
        inputs: &[Tensor],
        observe: &mut dyn FnMut(&str, &Tensor),
    ) -> Result<Vec<Tensor>> {
        self.run_watched(inputs, &mut Watch::Values(observe))
    }

    fn run_watched(&mut self, inputs: &[Tensor], watch: &mut Watch) -> Result<Vec<Tensor>> {
        let inputs: Vec<Input> = inputs.iter().map(Input::Tensor).collect();
        let outputs = 0..self.model.outputs.len();
        let results = self.execute(&inputs, watch)?;
        outputs.map(|i| results.tensor(i)).collect()
    }

    fn execute<'a>(
        &'a mut self,
        inputs: &'a [Input<'a>],
        watch: &mut Watch,
    ) -> Result<Outputs<'a>> {
        let Session { model, runner } = self;
        runner.run(&model.plan, inputs, watch, |shapes| {
            let mut bindings = Bindings::new();
            let types = inputs.iter().map(|input| input.dtype());
            let given = types.zip(shapes.iter().map(Vec::as_slice));
            bind_inputs(&model.graph, given, &mut bindings)?;
            Ok(bindings)
        })
    }
}

/// The most inputs that can be given as slices.
const MOST_BORROWED: usize = 8;

const NO_THREADS: &str = "a session needs at least one thread";
