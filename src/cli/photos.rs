//! Collects the photos that arguments, lists and folders name.

use std::io::Read;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::print_stderr;
use dyrelu::format::{read_regular, strip_mark};
use dyrelu::{Error, ErrorKind, Result};

#[derive(clap::Args)]
pub(super) struct Sources {
    /// File with one path per line, in UTF-8 or in the encoding of the system; - is standard input.
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
    /// Also search folders that are reached through symbolic links.
    #[arg(long)]
    follow: bool,
    /// Photos, and folders to search for photos; - reads paths from standard input.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// Photos to classify.
#[derive(Default)]
pub(super) struct Photos {
    /// In the order of the arguments. The photos of a folder are sorted by name.
    pub paths: Vec<PathBuf>,
    /// One error per folder that has no photos or cannot be read.
    pub failures: Vec<Error>,
}

/// The extensions of files that count as photos in a folder.
const EXTENSIONS: [&str; 10] =
    ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "gif", "tif", "tiff"];

/// Collects the photos that the arguments name.
///
/// # Errors
/// [`ErrorKind::Io`] or [`ErrorKind::Format`] if a list cannot be read, [`ErrorKind::Input`] if
/// nothing was named.
pub(super) fn collect(sources: &Sources) -> Result<Photos> {
    let mut named = Vec::new();
    let lists = sources.list.iter().map(|list| (list, true));
    for (path, is_list) in lists.chain(sources.paths.iter().map(|path| (path, false))) {
        if path.as_os_str() == "-" {
            let mut lines = Vec::new();
            let stdin = std::io::stdin().lock().read_to_end(&mut lines);
            stdin.map_err(|e| Error::io("standard input", e))?;
            named.extend(paths_in(&lines).map_err(|e| e.in_file("standard input"))?);
        } else if is_list {
            let lines = read_regular(path)?;
            named.extend(paths_in(&lines).map_err(|e| e.in_file(path))?);
        } else {
            named.push(path.clone());
        }
    }
    let mut photos = Photos::default();
    for path in named {
        if path.is_dir() {
            photos.search(&path, sources.follow);
        } else {
            photos.paths.push(path);
        }
    }
    if photos.paths.is_empty() && photos.failures.is_empty() {
        return Err(Error::input("no photos were named; give files, folders, --list or -"));
    }
    Ok(photos)
}

impl Photos {
    /// Adds the photos in a folder and its subfolders.
    fn search(&mut self, folder: &Path, follow: bool) {
        let (photos, failures) = (self.paths.len(), self.failures.len());
        for entry in WalkDir::new(folder).follow_links(follow).sort_by_file_name() {
            match entry {
                Ok(entry) if is_photo(&entry) => self.paths.push(entry.into_path()),
                Ok(entry) if is_linked_folder(&entry) => print_stderr(format_args!(
                    "note: {} is a link to a folder and was skipped; --follow searches it",
                    entry.path().display()
                )),
                Ok(_) => {}
                Err(e) => self.failures.push(unreadable(folder, e)),
            }
        }
        if self.paths.len() == photos && self.failures.len() == failures {
            let empty = Error::input("there are no photos in this folder");
            self.failures.push(empty.in_file(folder));
        }
    }
}

fn is_photo(entry: &DirEntry) -> bool {
    let extension = entry.path().extension().map(|e| e.to_string_lossy().to_lowercase());
    extension.is_some_and(|e| EXTENSIONS.contains(&e.as_str()))
        && !entry.file_type().is_dir()
        && !is_linked_folder(entry)
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

/// The paths in a list, one per line. Empty lines are skipped.
fn paths_in(list: &[u8]) -> Result<Vec<PathBuf>> {
    let lines = strip_mark(list)?.split(|&byte| byte == b'\n');
    let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.filter(|line| !line.is_empty()).map(as_path).collect()
}

/// The path with these bytes, which on Unix need not be UTF-8.
#[cfg(unix)]
fn as_path(bytes: &[u8]) -> Result<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    Ok(std::ffi::OsStr::from_bytes(bytes).into())
}

#[cfg(not(unix))]
fn as_path(bytes: &[u8]) -> Result<PathBuf> {
    let text = std::str::from_utf8(bytes);
    text.map(PathBuf::from).map_err(|_| Error::format("a path in the list is not valid UTF-8"))
}
