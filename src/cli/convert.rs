//! `dyrelu convert`: ONNX to a native weight file.

use std::path::{Path, PathBuf};

use super::{Outcome, models, print, say};
use dyrelu::compile::Report;
use dyrelu::format::read_text;
use dyrelu::format::safetensors::{WeightStorage, Written, stored, write};
use dyrelu::graph::Graph;
use dyrelu::graph::infer::infer;
use dyrelu::{Result, compile};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dyrelu convert net.onnx net.safetensors
  dyrelu convert net.onnx net.safetensors --weights f16 \\
      --preprocess imagenet --labels labels.txt
  dyrelu convert net.onnx net.safetensors --note top1='83.0% of 3,925 photos'
  dyrelu convert net.onnx net.safetensors --pack     # twice the size, loads in a tenth of the time")]
pub(super) struct Arguments {
    /// The network to convert.
    input: PathBuf,
    /// The file to write.
    output: PathBuf,
    /// How weights are stored; f16 halves the file and rounds them.
    #[arg(long, value_enum, default_value = "f32")]
    weights: Weights,
    /// Keep the weights a second time, in the layout that kernels read: loading then does nothing
    /// but map the file.
    #[arg(long)]
    pack: bool,
    /// How photos are prepared, to be kept in the file: `imagenet` for torchvision's usual way, or a
    /// file of JSON.
    #[arg(long, value_name = "imagenet|FILE.json")]
    preprocess: Option<PathBuf>,
    /// Class names, one per line, to be kept in the file.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// A fact about the network to be kept in the file; `dyrelu models` shows top1.
    #[arg(long, value_name = "KEY=TEXT", value_parser = note)]
    note: Vec<(String, String)>,
    #[command(flatten)]
    files: models::Files,
}

/// Splits a note, whose key must not be one that the format gives a meaning.
fn note(text: &str) -> std::result::Result<(String, String), String> {
    let (key, text) = text.split_once('=').ok_or("expected KEY=TEXT")?;
    if key.is_empty() || key.starts_with("dyrelu.") || ["preprocess", "labels"].contains(&key) {
        return Err(format!("{key:?} cannot be the key of a note"));
    }
    Ok((key.to_string(), text.to_string()))
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Weights {
    F32,
    F16,
}

pub(super) fn run(arguments: Arguments) -> Result<Outcome> {
    let mut graph = arguments.files.read(&arguments.input)?;
    let report = compile::optimise(&mut graph).map_err(|e| e.in_file(&arguments.input))?;
    if let Some(argument) = &arguments.preprocess {
        let json = models::preprocess(argument)?.to_json()?;
        graph.metadata.insert("preprocess".into(), json);
    }
    if let Some(path) = &arguments.labels {
        let lines = read_text(path)?;
        let types = infer(&graph)?;
        let scores = graph.outputs().first().and_then(|&id| types.get(id));
        models::labels(&lines, scores).map_err(|e| e.in_file(path))?;
        graph.metadata.insert("labels".into(), lines);
    }
    graph.metadata.extend(arguments.note);
    let weights = match arguments.weights {
        Weights::F32 => WeightStorage::F32,
        Weights::F16 => WeightStorage::F16,
    };
    let written = if arguments.pack {
        write_packed(&graph, &report, &arguments.output, weights)?
    } else {
        write(&graph, None, &arguments.output, weights)?
    };
    print(&format!(
        "{}: {} nodes, {} dynamic activations, {:.1} MB\n",
        arguments.output.display(),
        graph.nodes().len(),
        report.dynamic_activations.len(),
        written.bytes as f64 / 1e6
    ))?;
    if written.flushed > 0 {
        let count = written.flushed;
        say(format_args!("note: {count} weights too small for normal numbers became zero"));
    }
    for place in &report.unrecognised {
        say(format_args!("note: {:?} was not recognised: {}", place.name, place.reason));
    }
    Ok(Outcome::Fine)
}

/// Writes a network and its packed weights.
fn write_packed(
    graph: &Graph,
    report: &Report,
    output: &Path,
    weights: WeightStorage,
) -> Result<Written> {
    // What is packed are the weights as they are stored.
    let (stored, flushed) = stored(graph, weights)?;
    let prepared = compile::prepare(&stored, &report.unrecognised)?;
    let written = write(&stored, Some(prepared), output, weights)?;
    Ok(Written { flushed, ..written })
}
