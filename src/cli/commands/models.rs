//! `dyrelu models`: lists the networks that commands accept by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::support::named::{DEFAULT, data_folder, folders, networks};
use crate::cli::support::outcome::Outcome;
use crate::cli::support::print::{TextOrJson, print, to_json};
use crate::cli::support::shapes::fix_shape;
use crate::cli::support::table::{Narrow, table};
use crate::cli::support::{messages, model};
use dyrelu::compile::DynamicActivation;
use dyrelu::format::{Replacement, open_regular};
use dyrelu::graph::{cost, infer};
use dyrelu::vision::Preprocess;
use dyrelu::{Error, Model, Options, Result};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dyrelu models
  dyrelu models --format json | jq -r '.[].name'
  dyrelu models --install                            # once, in a clone
  dyrelu classify --model NAME photo.jpg             # a name from the list

Networks are searched for in the folder that DYRELU_MODELS names, in the data folders of the user and \
of the system, beside the program, and in the clone that the program was built in or is run in. The list \
names these folders. Of several networks with the same name, the first is used.")]
pub struct Arguments {
    /// Format of the list.
    #[arg(long, value_enum, default_value = "text")]
    format: TextOrJson,
    /// Copy the networks that are found elsewhere into the data folder of the user, and list all.
    #[arg(long)]
    install: bool,
}

/// One row of the list. An optional field is absent if the file does not state it.
#[derive(Serialize)]
struct Entry {
    name: String,
    path: PathBuf,
    /// The forms of the dynamic activations, most frequent first.
    forms: Vec<String>,
    input: Option<Vec<usize>>,
    classes: Option<usize>,
    parameters: u64,
    macs: u64,
    bytes: u64,
    top1: Option<String>,
    default: bool,
}

pub fn run(arguments: Arguments) -> Result<Outcome> {
    if arguments.install {
        install()?;
    }
    let mut entries = Vec::new();
    let mut outcome = Outcome::Success;
    for (name, path) in networks() {
        match describe(&name, &path) {
            Ok(entry) => entries.push(entry),
            Err(e) => {
                messages::error(&e);
                outcome = Outcome::Partial;
            }
        }
    }
    match arguments.format {
        TextOrJson::Json => print(&(to_json(&entries)? + "\n"))?,
        TextOrJson::Text => print(
            &(as_text(&entries)
                + "\n* is the network that is used by default\n"
                + &folders_as_text()),
        )?,
    }
    Ok(outcome)
}

/// Copies the networks of other folders into the data folder of the user.
fn install() -> Result<()> {
    let target = data_folder().ok_or_else(|| {
        Error::input("there is no data folder, because HOME is not set; set DYRELU_MODELS")
    })?;
    let networks = networks();
    if networks.is_empty() {
        return Err(Error::input("no networks were found; run this in a clone of dyrelu"));
    }
    std::fs::create_dir_all(&target).map_err(|e| Error::io(&target, e))?;
    for path in networks.into_values().filter(|path| !path.starts_with(&target)) {
        let Some(name) = path.file_name() else { continue };
        let mut copy = Replacement::of(target.join(name))?;
        let copied = std::io::copy(&mut open_regular(&path)?, &mut copy);
        copied.map_err(|e| Error::io(target.join(name), e))?;
        copy.keep()?;
        messages::summary(format_args!("installed {}", target.join(name).display()));
    }
    Ok(())
}

fn folders_as_text() -> String {
    let mut text = String::from("\nSearched, in this order:\n");
    for (kind, folder) in folders() {
        let absent = if folder.is_dir() { "" } else { " (absent)" };
        text.push_str(&format!("  {kind}: {}{absent}\n", folder.display()));
    }
    text
}

fn describe(name: &str, path: &Path) -> Result<Entry> {
    let model = model::open_mapped(path, Options::default())?;
    let size = std::fs::metadata(path).map_err(|e| Error::io(path, e))?.len();
    let mut graph = model.graph().clone();
    let input = input(&model)?;
    if let Some(input) = &input {
        fix_shape(&mut graph, &[&[1], input.as_slice()].concat())?;
    }
    let types = infer::infer(&graph)?;
    let macs = graph.nodes().iter().map(|node| cost::multiply_adds(&types, node));
    // The first output of a network of key points is a map.
    let scores = model.outputs().first().filter(|_| model.metadata("keypoints").is_none());
    let scores = scores.and_then(|port| port.ty.as_ref());
    Ok(Entry {
        name: name.to_string(),
        path: path.to_path_buf(),
        forms: forms(&model.report().dynamic_activations),
        input,
        classes: scores.and_then(|ty| ty.dims.last()?.as_size()),
        parameters: cost::total_parameters(&graph),
        macs: macs.fold(0, u64::saturating_add),
        bytes: size,
        top1: model.metadata("top1").map(str::to_string),
        default: name == DEFAULT,
    })
}

/// Channels, height and width of an image. Sizes that the graph leaves free are those to which the
/// file prepares photos.
fn input(model: &Model) -> Result<Option<Vec<usize>>> {
    let ty = model.inputs().first().and_then(|port| port.ty.as_ref());
    let Some(dims) = ty.map(|ty| ty.dims.as_slice()).filter(|dims| dims.len() == 4) else {
        return Ok(None);
    };
    let preprocess = model.metadata("preprocess").map(Preprocess::from_json).transpose()?;
    let size = preprocess.and_then(|p| p.size()).map(|size| size.map(|side| side as usize));
    let free = |axis: usize| size.filter(|_| axis > 0).map(|size| size[axis - 1]);
    let sizes = dims[1..].iter().enumerate().map(|(axis, dim)| dim.as_size().or(free(axis)));
    Ok(sizes.collect())
}

fn forms(activations: &[DynamicActivation]) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for a in activations {
        let family = if matches!(a.form, "A" | "B" | "C") { "DY-ReLU-" } else { "" };
        *counts.entry(format!("{family}{}, K = {}", a.form, a.k)).or_default() += 1;
    }
    let mut forms: Vec<_> = counts.into_iter().collect();
    forms.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    forms.into_iter().map(|(form, _)| form).collect()
}

fn as_text(entries: &[Entry]) -> String {
    let header =
        ["name", "form", "input", "classes", "parameters", "multiply-adds", "size", "top-1"];
    let unknown = || "-".to_string();
    let rows = entries.iter().map(|e| {
        let sizes = |sizes: &Vec<usize>| sizes.iter().map(usize::to_string).collect::<Vec<_>>();
        let form = if e.forms.is_empty() { unknown() } else { e.forms.join("; ") };
        [
            e.name.clone() + if e.default { "*" } else { "" },
            form,
            e.input.as_ref().map_or_else(unknown, |input| sizes(input).join("x")),
            e.classes.map_or_else(unknown, |classes| classes.to_string()),
            format!("{:.2} M", e.parameters as f64 / 1e6),
            format!("{:.1} M", e.macs as f64 / 1e6),
            format!("{:.1} MB", e.bytes as f64 / 1e6),
            e.top1.clone().unwrap_or_else(unknown),
        ]
    });
    table(header.map(String::from), rows.collect(), &[3, 4, 5, 6], Narrow::Records)
}
