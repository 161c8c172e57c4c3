//! External data: files beside a model that hold its tensors.
//!
//! A model must not be able to read files that are not its own. The location that it states is relative to
//! the model's folder and must not leave it. Links on the way must end in one of three folders: the model's,
//! the one of the model's target if the model is a link itself (as in the cache of Hugging Face), or one that
//! the user allows.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::proto;
use crate::error::{Error, Result};
use crate::format::Access;
use crate::format::contents::Contents;
use crate::format::contents::Place;
use crate::tensor::Storage;

/// The data files of one model, each opened once.
pub(super) struct ExternalFiles {
    folder: PathBuf,
    /// Folders in or under which files may lie, with all links resolved.
    allowed: Vec<PathBuf>,
    access: Access,
    opened: HashMap<PathBuf, (Contents, Storage)>,
}

impl ExternalFiles {
    /// The data files of the model at a place.
    ///
    /// # Errors
    ///
    /// [`Io`](crate::ErrorKind::Io) if the root that the user allows is no folder.
    pub(super) fn of_model(place: Place) -> Result<Self> {
        let Place { path, data_root, access } = place;
        let mut files = Self::in_folder(path.parent().unwrap_or(Path::new("")), access);
        if let Ok(target) = fs::canonicalize(path) {
            files.allowed.extend(target.parent().map(Path::to_path_buf));
        }
        if let Some(root) = data_root {
            files.allowed.push(fs::canonicalize(root).map_err(|e| Error::io(root, e))?);
        }
        Ok(files)
    }

    /// The files in or under `folder`. An empty path is the current folder.
    pub(super) fn in_folder(folder: &Path, access: Access) -> Self {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let allowed = fs::canonicalize(folder).into_iter().collect();
        ExternalFiles { folder: folder.to_path_buf(), allowed, access, opened: HashMap::new() }
    }

    /// Returns the `expected` bytes that `entries` describe.
    ///
    /// # Errors
    ///
    /// [`Format`](crate::ErrorKind::Format) if the entries make no sense,
    /// [`Input`](crate::ErrorKind::Input) if the file is none of the model's own,
    /// [`Io`](crate::ErrorKind::Io) if it cannot be read.
    pub(super) fn bytes(
        &mut self,
        entries: &[proto::StringEntry],
        expected: usize,
    ) -> Result<Storage> {
        let number = |key: &str| {
            let parse = |text: &str| {
                let message = || Error::format(format!("its {key} {text:?} is no number"));
                text.parse::<usize>().map_err(|_| message())
            };
            entry(entries, key).map(parse).transpose()
        };
        let location = location(entries)?;
        let (path, file) = self.file(location)?;
        let offset = number("offset")?.unwrap_or(0);
        let length = number("length")?.unwrap_or(expected);
        if length != expected {
            return Err(Error::format(format!(
                "its shape needs {expected} bytes, its length is {length}"
            )));
        }
        let range = offset.checked_add(length).map(|end| offset..end);
        range.and_then(|range| file.slice(range)).ok_or_else(|| {
            Error::format(format!(
                "bytes {offset} and on, {length} of them, leave {}, which has {}",
                path.display(),
                file.len()
            ))
        })
    }

    /// Returns the path by which the model names the file at a location, and its contents.
    fn file(&mut self, location: &str) -> Result<(PathBuf, &Storage)> {
        let inside = inside(Path::new(location)).ok_or_else(|| {
            Error::format(format!(
                "its location {location:?} leaves the folder of the model; only files in it or under \
                 it are read"
            ))
        })?;
        let path = self.folder.join(inside);
        let of_file = |e: Error| {
            Error::new(e.kind(), format!("its data file {}: {}", path.display(), e.message()))
        };
        let target = fs::canonicalize(&path).map_err(|e| of_file(Error::io(&path, e)))?;
        if !self.allowed.iter().any(|folder| target.starts_with(folder)) {
            return Err(of_file(Error::input(format!(
                "it is a link to {}, outside the folder of the model; move that file there, or allow \
                 its folder as the root of external data",
                target.display()
            ))));
        }
        let file = match self.opened.entry(target) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(entry) => {
                let contents = Contents::open(entry.key(), self.access).map_err(of_file)?;
                let storage = Storage::new(Arc::new(contents.clone()));
                entry.insert((contents, storage))
            }
        };
        Ok((path, &file.1))
    }

    /// Returns the contents of the files that were read.
    pub(super) fn into_contents(self) -> impl Iterator<Item = Contents> {
        self.opened.into_values().map(|(contents, _)| contents)
    }
}

