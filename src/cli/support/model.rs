//! Opens the model that a command uses.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{messages, named};
use dyrelu::format::{self, Access};
use dyrelu::graph::Graph;
use dyrelu::vision::Embedding;
use dyrelu::{Error, Model, Options, Result};

/// The options for reading a model file, shared by all commands.
#[derive(Clone, clap::Args)]
pub struct Files {
    /// Folder outside of the ONNX file's own to which links to its external data may lead.
    #[arg(long, value_name = "DIR")]
    external_data_root: Option<PathBuf>,
}

impl Files {
    /// Reads the network in the file at `path` without optimising it.
    pub fn read(&self, path: &Path) -> Result<Graph> {
        // SAFETY: the file must not be changed while it is mapped. A command only maps models that its
        // user names, and SECURITY.md requires of the user not to change them in place.
        let access = unsafe { Access::map() };
        let root = self.external_data_root.as_deref();
        format::open_with(path, root, access).map(|opened| opened.graph)
    }
}

/// The options for running a model, shared by all commands.
#[derive(Clone, clap::Args)]
pub struct Engine {
    #[command(flatten)]
    pub files: Files,
    /// Compute every convolution directly instead of by Winograd's algorithm: slower, with smaller
    /// rounding errors.
    #[arg(long)]
    no_winograd: bool,
    /// Keep the weights of hyperfunctions in single precision instead of 16 bits.
    #[arg(long)]
    pub full_precision: bool,
}

impl Engine {
    pub fn uses_winograd(&self) -> bool {
        !self.no_winograd
    }

    /// The same options, with hyperfunctions in single precision.
    pub fn in_full_precision(&self) -> Self {
        Engine { full_precision: true, ..self.clone() }
    }

    fn options(&self) -> Options {
        let options =
            Options::default().winograd(self.uses_winograd()).full_precision(self.full_precision);
        match &self.files.external_data_root {
            Some(folder) => options.external_data_root(folder),
            None => options,
        }
    }
}

/// Opens the model at a path or of a name, or by default the one that ships with dyrelu.
pub fn open(model: Option<&Path>, engine: &Engine) -> Result<Arc<Model>> {
    let path = named::find(model)?;
    messages::detail(format_args!("network {}", path.display()));
    open_mapped(&path, engine.options())
}

/// Opens a model as [`open`] does, with a value as an output: the embedding of a photo.
pub fn open_with_embedding(
    model: Option<&Path>,
    engine: &Engine,
    layer: Option<&str>,
) -> Result<(Arc<Model>, Embedding)> {
    let path = named::find(model)?;
    messages::detail(format_args!("network {}", path.display()));
    let mut graph = engine.files.read(&path)?;
    let in_file = |e: Error| e.in_file(&path);
    let embedding = Embedding::of(&mut graph, layer).map_err(in_file)?;
    let model = Model::from_graph(graph, engine.options()).map_err(in_file)?;
    Ok((model, embedding))
}

/// Opens the model in the file at `path`.
pub fn open_mapped(path: &Path, options: Options) -> Result<Arc<Model>> {
    // SAFETY: as in `Files::read`.
    unsafe { Model::open_mapped(path, options) }
}
