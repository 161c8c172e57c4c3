//! Which files of a folder are models.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Reason};

/// The files that a version of a model may be read from.
pub struct Found(Vec<PathBuf>);

impl Found {
    /// Returns the file, if there is only one.
    pub fn only(&self) -> Result<&Path, Failure> {
        match &self.0[..] {
            [path] => Ok(path),
            several => {
                let several = several.iter().map(|path| path.display().to_string());
                let several = several.collect::<Vec<_>>().join(" and ");
                Err(Failure::invalid(format!("{several} are the same version, keep one of them")))
            }
        }
    }
}

/// Returns the models in a folder and their versions: `NAME/NUMBER/model.onnx`, and `NAME.onnx` as version 1;
/// each also with the ending `safetensors`. Names with a leading dot are skipped.
pub fn scan(folder: &Path) -> Result<BTreeMap<String, BTreeMap<u64, Found>>, Failure> {
    let mut models: BTreeMap<String, BTreeMap<u64, Found>> = BTreeMap::new();
    let mut add = |name: &str, number, path| {
        let versions = models.entry(name.to_string()).or_default();
        versions.entry(number).or_insert(Found(Vec::new())).0.push(path);
    };
    for (name, path) in entries(folder)? {
        if path.is_dir() {
            for (number, path) in entries(&path)? {
                let Ok(number) = number.parse() else { continue };
                for file in FILES {
                    let path = path.join(file);
                    if path.is_file() {
                        add(&name, number, path);
                    }
                }
            }
        } else if let Some((name, "onnx" | "safetensors")) = name.rsplit_once('.') {
            add(name, 1, path);
        }
    }
    Ok(models)
}

const FILES: [&str; 2] = ["model.onnx", "model.safetensors"];

/// Returns the names and paths in a folder, in the order of their names.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, Failure> {
    let failed =
        |e| Failure::new(Reason::Internal, format!("{} cannot be listed: {e}", folder.display()));
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if let Some(name) = entry.file_name().to_str().filter(|name| !name.starts_with('.')) {
            entries.push((name.to_string(), entry.path()));
        }
    }
    entries.sort();
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_found_and_other_files_are_not() {
        let folder = tempfile::tempdir().unwrap();
        for path in [
            "b.onnx",
            "a/3/model.onnx",
            "a/12/model.safetensors",
            "a/latest/model.onnx",
            "a/4/readme.md",
            "twice.onnx",
            "twice/1/model.onnx",
            "notes.txt",
            ".hidden.onnx",
        ] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let found = scan(folder.path()).unwrap();
        let versions: Vec<(&str, Vec<u64>)> =
            found.iter().map(|(name, v)| (name.as_str(), v.keys().copied().collect())).collect();
        assert_eq!(versions, [("a", vec![3, 12]), ("b", vec![1]), ("twice", vec![1])]);
        assert!(found["a"][&12].only().unwrap().ends_with("a/12/model.safetensors"));
        let message = found["twice"][&1].only().unwrap_err().message;
        assert!(message.contains("are the same version"), "{message}");
    }
}