fn entry<'e>(entries: &'e [proto::StringEntry], key: &str) -> Option<&'e str> {
    entries.iter().find(|e| e.key == key).map(|e| e.value.as_str())
}

/// Returns the location that entries state.
pub(super) fn location(entries: &[proto::StringEntry]) -> Result<&str> {
    entry(entries, "location").ok_or_else(|| Error::format("it is external but names no location"))
}

/// Returns a relative path without `..`, `None` if it leaves the folder that it begins in.
fn inside(path: &Path) -> Option<PathBuf> {
    let mut inside = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => inside.push(name),
            Component::CurDir => {}
            // `pop` fails at the beginning: the path leaves the folder.
            Component::ParentDir if inside.pop() => {}
            _ => return None,
        }
    }
    Some(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_stay_inside_their_folder() {
        for (location, want) in [
            ("x", Some("x")),
            ("./x", Some("x")),
            ("sub/x", Some("sub/x")),
            ("sub/../x", Some("x")),
            ("a/b/../../x", Some("x")),
            ("../x", None),
            ("sub/../../x", None),
            ("sub/../../sub/x", None),
            ("/x", None),
        ] {
            assert_eq!(inside(Path::new(location)), want.map(PathBuf::from), "{location}");
        }
    }

    fn place<'p>(path: &'p Path, data_root: Option<&'p Path>) -> Place<'p> {
        Place { path, data_root, access: Access::read() }
    }

    fn location_of(name: &str) -> [proto::StringEntry; 1] {
        [proto::StringEntry { key: "location".into(), value: name.into() }]
    }

    /// The cache of Hugging Face names files by checksums, and has links with their names.
    #[cfg(unix)]
    #[test]
    fn links_end_beside_the_model_or_where_it_is_allowed() {
        use std::os::unix::fs::symlink;
        let top = tempfile::tempdir().unwrap();
        let path = |name: &str| top.path().join(name);
        for folder in ["blobs", "snapshots/1", "elsewhere"] {
            fs::create_dir_all(path(folder)).unwrap();
        }
        for (name, bytes) in [("blobs/a", "net"), ("blobs/b", "data"), ("elsewhere/c", "data")] {
            fs::write(path(name), bytes).unwrap();
        }
        symlink("../../blobs/a", path("snapshots/1/model.onnx")).unwrap();
        symlink("../../blobs/b", path("snapshots/1/model.onnx_data")).unwrap();
        symlink("../../elsewhere/c", path("snapshots/1/far")).unwrap();
        symlink("../elsewhere", path("blobs/folder")).unwrap();
        symlink("model.onnx_data", path("snapshots/1/again")).unwrap();
        fs::write(path("snapshots/1/plain.onnx"), "net").unwrap();

        let model = path("snapshots/1/model.onnx");
        let read = |model: &Path, root: Option<&Path>, name: &str| {
            let mut files = ExternalFiles::of_model(place(model, root)).unwrap();
            files.bytes(&location_of(name), 4).map(|storage| storage.bytes().to_vec())
        };
        for name in ["model.onnx_data", "again", "./sub/../model.onnx_data"] {
            assert_eq!(read(&model, None, name).unwrap(), b"data", "{name}");
        }
        // A model that is no link may read its own folder only.
        for (model, name) in [
            (&model, "far"),
            (&path("snapshots/1/plain.onnx"), "model.onnx_data"),
            (&path("blobs/a"), "folder/c"),
        ] {
            let error = read(model, None, name).unwrap_err().to_string();
            assert!(error.contains("outside the folder of the model"), "{error}");
            assert!(error.contains(name), "{error}");
        }
        let root = path("elsewhere");
        assert_eq!(read(&model, Some(&root), "far").unwrap(), b"data");
        assert_eq!(read(&path("blobs/a"), Some(&root), "folder/c").unwrap(), b"data");
        let missing = ExternalFiles::of_model(place(&model, Some(&path("nowhere"))));
        assert!(missing.is_err());
    }

    /// Opening a pipe would wait.
    #[cfg(unix)]
    #[test]
    fn special_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let mut files = ExternalFiles::in_folder(folder.path(), Access::read());
        let error = files.bytes(&location_of("pipe"), 4).err().unwrap().to_string();
        assert!(error.contains("expected a file, found a pipe"), "{error}");
    }
}
