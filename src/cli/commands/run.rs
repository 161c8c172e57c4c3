//! `dyrelu run`: runs a network on arrays from files.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::cli::support::outcome::Outcome;
use crate::cli::support::values::{positive, threads};
use crate::cli::support::{arrays, model};
use dyrelu::format::Replacement;
use dyrelu::{Error, Layout, Port, Result, Session};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dyrelu run net.onnx --input x.npy --output y.npy
  dyrelu run net.onnx --input image=x.npy --input size=s.npy --output b=b.npy
  dyrelu run net.onnx --input x.npy --output y.npy --layout nhwc")]
pub struct Arguments {
    /// Network: a file, or a name from `dyrelu models`.
    model: PathBuf,
    /// Array for an input; give it once per input, by name or in order. The file - is standard
    /// input.
    #[arg(long, value_name = "[NAME=]FILE.npy")]
    input: Vec<OsString>,
    /// File to write an output to; give it once per output, by name or in order.
    #[arg(long, short, value_name = "[NAME=]FILE.npy", required = true)]
    output: Vec<OsString>,
    /// Layout of the feature maps (arrays with four axes) in the files.
    #[arg(long, value_enum, default_value = "nchw")]
    layout: LayoutName,
    /// Number of threads; by default all that this process may use.
    #[arg(long, short = 'j', value_name = "N", value_parser = positive)]
    threads: Option<usize>,
    #[command(flatten)]
    engine: model::Engine,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum LayoutName {
    Nchw,
    Nhwc,
}

pub fn run(arguments: Arguments) -> Result<Outcome> {
    let model = model::open(Some(&arguments.model), &arguments.engine)?;
    let layout = match arguments.layout {
        LayoutName::Nchw => Layout::Nchw,
        LayoutName::Nhwc => Layout::Nhwc,
    };
    let sources = assign(&arguments.input, model.inputs(), "input")?;
    let targets = assign(&arguments.output, model.outputs(), "output")?;
    let mut seen = HashSet::new();
    if let Some(duplicate) = targets.iter().flatten().find(|&target| !seen.insert(target)) {
        return Err(Error::input("two outputs cannot go to one file").in_file(duplicate));
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
    // No file appears under its name before all are written.
    let mut replacements = Vec::new();
    for (tensor, target) in outputs.iter().zip(&targets) {
        let Some(target) = target else { continue };
        replacements.push(if tensor.shape().len() == 4 && layout == Layout::Nhwc {
            arrays::write(target, &tensor.to_layout(Layout::Nchw, layout)?)?
        } else {
            arrays::write(target, tensor)?
        });
    }
    replacements.into_iter().try_for_each(Replacement::keep)?;
    Ok(Outcome::Success)
}

/// Assigns files to ports. A file without a name goes to the first port that has none yet. `kind` is
/// `input` or `output`.
fn assign(files: &[OsString], ports: &[Port], kind: &str) -> Result<Vec<Option<PathBuf>>> {
    let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
    let mut assigned: Vec<Option<PathBuf>> = vec![None; names.len()];
    for file in files {
        let (at, path) = match named(file, &names) {
            Some((at, path)) => (at, OsStr::new(path)),
            None => {
                if file.to_str().is_some_and(|text| text.contains('=')) && !Path::new(file).exists()
                {
                    return Err(Error::input(format!(
                        "the network has no {kind} for {file:?}; it has {names:?}"
                    )));
                }
                let free = assigned.iter().position(Option::is_none).ok_or_else(|| {
                    Error::input(format!(
                        "there are more files than the network has {kind}s: {names:?}"
                    ))
                })?;
                (free, file.as_os_str())
            }
        };
        if assigned[at].replace(path.into()).is_some() {
            return Err(Error::input(format!("{kind} {:?} was given twice", names[at])));
        }
    }
    Ok(assigned)
}

/// The index of the port and the path in `NAME=PATH`.
///
/// Names and paths may contain an equals sign. If several names match, the longest counts.
fn named<'f>(file: &'f OsStr, names: &[&str]) -> Option<(usize, &'f str)> {
    let text = file.to_str()?;
    let path = |name: &str| text.strip_prefix(name)?.strip_prefix('=');
    let matches = names.iter().enumerate().filter_map(|(at, name)| Some((at, path(name)?)));
    matches.min_by_key(|(_, path)| path.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_may_contain_an_equals_sign() {
        let names = ["a", "a=b", "c"];
        for (text, expected) in [
            ("a=x.npy", Some((0, "x.npy"))),
            ("a=b=x.npy", Some((1, "x.npy"))),
            ("c=d=x.npy", Some((2, "d=x.npy"))),
            ("d=x.npy", None),
            ("x.npy", None),
            ("a", None),
        ] {
            assert_eq!(named(OsStr::new(text), &names), expected, "{text}");
        }
    }
}
