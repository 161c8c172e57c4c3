//! `dyrelu convert`: converts an ONNX file to a native weight file.

use std::path::{Path, PathBuf};

use crate::cli::support::numbers::{is_finite, random_inputs, relative_error};
use crate::cli::support::outcome::Outcome;
use crate::cli::support::preparation::{Network, Preparation};
use crate::cli::support::print::{count, print};
use crate::cli::support::values::threads;
use crate::cli::support::{messages, model, named};
use dyrelu::compile::Report;
use dyrelu::format::safetensors::{WeightStorage, Written, stored, write};
use dyrelu::graph::infer::infer;
use dyrelu::graph::{Graph, ValueId};
use dyrelu::vision::{KeypointScheme, Preprocess};
use dyrelu::{Error, Model, Options, Result, Session, Tensor, compile};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dyrelu convert net.onnx net.safetensors
  dyrelu convert net.onnx net.safetensors --weights f16 \\
      --preprocess imagenet --labels labels.txt
  dyrelu convert net.onnx net.safetensors --weights int8    # a quarter
  dyrelu convert net.onnx net.safetensors --note top1='83.0% of 3,925 photos'
  dyrelu convert net.onnx net.safetensors --pack     # loads ten times faster")]
pub struct Arguments {
    /// Network to convert: a file, or a name from `dyrelu models`.
    input: PathBuf,
    /// File to write.
    output: PathBuf,
    /// Type of the stored weights; f16 halves the file and rounds the weights, int8 makes a quarter of it and
    /// rounds them more, with a scale per output of a layer. All are computed in f32.
    #[arg(long, value_enum, default_value = "f32")]
    weights: Weights,
    /// Also store the weights in the layout that the kernels read, those of hyperfunctions in 16 bits.
    /// Loading then only maps the file.
    #[arg(long)]
    pack: bool,
    /// Note about the network to store in the file; `dyrelu models` shows the one with key top1. The
    /// one with key keypoints is JSON that says how `dyrelu keypoints` decodes outputs.
    #[arg(long, value_name = "KEY=TEXT", value_parser = note)]
    note: Vec<(String, String)>,
    #[command(flatten)]
    preparation: Preparation,
    #[command(flatten)]
    files: model::Files,
}

/// Parses `KEY=TEXT`. Refuses keys that have a meaning in the file format.
fn note(text: &str) -> std::result::Result<(String, String), String> {
    let (key, text) = text.split_once('=').ok_or("expected KEY=TEXT")?;
    if key.is_empty() || key.starts_with("dyrelu.") || ["preprocess", "labels"].contains(&key) {
        return Err(format!("{key:?} is empty or reserved by the file format"));
    }
    if key == "keypoints" {
        KeypointScheme::from_json(text).map_err(|e| e.to_string())?;
    }
    Ok((key.to_string(), text.to_string()))
}

/// The size of every axis of random inputs that the network leaves free, other than the batch.
const FREE_SIZE: usize = 224;

#[derive(Clone, Copy, clap::ValueEnum)]
enum Weights {
    F32,
    F16,
    Int8,
}

pub fn run(mut arguments: Arguments) -> Result<Outcome> {
    arguments.input = named::find(Some(&arguments.input))?;
    if let (Weights::Int8, true) = (arguments.weights, arguments.pack) {
        return Err(Error::input(
            "--weights int8 makes a small file, to which --pack would add the weights in f32; give one of them",
        ));
    }
    if arguments.output.extension().is_some_and(|end| end.eq_ignore_ascii_case("onnx")) {
        let message = "the file would be a native weight file and not ONNX; name it .safetensors";
        return Err(Error::input(message).in_file(&arguments.output));
    }
    let mut graph = arguments.files.read(&arguments.input)?;
    let report = compile::optimise(&mut graph).map_err(|e| e.in_file(&arguments.input))?;
    let types = infer(&graph)?;
    let ty = |values: &[ValueId]| values.first().and_then(|&id| types.get(id)).cloned();
    let (input, scores) = (ty(graph.inputs()), ty(graph.outputs()));
    let network = Network::new(input.as_ref(), scores.as_ref());
    let stated = graph.metadata.get("preprocess").map(|json| Preprocess::from_json(json));
    let stated = stated.transpose().map_err(|e| e.in_file(&arguments.input))?;
    if let Some(preprocess) = arguments.preparation.preprocess(&network, stated)? {
        graph.metadata.insert("preprocess".into(), preprocess.to_json()?);
    }
    if let Some(lines) = arguments.preparation.labels(&network)? {
        graph.metadata.insert("labels".into(), lines);
    }
    graph.metadata.extend(arguments.note);
    let nodes = graph.nodes().len();
    let weights = match arguments.weights {
        Weights::F32 | Weights::Int8 => WeightStorage::F32,
        Weights::F16 => WeightStorage::F16,
    };
    let rounding = match arguments.weights {
        Weights::Int8 => Some(round(&mut graph)?),
        _ => None,
    };
    let written = if arguments.pack {
        write_packed(&graph, &report, &arguments.output, weights)?
    } else {
        write(&graph, None, &arguments.output, weights)?
    };
    print(&format!(
        "{}: {}, {}, {:.1} MB\n",
        arguments.output.display(),
        count(nodes, "node"),
        count(report.dynamic_activations.len(), "dynamic activation"),
        written.bytes as f64 / 1e6
    ))?;
    if let Some(rounding) = rounding {
        print(&rounding)?;
    }
    if written.flushed > 0 {
        let count = written.flushed;
        messages::note(format_args!("{count} subnormal weights were stored as zero"));
    }
    for place in &report.unrecognised {
        messages::note(format_args!("{:?} was not recognised: {}", place.name, place.reason));
    }
    Ok(Outcome::Success)
}

/// Rounds the weights of a network to eight bits. Returns how many tensors that are, and how far the outputs
/// move.
fn round(graph: &mut Graph) -> Result<String> {
    let before = graph.clone();
    let tensors = count(compile::weights_in_eight_bits(graph)?, "tensor");
    let inputs = match random_inputs(&before, FREE_SIZE) {
        Ok(inputs) => inputs,
        Err(e) => return Ok(format!("{tensors} in eight bits; outputs are not compared: {e}\n")),
    };
    let outputs = |graph: &Graph| -> Result<Vec<Tensor>> {
        let model = Model::from_graph(graph.clone(), Options::default())?;
        Session::with_threads(&model, threads(None))?.run(&inputs)
    };
    let mut moved = 0f64;
    for ((after, before), &id) in
        outputs(graph)?.iter().zip(&outputs(&before)?).zip(graph.outputs())
    {
        let name = &graph.value(id).name;
        if !is_finite(before)? || !is_finite(after)? {
            return Ok(format!(
                "{tensors} in eight bits; outputs are not compared: for random inputs, {name:?} has \
                 elements that are NaN or infinite\n"
            ));
        }
        moved = moved.max(relative_error(name, after, before)?);
    }
    Ok(format!(
        "{tensors} in eight bits; for random inputs, outputs move by up to {:.1}% of the largest\n",
        100.0 * moved
    ))
}

/// Writes a network with its packed weights.
fn write_packed(
    graph: &Graph,
    report: &Report,
    output: &Path,
    weights: WeightStorage,
) -> Result<Written> {
    // The packed weights are those that a reader of the file would pack: rounded to f16 or not.
    let (stored, flushed) = stored(graph, weights)?;
    let prepared = compile::prepare(&stored, &report.unrecognised)?;
    let written = write(&stored, Some(prepared), output, weights)?;
    Ok(Written { flushed, ..written })
}
