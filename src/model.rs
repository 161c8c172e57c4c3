//! Networks that are compiled and ready to run.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::compile::{self, Compiled, Options, Report};
use crate::error::{Error, Result};
use crate::format::{self, Access, Opened, SourceFiles};
use crate::graph::{Bindings, Dim, Graph, TensorType, bind_inputs};
use crate::plan::{Placement, Plan, planned_bytes};
use crate::tensor::DType;

/// An input or an output of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Port {
    /// The name in the file.
    pub name: String,
    /// The element type and sizes, if they do not depend on the data.
    #[doc(hidden)]
    pub ty: Option<TensorType>,
}

impl Port {
    /// Returns the element type. An output whose sizes depend on the data has none.
    pub fn dtype(&self) -> Option<DType> {
        self.ty.as_ref().map(|ty| ty.dtype)
    }

    /// Returns the size of each axis, outermost first, `None` for one that is free at run time. An
    /// output whose sizes depend on the data has no shape.
    pub fn shape(&self) -> Option<Vec<Option<usize>>> {
        Some(self.ty.as_ref()?.dims.iter().map(|dim| dim.as_size()).collect())
    }
}

/// An immutable network, compiled and ready to run.
///
/// Threads share it through its [`Arc`]; each thread that runs it has a
/// [`Session`](crate::Session) of its own.
pub struct Model {
    graph: Graph,
    plan: Plan,
    report: Report,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

impl Model {
    /// Opens a native weight file or, with the feature `onnx`, an ONNX file.
    ///
    /// The contents of the file decide which of the two it is, not its name. The file and its external
    /// data are read into memory, so that later changes of them have no effect. (Files that the kernel
    /// guarantees never to change, sealed memory files and those under fs-verity, are mapped.)
    ///
    /// # Errors
    ///
    /// - [`Io`](crate::ErrorKind::Io) if a file cannot be read.
    /// - [`Format`](crate::ErrorKind::Format) if the file is damaged or holds no network.
    /// - [`Unsupported`](crate::ErrorKind::Unsupported) if it asks for something that this version does
    ///   not have.
    /// - [`Graph`](crate::ErrorKind::Graph) and [`Shape`](crate::ErrorKind::Shape) if the network
    ///   contradicts itself.
    /// - [`Input`](crate::ErrorKind::Input) if the path names no regular file, or external data lies
    ///   where it must not.
    pub fn open(path: impl AsRef<Path>) -> Result<Arc<Self>> {
        Self::open_with(path, Options::default())
    }

    /// Opens a file as [`open`](Self::open) does, with `options`.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, options: Options) -> Result<Arc<Self>> {
        Self::open_by(path.as_ref(), options, Access::read())
    }

    /// Opens a file as [`open`](Self::open) does, but maps it and its external data into memory.
    ///
    /// Pages are read when they are first touched, and processes that map the same file share them. A
    /// native file with packed weights (`dyrelu convert --pack`) opens without a copy of its weights.
    ///
    /// # Safety
    ///
    /// While the model lives, or a tensor that a run of it returned, no process may write to the file or
    /// its external data, or truncate them: that is undefined behaviour. In practice, results change
    /// after a write, and the process ends with `SIGBUS` at the next access beyond the end of a truncated
    /// file. To replace a model, rename a new file over it: the map keeps the old one.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    ///
    /// # Examples
    ///
    /// ```
    /// use dyrelu::{Model, Options};
    ///
    /// let path = "models/mobilenetv2-x0.5-dyrelu-b-imagenette.safetensors";
    /// // SAFETY: this program's models are installed once and never written to.
    /// let model = unsafe { Model::open_mapped(path, Options::default())? };
    /// # assert_eq!(model.inputs().len(), 1);
    /// # Ok::<(), dyrelu::Error>(())
    /// ```
    // The declaration of an unsafe function counts as unsafe code.
    #[allow(unsafe_code)]
    pub unsafe fn open_mapped(path: impl AsRef<Path>, options: Options) -> Result<Arc<Self>> {
        // SAFETY: the caller promises that the files do not change while the model lives, which owns the
        // graph and the plan, or a tensor that a run returned (it may be a constant of the network).
        let access = unsafe { Access::map() };
        Self::open_by(path.as_ref(), options, access)
    }

    /// Opens the network in the bytes of a native weight file or an ONNX file, such as those of
    /// `include_bytes!`. They are copied once.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and [`Input`](crate::ErrorKind::Input) for an ONNX file with external
    /// data.
    pub fn from_bytes(bytes: &[u8], options: Options) -> Result<Arc<Self>> {
        Self::compile(format::from_bytes(bytes)?, &options)
    }

