//! `dyrelu models`: lists and finds the networks that commands accept by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::table::table;
use super::{Outcome, TextOrJson, inspect, models, print, print_stderr, to_json};
use dyrelu::compile::DynamicActivation;
use dyrelu::graph::{cost, infer};
use dyrelu::vision::Preprocess;
use dyrelu::{Error, Model, Options, Result};

/// The name of the network that commands use by default.
const DEFAULT: &str = "efficientnet-lite0-dyrelu-b";

/// The extensions of network files.
const EXTENSIONS: [&str; 2] = ["safetensors", "onnx"];

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dyrelu models
  dyrelu models --format json | jq -r '.[].name'
  dyrelu classify --model NAME photo.jpg             # a name from the list

Networks are searched for in the folder that DYRELU_MODELS names, in the folder `models` of the current
folder, of the program's folder and of those above it, and where the program was built. Of several with the
same name, the first is used.")]
pub(super) struct Arguments {
    /// Format of the list.
    #[arg(long, value_enum, default_value = "text")]
    format: TextOrJson,
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

pub(super) fn run(arguments: Arguments) -> Result<Outcome> {
    let mut entries = Vec::new();
    let mut outcome = Outcome::Success;
    for (name, path) in networks() {
        match describe(&name, &path) {
            Ok(entry) => entries.push(entry),
            Err(e) => {
                print_stderr(format_args!("error: {e}"));
                outcome = Outcome::Partial;
            }
        }
    }
    match arguments.format {
        TextOrJson::Json => print(&(to_json(&entries)? + "\n"))?,
        TextOrJson::Text => print(&as_text(&entries))?,
    }
    Ok(outcome)
}

/// The file of a network given by its path or name, or of the default network.
pub(super) fn find(model: Option<&Path>) -> Result<PathBuf> {
    let path = model.unwrap_or(Path::new(DEFAULT));
    let is_path = path.components().count() != 1 || has_extension(path);
    if model.is_some() && (is_path || path.exists()) {
        return Ok(path.to_path_buf());
    }
    let mut networks = networks();
    let name = path.to_string_lossy();
    networks.remove(&*name).ok_or_else(|| {
        let names: Vec<_> = networks.into_keys().collect();
        let known = match names.as_slice() {
            [] => "none was found; set DYRELU_MODELS to a folder with networks".to_string(),
            names => format!("there are {}", names.join(", ")),
        };
        Error::input(format!("there is no network named {name:?}: {known}"))
    })
}

fn has_extension(path: &Path) -> bool {
    path.extension().is_some_and(|end| EXTENSIONS.iter().any(|e| end.eq_ignore_ascii_case(e)))
}

/// The networks that have a name, with their paths.
fn networks() -> BTreeMap<String, PathBuf> {
    let mut networks = BTreeMap::new();
    for folder in folders() {
        let Ok(files) = std::fs::read_dir(folder) else { continue };
        let mut paths: Vec<_> = files.filter_map(|file| Some(file.ok()?.path())).collect();
        paths.retain(|path| has_extension(path) && path.is_file());
        paths.sort();
        for path in paths {
            let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            name.map(|name| networks.entry(name).or_insert(path));
        }
    }
    networks
}

/// The folders to search for networks, in order of precedence.
fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = Vec::new();
    folders.extend(std::env::var_os("DYRELU_MODELS").map(PathBuf::from));
    folders.push("models".into());
    if let Ok(program) = std::env::current_exe() {
        folders.extend(program.ancestors().skip(1).take(4).map(|folder| folder.join("models")));
    }
    folders.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("models"));
    folders
}

fn describe(name: &str, path: &Path) -> Result<Entry> {
    let model = models::open_mapped(path, Options::default())?;
    let size = std::fs::metadata(path).map_err(|e| Error::io(path, e))?.len();
    let mut graph = model.graph().clone();
    let input = input(&model)?;
    if let Some(input) = &input {
        inspect::fix_shape(&mut graph, &[&[1], input.as_slice()].concat())?;
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
            e.name.clone() + if e.default { " (default)" } else { "" },
            form,
            e.input.as_ref().map_or_else(unknown, |input| sizes(input).join("x")),
            e.classes.map_or_else(unknown, |classes| classes.to_string()),
            format!("{:.2} M", e.parameters as f64 / 1e6),
            format!("{:.1} M", e.macs as f64 / 1e6),
            format!("{:.1} MB", e.bytes as f64 / 1e6),
            e.top1.clone().unwrap_or_else(unknown),
        ]
    });
    table(header.map(String::from), rows.collect(), &[3, 4, 5, 6])
}
