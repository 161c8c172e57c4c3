//! `dyrelu models`: lists and finds the networks that commands accept by name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::table::table;
use super::{Outcome, TextOrJson, inspect, messages, models, print, to_json};
use dyrelu::compile::DynamicActivation;
use dyrelu::format::{Replacement, open_regular};
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
  dyrelu models --install                            # in a clone: keeps its networks for any folder
  dyrelu classify --model NAME photo.jpg             # a name from the list

Networks are searched for in the folder that DYRELU_MODELS names, in the data folders of the user and of
the system, beside the program, and in the clone that the program was built in or is run in. The list names
these folders. Of several networks with the same name, the first is used.")]
pub(super) struct Arguments {
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

pub(super) fn run(arguments: Arguments) -> Result<Outcome> {
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
        TextOrJson::Text => print(&(as_text(&entries) + &folders_as_text()))?,
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
            [] => "no network was found; run `dyrelu models --install` in a clone of dyrelu once, set \
                   DYRELU_MODELS to a folder with networks, or give a file"
                .to_string(),
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
    for (_, folder) in folders() {
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

/// The folder of the user for networks, by the convention of the platform.
fn data_folder() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|f| f.is_absolute());
    let home = || folder("HOME");
    let data = if cfg!(windows) {
        folder("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        home().map(|home| home.join("Library/Application Support"))
    } else {
        folder("XDG_DATA_HOME").or_else(|| home().map(|home| home.join(".local/share")))
    };
    data.map(|data| data.join("dyrelu/models"))
}

/// The folders to search for networks, in order of precedence, each with what it is.
fn folders() -> Vec<(&'static str, PathBuf)> {
    let mut folders = Vec::new();
    folders.extend(std::env::var_os("DYRELU_MODELS").map(|set| ("DYRELU_MODELS", set.into())));
    folders.extend(data_folder().map(|folder| ("data folder", folder)));
    if cfg!(unix) {
        let shared = ["/usr/local/share/dyrelu/models", "/usr/share/dyrelu/models"];
        folders.extend(shared.map(|folder| ("system", folder.into())));
    }
    let program = std::env::current_exe().and_then(std::fs::canonicalize).unwrap_or_default();
    if let Some(folder) = program.parent() {
        folders.push(("beside the program", folder.join("models")));
        folders
            .extend(folder.parent().map(|p| ("beside the program", p.join("share/dyrelu/models"))));
    }
    // Cargo builds into the folder `target` of the clone, and sets the variable where it runs programs.
    let clones = program.ancestors().skip(2).take(3).map(Path::to_path_buf);
    let clones = clones.chain(std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from));
    let clones = clones.chain([PathBuf::new()]).filter(|folder| is_clone(folder));
    folders.extend(clones.map(|folder| ("clone", folder.join("models"))));
    let mut seen = BTreeSet::new();
    folders.retain(|(_, folder)| {
        seen.insert(std::fs::canonicalize(folder).unwrap_or_else(|_| folder.clone()))
    });
    folders
}

/// Whether this is a clone of dyrelu, or its unpacked sources.
fn is_clone(folder: &Path) -> bool {
    ["Cargo.toml", "src/cli/zoo.rs"].iter().all(|file| folder.join(file).is_file())
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
