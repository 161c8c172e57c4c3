//! Where the model that ships is found.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dyrelu::{DType, Error, Model, Options, Port, Result};

/// The model that is used where none is named.
const DEFAULT_MODEL: &str = "mobilenetv2-x0.5-dyrelu-b-imagenette.safetensors";

/// How a model is run, whatever the command.
#[derive(clap::Args)]
pub(super) struct Engine {
    /// Computes every convolution in the direct way: slower, and rounded a little less.
    #[arg(long)]
    no_winograd: bool,
}

impl Engine {
    fn options(&self) -> Options {
        Options { winograd: !self.no_winograd }
    }
}

/// Opens the named model, or the one that ships.
pub(super) fn open(path: Option<&Path>, engine: &Engine) -> Result<Arc<Model>> {
    Model::open_with(self::path(path)?, engine.options())
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
        let ty = port.ty.as_ref().filter(|ty| ty.dtype == DType::F32).ok_or_else(|| {
            Error::input(format!("input {:?} is not a feature map of f32", port.name))
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

/// The named path, or that of the model that ships.
pub(super) fn path(path: Option<&Path>) -> Result<PathBuf> {
    path.map_or_else(default_model, |path| Ok(path.to_path_buf()))
}

/// The path of the model that ships: in the folder that DYRELU_MODELS names, in `models` under
/// the current folder or near the program, or where the program was built.
fn default_model() -> Result<PathBuf> {
    let mut folders: Vec<PathBuf> = Vec::new();
    folders.extend(std::env::var_os("DYRELU_MODELS").map(PathBuf::from));
    folders.push("models".into());
    if let Ok(program) = std::env::current_exe() {
        folders.extend(program.ancestors().skip(1).take(4).map(|folder| folder.join("models")));
    }
    folders.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("models"));
    let candidates = folders.iter().map(|folder| folder.join(DEFAULT_MODEL));
    candidates.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        Error::input(format!(
            "the model that ships, {DEFAULT_MODEL}, was not found; name one with --model, or set \
             DYRELU_MODELS to the folder that holds it"
        ))
    })
}
