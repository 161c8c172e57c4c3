//! `dyrelu inspect`: shows the layers, costs and activations of a network.

mod plan;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use serde::Serialize;

use crate::cli::support::model;
use crate::cli::support::outcome::Outcome;
use crate::cli::support::print::{TextOrJson, count, print, to_json};
use crate::cli::support::shapes::{fix_shape, input_shapes};
use crate::cli::support::table::{Narrow, sentences, table};
use crate::cli::support::values::positive;
use dyrelu::compile::{DynamicActivation, FixedBatch, StaticActivation, Unrecognised};
use dyrelu::graph::{Graph, TensorType, cost, infer, infer::Types};
use dyrelu::{Model, Result};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dyrelu inspect net.onnx
  dyrelu inspect net.onnx --shape 1,3,320,320
  dyrelu inspect net.onnx --plan                     # steps, fusion, memory
  dyrelu inspect net.onnx --format json | jq .dynamic_activations")]
pub struct Arguments {
    /// Network: a file, or a name from `dyrelu models`; by default the one that ships with dyrelu.
    model: Option<PathBuf>,
    /// Format of the description.
    #[arg(long, value_enum, default_value = "text")]
    format: TextOrJson,
    /// Show the steps of a run instead of the layers.
    #[arg(long)]
    plan: bool,
    /// Number of threads to plan memory and steps for.
    #[arg(long, short = 'j', value_name = "N", default_value_t = 1, value_parser = positive)]
    threads: usize,
    /// Shape of the first input; by default that of one image, of 224 by 224 where the network
    /// leaves the size free.
    #[arg(long, value_name = "N,C,H,W", value_delimiter = ',')]
    shape: Option<Vec<usize>>,
    #[command(flatten)]
    engine: model::Engine,
}

#[derive(Serialize)]
struct Description<'a> {
    name: &'a str,
    inputs: Vec<String>,
    outputs: Vec<String>,
    macs: u64,
    parameters: u64,
    weight_bytes: u64,
    /// Absent if the network does not accept images of the assumed size.
    working_memory: Option<WorkingMemory>,
    layers: Vec<Layer>,
    dynamic_activations: &'a [DynamicActivation],
    static_activations: &'a [StaticActivation],
    unrecognised: &'a [Unrecognised],
    /// Absent if the batch is free.
    fixed_batch: Option<&'a FixedBatch>,
}

/// The memory of a run, without the weights.
#[derive(Serialize)]
struct WorkingMemory {
    inputs: Vec<Vec<usize>>,
    threads: usize,
    arena_bytes: usize,
}

#[derive(Serialize)]
struct Layer {
    name: String,
    op: &'static str,
    output: Option<String>,
    macs: u64,
    parameters: u64,
}

/// The assumed height and width of images if the network leaves them free and `--shape` is absent.
const LIKELY_SIDE: usize = 224;

pub fn run(arguments: Arguments) -> Result<Outcome> {
    let model = model::open(arguments.model.as_deref(), &arguments.engine)?;
    if arguments.plan {
        let shapes = input_shapes(&model, arguments.shape.as_deref(), 1, LIKELY_SIDE)?;
        let plan = plan::describe(&model, shapes, arguments.threads)?;
        match arguments.format {
            TextOrJson::Json => print(&(to_json(&plan)? + "\n"))?,
            TextOrJson::Text => print(&plan::as_text(&plan))?,
        }
        return Ok(Outcome::Success);
    }
    let mut graph = model.graph().clone();
    if let Some(shape) = &arguments.shape {
        fix_shape(&mut graph, shape)?;
    }
    let working_memory = working_memory(&model, arguments.shape.as_deref(), arguments.threads)?;
    let description = describe(&model, &graph, working_memory)?;
    match arguments.format {
        TextOrJson::Json => print(&(to_json(&description)? + "\n"))?,
        TextOrJson::Text => print(&as_text(&description))?,
    }
    Ok(Outcome::Success)
}

/// The memory of a run at the given shape of the first input, or at the assumed one.
fn working_memory(
    model: &Model,
    shape: Option<&[usize]>,
    threads: usize,
) -> Result<Option<WorkingMemory>> {
    let bind = || {
        let inputs = input_shapes(model, shape, 1, LIKELY_SIDE)?;
        let arena_bytes = model.arena_bytes(&inputs, threads)?;
        Ok(WorkingMemory { inputs, threads, arena_bytes })
    };
    match (bind(), shape) {
        (Ok(memory), _) => Ok(Some(memory)),
        (Err(e), Some(_)) => Err(e),
        // The network may not accept images of the assumed size.
        (Err(_), None) => Ok(None),
    }
}

