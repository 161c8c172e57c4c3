//! `dyrelu run`: tensors in, tensors out.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::{Outcome, arrays, models, positive, threads};
use dyrelu::format::Replacement;
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
    /// An array for an input; with NAME= for networks with several. The file - is standard input.
    #[arg(long, value_name = "[NAME=]FILE.npy")]
    input: Vec<OsString>,
    /// Where an output goes; with NAME= for networks with several.
    #[arg(long, value_name = "[NAME=]FILE.npy", required = true)]
    output: Vec<OsString>,
    /// The layout of the feature maps (arrays with four axes) in the files.
    #[arg(long, value_enum, default_value = "nchw")]
    layout: LayoutName,
    /// Threads to run on; all that this process may use by default.
    #[arg(long, value_name = "N", value_parser = positive)]
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
    let mut seen = HashSet::new();
    if let Some(twice) = targets.iter().flatten().find(|&target| !seen.insert(target)) {
        return Err(Error::input("two outputs cannot go to one file").in_file(twice));
    }
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
    // All files or none.
    let mut written = Vec::new();
    for (tensor, target) in outputs.iter().zip(&targets) {
        let Some(target) = target else { continue };
        written.push(if tensor.shape().len() == 4 && layout == Layout::Nhwc {
            arrays::write(target, &tensor.to_layout(Layout::Nchw, layout)?)?
        } else {
            arrays::write(target, tensor)?
        });
    }
    written.into_iter().try_for_each(Replacement::keep)?;
    Ok(Outcome::Fine)
}

/// Which file belongs to which port. Without a name, files go to the ports in order.
fn assign(files: &[OsString], ports: &[Port], what: &str) -> Result<Vec<Option<PathBuf>>> {
    let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
    let mut assigned: Vec<Option<PathBuf>> = vec![None; names.len()];
    for file in files {
        let (at, path) = match named(file, &names) {
            Some((at, path)) => (at, OsStr::new(path)),
            None => {
                if file.to_str().is_some_and(|text| text.contains('=')) && !Path::new(file).exists()
                {
                    return Err(Error::input(format!(
                        "the network has no {what} for {file:?}; it has {names:?}"
                    )));
                }
                let free = assigned.iter().position(Option::is_none).ok_or_else(|| {
                    Error::input(format!("the network has {} {what}s: {names:?}", names.len()))
                })?;
                (free, file.as_os_str())
            }
        };
        if assigned[at].replace(path.into()).is_some() {
            return Err(Error::input(format!("{what} {:?} was given twice", names[at])));
        }
    }
    Ok(assigned)
}

/// The number of the port and the path of `NAME=PATH`. Both may contain an equals sign: the longest name
/// counts.
fn named<'f>(file: &'f OsStr, names: &[&str]) -> Option<(usize, &'f str)> {
    // What is no text cannot begin with a name.
    let text = file.to_str()?;
    let path = |name: &str| text.strip_prefix(name)?.strip_prefix('=');
    let fitting = names.iter().enumerate().filter_map(|(at, name)| Some((at, path(name)?)));
    fitting.min_by_key(|(_, path)| path.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_may_contain_an_equals_sign() {
        let names = ["a", "a=b", "c"];
        for (text, want) in [
            ("a=x.npy", Some((0, "x.npy"))),
            ("a=b=x.npy", Some((1, "x.npy"))),
            ("c=d=x.npy", Some((2, "d=x.npy"))),
            ("d=x.npy", None),
            ("x.npy", None),
            ("a", None),
        ] {
            assert_eq!(named(OsStr::new(text), &names), want, "{text}");
        }
    }
}
