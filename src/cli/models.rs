//! Opening the model that a command is to use.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::zoo;
use dyrelu::graph::Graph;
use dyrelu::vision::Labels;
use dyrelu::{Error, Model, Options, Port, Result, format};

/// Where the parts of a model may lie, whatever the command.
#[derive(clap::Args)]
pub(super) struct Files {
    /// A folder to which links beside an ONNX file may lead for its external data.
    #[arg(long, value_name = "DIR")]
    external_data_root: Option<PathBuf>,
}

impl Files {
    /// The network in the file at `path`, as it is written there.
    pub fn read(&self, path: &Path) -> Result<Graph> {
        format::open_with(path, self.external_data_root.as_deref()).map(|opened| opened.graph)
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
        let external_data_root = self.files.external_data_root.clone();
        Options { external_data_root, winograd: !self.no_winograd }
    }
}

/// Opens the model of a path or a name, or the one that ships.
pub(super) fn open(model: Option<&Path>, engine: &Engine) -> Result<Arc<Model>> {
    Model::open_with(zoo::find(model)?, engine.options())
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

/// How many classes the scores of so many images are for: `[images, classes]`, or `[classes]` of one
/// image, with any number of axes of size 1 behind.
pub(super) fn class_count(shape: &[usize], images: usize) -> Option<usize> {
    let scores = match shape {
        [count, scores @ ..] if *count == images && !scores.is_empty() => scores,
        _ if images == 1 => shape,
        _ => return None,
    };
    let (&classes, others) = scores.split_first()?;
    (classes > 0 && others.iter().all(|&size| size == 1)).then_some(classes)
}

/// Class names, one a line, for the first of `outputs`.
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