fn describe<'a>(
    model: &'a Model,
    graph: &'a Graph,
    working_memory: Option<WorkingMemory>,
) -> Result<Description<'a>> {
    let types = infer::infer(graph)?;
    let costed = one_image(model, graph)?;
    let port = |id: &_| {
        let ty = types.get(*id).map_or("of unknown shape".into(), TensorType::to_string);
        format!("{} {ty}", graph.value(*id).name)
    };
    let layers: Vec<Layer> = graph
        .nodes()
        .iter()
        .map(|node| Layer {
            name: node.name.clone(),
            op: node.op.name(),
            output: types.get(node.output()).map(|ty| format!("{:?}", ty.dims)),
            macs: cost::multiply_adds(&costed, node),
            parameters: cost::parameters(graph, node),
        })
        .collect();
    let constants = graph.values().iter().filter_map(|v| v.constant.as_ref());
    Ok(Description {
        name: &graph.name,
        inputs: graph.inputs().iter().map(port).collect(),
        outputs: graph.outputs().iter().map(port).collect(),
        macs: layers.iter().map(|l| l.macs).fold(0, u64::saturating_add),
        parameters: cost::total_parameters(graph),
        weight_bytes: constants.map(|t| (t.len() * t.dtype().size()) as u64).sum(),
        working_memory,
        layers,
        dynamic_activations: &model.report().dynamic_activations,
        static_activations: &model.report().static_activations,
        unrecognised: &model.report().unrecognised,
        fixed_batch: model.report().fixed_batch.as_ref(),
    })
}

/// The types of a run on one image. Free sizes are replaced by assumed ones.
fn one_image(model: &Model, graph: &Graph) -> Result<Types> {
    let mut graph = graph.clone();
    for (port, id) in model.inputs().iter().zip(graph.inputs().to_vec()) {
        let free =
            |axis: usize| port.ty.as_ref().is_some_and(|ty| ty.dims[axis].as_size().is_none());
        let Some(ty) = &mut graph.value_mut(id).input else { continue };
        for (axis, dim) in ty.dims.iter_mut().enumerate() {
            match axis {
                0 if free(0) => *dim = 1.into(),
                _ if dim.as_size().is_none() => *dim = LIKELY_SIDE.into(),
                _ => {}
            }
        }
    }
    // The network may not accept images of the assumed size.
    infer::infer(&graph).or_else(|_| infer::infer(model.graph()))
}

fn as_text(d: &Description) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{}", if d.name.is_empty() { "(unnamed network)" } else { d.name });
    for (kind, ports) in [("input", &d.inputs), ("output", &d.outputs)] {
        for port in ports {
            let _ = writeln!(text, "  {kind:6}  {port}");
        }
    }
    let _ = writeln!(text, "  {:.1} M multiply-adds per image", d.macs as f64 / 1e6);
    let _ = writeln!(
        text,
        "  {:.2} M parameters, {:.1} MB in memory",
        d.parameters as f64 / 1e6,
        d.weight_bytes as f64 / 1e6
    );
    if let Some(WorkingMemory { inputs, threads, arena_bytes }) = &d.working_memory {
        let megabytes = *arena_bytes as f64 / 1e6;
        let _ = writeln!(
            text,
            "  {megabytes:.2} MB of working memory for inputs of shapes {inputs:?}, threads: {threads}"
        );
    }
    let _ = writeln!(text, "  runs on {}\n", dyrelu::simd::Isa::get().name());
    let header = ["layer", "operator", "output", "k MACs", "parameters"];
    let rows = d.layers.iter().map(|l| {
        let output = l.output.clone().unwrap_or_default();
        let macs = (l.macs / 1000).to_string();
        [l.name.clone(), l.op.to_string(), output, macs, l.parameters.to_string()]
    });
    text.push_str(&table(header.map(String::from), rows.collect(), &[3, 4], Narrow::Shorten(0)));
    let _ = writeln!(text, "\n{}", count(d.dynamic_activations.len(), "dynamic activation"));
    if !d.dynamic_activations.is_empty() {
        let header = ["name", "form", "K", "channels", "hidden", "squash"].map(String::from);
        let rows = d.dynamic_activations.iter().map(|a| {
            let hidden = a.hidden.map_or("-".into(), |h| h.to_string());
            let squash = a.squash.map_or("-".into(), |s| format!("{s:?}"));
            let (k, channels) = (a.k.to_string(), a.channels.to_string());
            [a.name.clone(), a.form.to_string(), k, channels, hidden, squash]
        });
        text.push_str(&table(header, rows.collect(), &[2, 3, 4], Narrow::Shorten(0)));
    }
    if !d.static_activations.is_empty() {
        let mut forms: BTreeMap<(&str, usize), usize> = BTreeMap::new();
        for activation in d.static_activations {
            *forms.entry((activation.form, activation.k)).or_default() += 1;
        }
        let counts = forms.into_iter().map(|((form, k), n)| format!("{n} {form}, K = {k}"));
        let list = counts.collect::<Vec<_>>().join("; ");
        let _ =
            writeln!(text, "{}: {list}", count(d.static_activations.len(), "static activation"));
    }
    for place in d.unrecognised {
        let place = format!("not recognised: {:?}: {}", place.name, place.reason);
        text.push_str(&sentences(&place));
    }
    if let Some(place) = d.fixed_batch {
        let place = format!("the batch is fixed: {:?}: {}", place.name, place.reason);
        text.push_str(&sentences(&place));
    }
    text
}
