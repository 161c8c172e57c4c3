//! Networks that have a name: where they are searched for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use dyrelu::{Error, Result};

/// The name of the network that commands use by default.
pub const DEFAULT: &str = "efficientnet-lite0-dyrelu-b";

/// The name of the network that commands use for key points by default.
pub const DEFAULT_KEYPOINTS: &str = "movenet-lightning-dyrelu-c";

/// The extensions of network files.
const EXTENSIONS: [&str; 2] = ["safetensors", "onnx"];

/// The file of a network given by its path or name, or of the default network.
pub fn find(model: Option<&Path>) -> Result<PathBuf> {
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
pub fn networks() -> BTreeMap<String, PathBuf> {
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
pub fn data_folder() -> Option<PathBuf> {
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
pub fn folders() -> Vec<(&'static str, PathBuf)> {
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
    ["Cargo.toml", "models/SHA256SUMS"].iter().all(|file| folder.join(file).is_file())
}
