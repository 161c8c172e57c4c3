//! Opening the model that a command is to use.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::zoo;
use dyrelu::format::{self, Access, read_text};
use dyrelu::graph::{Graph, TensorType};
use dyrelu::vision::{Labels, Preprocess};
use dyrelu::{Error, Model, Options, Port, Result};

/// Where the parts of a model may lie, whatever the command.
#[derive(clap::Args)]
pub(super) struct Files {
    /// A folder to which links beside an ONNX file may lead for its external data.
    #[arg(long, value_name = "DIR")]
    external_data_root: Option<PathBuf>,
}

impl Files {
    /// Reads the network in the file at `path`, as it is written there.
    pub fn read(&self, path: &Path) -> Result<Graph> {
        // SAFETY: a command reads the models that its user names, and SECURITY.md asks the user not to
        // change them in place meanwhile. That cannot be checked.
        let access = unsafe { Access::map() };
        let root = self.external_data_root.as_deref();
        format::open_with(path, root, access).map(|opened| opened.graph)
    }
}

/// How a model is run, whatever the command.
#[derive(clap::Args)]
pub(super) struct Engine {
    #[command(flatten)]
    pub files: Files,
    /// Computes every convolution in the direct way: slower, and rounded a little less.
    #[arg(long)]
    no_winograd: bool,
}

impl Engine {
    fn options(&self) -> Options {
        let options = Options::default().winograd(!self.no_winograd);
        match &self.files.external_data_root {
            Some(folder) => options.external_data_root(folder),
            None => options,
        }
    }
}

/// Opens the model of a path or a name, or the one that ships.
pub(super) fn open(model: Option<&Path>, engine: &Engine) -> Result<Arc<Model>> {
    open_mapped(&zoo::find(model)?, engine.options())
}

/// Opens the model in the file at `path`.
pub(super) fn open_mapped(path: &Path, options: Options) -> Result<Arc<Model>> {
    // SAFETY: as in `Files::read`.
    unsafe { Model::open_mapped(path, options) }
}

/// A shape for each input, with `batch` and `size` where the network leaves sizes free; `first`, if
/// given, is that of the first one.
pub(super) fn input_shapes(
    model: &Model,
    first: Option<&[usize]>,
    batch: usize,
    size: usize,
) -> Result<Vec<Vec<usize>>> {
    let shape = |(number, port): (usize, &Port)| {
        let ty = port.ty.as_ref().filter(|ty| ty.dtype.is_float()).ok_or_else(|| {
            Error::input(format!("input {:?} does not hold floating-point numbers", port.name))
        })?;
        if let (0, Some(first)) = (number, first) {
            return Ok(first.to_vec());
        }
        let free = |axis| if axis == 0 { batch } else { size };
        let dims = ty.dims.iter().enumerate();
        Ok(dims.map(|(axis, d)| d.as_size().unwrap_or(free(axis))).collect())
    };
    model.inputs().iter().enumerate().map(shape).collect()
}

/// The preparation of photos that an argument names: `imagenet`, or a file of JSON.
pub(super) fn preprocess(argument: &Path) -> Result<Preprocess> {
    if argument == Path::new("imagenet") {
        return Ok(Preprocess::imagenet());
    }
    Preprocess::from_json(&read_text(argument)?).map_err(|e| e.in_file(argument))
}

/// Reads class names, one per line, for a network that gives scores of type `scores`.
pub(super) fn labels(lines: &str, scores: Option<&TensorType>) -> Result<Labels> {
    let labels = Labels::from_lines(lines);
    labels.check(scores)?;
    Ok(labels)
}
