//! Opens the model that a command uses.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::zoo;
use dyrelu::graph::Graph;
use dyrelu::vision::Labels;
use dyrelu::{Error, Model, Options, Port, Result, format};

/// The options for reading a model file, shared by all commands.
#[derive(clap::Args)]
pub(super) struct Files {
    /// Folder outside of the ONNX file's own to which links to its external data may lead.
    #[arg(long, value_name = "DIR")]
    external_data_root: Option<PathBuf>,
}

impl Files {
    /// Reads the network in the file at `path` without optimising it.
    pub fn read(&self, path: &Path) -> Result<Graph> {
        format::open_with(path, self.external_data_root.as_deref()).map(|(graph, _)| graph)
    }
}

/// The options for running a model, shared by all commands.
#[derive(clap::Args)]
pub(super) struct Engine {
    #[command(flatten)]
    pub files: Files,
    /// Compute every convolution directly instead of by Winograd's algorithm: slower, with smaller
    /// rounding errors.
    #[arg(long)]
    no_winograd: bool,
}

impl Engine {
    fn options(&self) -> Options {
        let external_data_root = self.files.external_data_root.clone();
        Options { external_data_root, winograd: !self.no_winograd }
    }
}

/// Opens the model at a path or of a name, or by default the one that ships with dyrelu.
pub(super) fn open(model: Option<&Path>, engine: &Engine) -> Result<Arc<Model>> {
    Model::open_with(zoo::find(model)?, engine.options())
}

/// The shape of each input. A free first axis is `batch`, any other free axis is `size`. `first`,
/// if given, is the whole shape of the first input.
pub(super) fn input_shapes(
    model: &Model,
    first: Option<&[usize]>,
    batch: usize,
    size: usize,
) -> Result<Vec<Vec<usize>>> {
    let shape = |(number, port): (usize, &Port)| {
        let ty = port.ty.as_ref().filter(|ty| ty.dtype.is_float()).ok_or_else(|| {
            Error::input(format!("input {:?} is not of a floating-point type", port.name))
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

/// The number of classes in scores of shape `[images, classes]`, or `[classes]` for one image, with
/// any number of trailing axes of size 1. Returns `None` for any other shape.
pub(super) fn class_count(shape: &[usize], images: usize) -> Option<usize> {
    let scores = match shape {
        [count, scores @ ..] if *count == images && !scores.is_empty() => scores,
        _ if images == 1 => shape,
        _ => return None,
    };
    let (&classes, others) = scores.split_first()?;
    (classes > 0 && others.iter().all(|&size| size == 1)).then_some(classes)
}

/// Parses class names, one per line. There must be as many as the first of `outputs` has classes.
pub(super) fn labels(lines: &str, outputs: &[Port]) -> Result<Labels> {
    let labels = Labels::from_lines(lines);
    let ty = outputs.first().and_then(|port| port.ty.as_ref());
    let shape: Option<Vec<usize>> =
        ty.map(|ty| ty.dims.iter().map(|dim| dim.as_size().unwrap_or(1)).collect());
    match shape.and_then(|shape| class_count(&shape, 1)) {
        Some(classes) if classes != labels.len() => Err(Error::input(format!(
            "there are {} class names, and the network has {classes} classes",
            labels.len()
        ))),
        _ => Ok(labels),
    }
}
