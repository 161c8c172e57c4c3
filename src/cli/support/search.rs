//! Searches a folder for photos, or for those that a pattern names.

use std::path::{Component, Path, PathBuf};

use glob::{MatchOptions, Pattern};
use walkdir::{DirEntry, WalkDir};

use dyrelu::{Error, ErrorKind};

/// Which files and folders are searched.
#[derive(Clone, Copy)]
pub struct Extent {
    /// Also folders that are reached through symbolic links.
    pub follow: bool,
    /// Also files and folders whose names begin with a dot.
    pub hidden: bool,
}

/// What a [`Search`] finds.
pub enum Entry {
    Photo(PathBuf),
    /// A link to a folder, which was not searched.
    LinkedFolder(PathBuf),
    /// A folder that has no photos or cannot be read.
    Failure(Error),
}

/// The photos in a folder and its subfolders, sorted by name.
pub struct Search {
    /// The folder or the pattern, as it was given.
    name: PathBuf,
    entries: walkdir::IntoIter,
    pattern: Option<(Pattern, MatchOptions)>,
    hidden: bool,
    /// Whether hidden photos or folders were left out.
    left_out: bool,
    /// Whether nothing has been found so far.
    is_empty: bool,
}

/// The extensions of files that count as photos in a folder.
const EXTENSIONS: [&str; 10] =
    ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "gif", "tif", "tiff"];

/// What distinguishes a pattern from a path.
const WILDCARDS: [char; 3] = ['*', '?', '['];

impl Search {
    pub fn folder(path: PathBuf, extent: Extent) -> Self {
        let entries = WalkDir::new(&path).follow_links(extent.follow).sort_by_file_name();
        Search {
            name: path,
            entries: entries.into_iter(),
            pattern: None,
            hidden: extent.hidden,
            left_out: false,
            is_empty: true,
        }
    }

    /// Searches for the photos whose paths match `path`. Returns `None` if that is no pattern, or the path of
    /// a file.
    pub fn pattern(path: &Path, extent: Extent) -> Option<Self> {
        if !path.to_str()?.contains(WILDCARDS) || path.symlink_metadata().is_ok() {
            return None;
        }
        let parts: Vec<Component> = path.components().collect();
        let pattern = Pattern::new(parts.iter().collect::<PathBuf>().to_str()?).ok()?;
        let varies = |part: &Component| part.as_os_str().to_string_lossy().contains(WILDCARDS);
        let fixed = parts.iter().position(varies)?;
        let (folder, varying) = parts.split_at(fixed);
        let folder: PathBuf = match folder {
            [] => ".".into(),
            folder => folder.iter().collect(),
        };
        let is_deep = varying.iter().any(|part| part.as_os_str() == "**");
        let options = MatchOptions {
            case_sensitive: true,
            require_literal_separator: true,
            require_literal_leading_dot: !extent.hidden,
        };
        let mut entries = WalkDir::new(&folder).follow_links(extent.follow).sort_by_file_name();
        if !is_deep {
            entries = entries.max_depth(varying.len());
        }
        Some(Search {
            name: path.to_path_buf(),
            entries: entries.into_iter(),
            pattern: Some((pattern, options)),
            hidden: extent.hidden || varying.iter().any(|part| is_hidden(part.as_os_str())),
            left_out: false,
            is_empty: true,
        })
    }

    /// The path of an entry as it is given out: without the dot at which the search of a pattern begins.
    fn path_of<'a>(&self, entry: &'a DirEntry) -> &'a Path {
        let path = entry.path();
        let begins_with_dot = self.name.starts_with(".");
        match path.strip_prefix(".") {
            Ok(stripped) if self.pattern.is_some() && !begins_with_dot => stripped,
            _ => path,
        }
    }

    /// The error if nothing was found.
    fn nothing(&self) -> Error {
        let what = match self.pattern {
            Some(_) => "no photo matches this pattern, and there is no such file",
            None => "there are no photos in this folder",
        };
        let hint = if self.left_out { "; --hidden also searches hidden files" } else { "" };
        Error::input(format!("{what}{hint}")).in_file(&self.name)
    }
}

impl Iterator for Search {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        while let Some(entry) = self.entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(e) => {
                    self.is_empty = false;
                    return Some(Entry::Failure(unreadable(&self.name, e)));
                }
            };
            if entry.depth() > 0 && !self.hidden && is_hidden(entry.file_name()) {
                self.left_out |= entry.file_type().is_dir() || has_extension(&entry);
                if entry.file_type().is_dir() {
                    self.entries.skip_current_dir();
                }
                continue;
            }
            if is_linked_folder(&entry) {
                return Some(Entry::LinkedFolder(entry.into_path()));
            }
            let path = self.path_of(&entry);
            let matches = |(pattern, options): &(Pattern, MatchOptions)| {
                pattern.matches_path_with(path, *options)
            };
            let is_photo = has_extension(&entry) && !entry.file_type().is_dir();
            if is_photo && self.pattern.as_ref().is_none_or(matches) {
                self.is_empty = false;
                return Some(Entry::Photo(path.to_path_buf()));
            }
        }
        std::mem::take(&mut self.is_empty).then(|| Entry::Failure(self.nothing()))
    }
}

fn is_hidden(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

fn has_extension(entry: &DirEntry) -> bool {
    is_photo(entry.path())
}

/// Whether a file has the extension of a photo.
pub fn is_photo(path: &Path) -> bool {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    extension.is_some_and(|e| EXTENSIONS.contains(&e.as_str()))
}

fn is_linked_folder(entry: &DirEntry) -> bool {
    entry.path_is_symlink() && !entry.file_type().is_dir() && entry.path().is_dir()
}

/// The error for an entry of `folder` that could not be read.
fn unreadable(folder: &Path, e: walkdir::Error) -> Error {
    let path = e.path().unwrap_or(folder).to_path_buf();
    if let Some(ancestor) = e.loop_ancestor() {
        let message = format!("this link leads back to {}, which contains it", ancestor.display());
        return Error::input(message).in_file(path);
    }
    match e.into_io_error() {
        Some(e) => Error::io(path, e),
        None => Error::new(ErrorKind::Io, "the folder cannot be read").in_file(path),
    }
}
