//! `dyrelu run`: tensors in, tensors out.

use std::path::PathBuf;

use super::{Outcome, arrays, models, threads};
use dyrelu::{Error, Layout, Port, Result, Session};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dyrelu run net.onnx --input x.npy --output y.npy
  dyrelu run net.onnx --input image=x.npy --input size=s.npy --output boxes=b.npy
  dyrelu run net.onnx --input x.npy --output y.npy --layout nhwc")]
pub(super) struct Arguments {
    /// The network: an ONNX file or a native weight file.
    model: PathBuf,
    /// An array for an input; with NAME= for networks with several.
    #[arg(long, value_name = "[NAME=]FILE.npy")]
    input: Vec<String>,
    /// Where an output goes; with NAME= for networks with several.
    #[arg(long, value_name = "[NAME=]FILE.npy", required = true)]
    output: Vec<String>,
    /// The layout of the feature maps (arrays with four axes) in the files.
    #[arg(long, value_enum, default_value = "nchw")]
    layout: LayoutName,
    /// Threads to run on; all that this process may use by default.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    #[command(flatten)]
    engine: models::Engine,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum LayoutName {
    Nchw,
    Nhwc,
}

pub(super) fn run(arguments: Arguments) -> Result<Outcome> {
    let model = models::open(Some(&arguments.model), &arguments.engine)?;
    let layout = match arguments.layout {
        LayoutName::Nchw => Layout::Nchw,
        LayoutName::Nhwc => Layout::Nhwc,
    };
    let sources = assign(&arguments.input, model.inputs(), "input")?;
    let targets = assign(&arguments.output, model.outputs(), "output")?;
    let mut inputs = Vec::new();
    for (port, source) in model.inputs().iter().zip(&sources) {
        let source = source.as_ref().ok_or_else(|| {
            Error::input(format!("input {:?} is missing: add --input {0}=FILE.npy", port.name))
        })?;
        let tensor = arrays::read(source)?;
        inputs.push(if tensor.shape().len() == 4 && layout == Layout::Nhwc {
            tensor.to_layout(layout, Layout::Nchw)?
        } else {
            tensor
        });
    }
    let mut session = Session::with_threads(&model, threads(arguments.threads))?;
    let outputs = session.run(&inputs).map_err(|e| e.in_file(&arguments.model))?;
    for (tensor, target) in outputs.iter().zip(&targets) {
        let Some(target) = target else { continue };
        if tensor.shape().len() == 4 && layout == Layout::Nhwc {
            arrays::write(target, &tensor.to_layout(Layout::Nchw, layout)?)?;
        } else {
            arrays::write(target, tensor)?;
        }
    }
    Ok(Outcome::Fine)
}

/// Which file belongs to which port. Without a name, files go to the ports in order.
fn assign(files: &[String], ports: &[Port], what: &str) -> Result<Vec<Option<PathBuf>>> {
    let mut assigned: Vec<Option<PathBuf>> = vec![None; ports.len()];
    for file in files {
        let named = file
            .split_once('=')
            .and_then(|(name, path)| Some((ports.iter().position(|p| p.name == name)?, path)));
        let (at, path) = match named {
            Some(named) => named,
            None => {
                let names = || ports.iter().map(|p| p.name.as_str()).collect::<Vec<_>>();
                if file.contains('=') && !std::path::Path::new(file).exists() {
                    return Err(Error::input(format!(
                        "the network has no {what} for {file:?}; it has {:?}",
                        names()
                    )));
                }
                let free = assigned.iter().position(Option::is_none).ok_or_else(|| {
                    Error::input(format!("the network has {} {what}s: {:?}", ports.len(), names()))
                })?;
                (free, file.as_str())
            }
        };
        if assigned[at].replace(path.into()).is_some() {
            return Err(Error::input(format!("{what} {:?} was given twice", ports[at].name)));
        }
    }
    Ok(assigned)
}