    /// Compiles a graph.
    ///
    /// # Errors
    ///
    /// [`Graph`](crate::ErrorKind::Graph) and [`Shape`](crate::ErrorKind::Shape) if the network
    /// contradicts itself.
    #[doc(hidden)]
    pub fn from_graph(graph: Graph, options: Options) -> Result<Arc<Self>> {
        let opened = Opened { graph, prepared: None, files: SourceFiles::default() };
        Self::compile(opened, &options)
    }

    fn open_by(path: &Path, options: Options, access: Access) -> Result<Arc<Self>> {
        let root = options.external_data_root.as_deref();
        let opened = format::open_with(path, root, access)?;
        Self::compile(opened, &options).map_err(|e| e.in_file(path))
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

    /// Returns the network after the compiler's rewrites.
    #[doc(hidden)]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Returns the steps that a run consists of.
    #[doc(hidden)]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Returns where the values of a run would lie in memory, for inputs of these shapes that go through
    /// the network together, on `threads` threads.
    ///
    /// # Errors
    ///
    /// [`Input`](crate::ErrorKind::Input) and [`Shape`](crate::ErrorKind::Shape) if the shapes are not
    /// what the network takes.
    #[doc(hidden)]
    pub fn placement(&self, shapes: Vec<Vec<usize>>, threads: usize) -> Result<Placement> {
        let sizes = self.sizes(&shapes)?;
        Placement::new(&self.plan, 0..self.plan.steps().len(), shapes, &sizes, threads)
    }

    /// Returns what the symbols of the graph stand for when inputs have these shapes.
    fn sizes(&self, shapes: &[Vec<usize>]) -> Result<Bindings> {
        let mut sizes = Bindings::new();
        let declared = self.inputs.iter().map(Port::dtype);
        // A shape for which there is no input gets any type: `bind_inputs` reports that it is one too many.
        let types = declared.chain(std::iter::repeat(None)).map(|ty| ty.unwrap_or(DType::F32));
        let given = shapes.iter().zip(types).map(|(shape, dtype)| (dtype, shape.as_slice()));
        bind_inputs(&self.graph, given.collect::<Vec<_>>().into_iter(), &mut sizes)?;
        Ok(sizes)
    }

    /// Returns the bytes of working memory that a [`Session`](crate::Session) on `threads` threads needs for inputs of
    /// these shapes, besides the weights and the tensors that go in and out.
    ///
    /// # Errors
    ///
    /// [`Input`](crate::ErrorKind::Input) and [`Shape`](crate::ErrorKind::Shape) if the shapes are not
    /// what the network takes, [`Input`](crate::ErrorKind::Input) if `threads` is 0.
    pub fn arena_bytes(&self, shapes: &[Vec<usize>], threads: usize) -> Result<usize> {
        if threads == 0 {
            return Err(Error::input(NO_THREADS));
        }
        planned_bytes(&self.plan, shapes, threads, |shapes| self.sizes(shapes))
    }

    /// Returns the bytes of the weights that the kernels read, which all sessions share.
    pub fn weight_bytes(&self) -> usize {
        self.plan.weight_bytes()
    }

    /// Returns the shape of each output for inputs of these shapes, `None` for one that depends on the
    /// data.
    ///
    /// # Errors
    ///
    /// [`Input`](crate::ErrorKind::Input) and [`Shape`](crate::ErrorKind::Shape) if the shapes are not
    /// what the network takes.
    pub fn output_shapes(&self, shapes: &[Vec<usize>]) -> Result<Vec<Option<Vec<usize>>>> {
        let sizes = self.sizes(shapes)?;
        let shape = |port: &Port| {
            let size = |dim: &Dim| usize::try_from(dim.evaluate(&sizes).ok()?).ok();
            port.ty.as_ref()?.dims.iter().map(size).collect()
        };
        Ok(self.outputs.iter().map(shape).collect())
    }

    /// Returns what was recognised in the network.
    #[doc(hidden)]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Returns the inputs that a run takes, in order.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// Returns the outputs that a run gives, in order.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// Returns the text that the file holds under `key`, such as `preprocess` or `labels`.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.graph.metadata.get(key).map(String::as_str)
    }

    /// Returns the keys of all texts that the file holds.
    pub fn metadata_keys(&self) -> impl Iterator<Item = &str> {
        self.graph.metadata.keys().map(String::as_str)
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Model { inputs, outputs, .. } = self;
        f.debug_struct("Model").field("inputs", inputs).field("outputs", outputs).finish()
    }
}

const NO_THREADS: &str = "a session needs at least one thread";
