//! Output files, which are complete or not there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempPath;

use crate::error::{Error, Result};

/// An output file. It is written beside its destination and renamed over it when it is complete.
///
/// A process that has mapped the old file keeps it. If writing fails, the old file stays and the new one is
/// removed. Until it is renamed, the new file has a random name that no file had before, so that nobody can
/// place a link there in advance.
pub struct Replacement {
    /// The destination.
    path: PathBuf,
    /// The file beside the destination, `None` if the destination is no regular file, such as a pipe,
    /// and written to directly.
    beside: Option<Beside>,
    file: File,
}

impl Replacement {
    /// Creates the output file for `path`, which may be a link to the destination.
    ///
    /// # Errors
    ///
    /// [`Io`](crate::ErrorKind::Io) if it cannot be written.
    pub fn of(path: impl AsRef<Path>) -> Result<Self> {
        let named = path.as_ref();
        let path = fs::canonicalize(named).unwrap_or_else(|_| named.to_path_buf());
        let begun = match fs::metadata(&path) {
            Ok(place) if place.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            Ok(place) if !place.is_file() => {
                File::options().write(true).open(&path).map(|file| (None, file))
            }
            _ => Beside::new(&path).map(|(beside, file)| (Some(beside), file)),
        };
        let (beside, file) = begun.map_err(|e| Error::io(named, e))?;
        Ok(Replacement { path, beside, file })
    }

    /// Renames the file to its destination.
    ///
    /// # Errors
    ///
    /// [`Io`](crate::ErrorKind::Io) if the system refuses, or after [`discard_unfinished`]. The file is
    /// removed then.
    pub fn keep(self) -> Result<()> {
        let Some(beside) = &self.beside else { return Ok(()) };
        let kept = self.file.sync_all().and_then(|()| beside.rename(&self.path));
        kept.map_err(|e| Error::io(&self.path, e))
    }
}

impl Write for Replacement {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Removes the unfinished files of this process, and refuses new ones. A program calls it when a signal ends
/// it, so that no file is left behind.
pub fn discard_unfinished() {
    let mut unfinished = unfinished();
    unfinished.closed = true;
    unfinished.files.clear();
}

/// A file's number in [`Unfinished`]. When it is dropped, the file is removed unless it was
/// [renamed](Self::rename).
struct Beside(u64);

impl Beside {
    /// Creates an empty file in the folder of `path`.
    fn new(path: &Path) -> io::Result<(Self, File)> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut builder = tempfile::Builder::new();
        builder.prefix(".dyrelu-").suffix(".part");
        // The permissions of an ordinary new file, which the process's mask restricts.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut unfinished = unfinished();
        if unfinished.closed {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let folder = folder.unwrap_or(Path::new("."));
        // Errors of `tempfile` name the new file, which means nothing to a user.
        if !fs::metadata(folder)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let (file, at) = builder.tempfile_in(folder)?.into_parts();
        unfinished.begun += 1;
        let number = unfinished.begun;
        unfinished.files.insert(number, at);
        Ok((Beside(number), file))
    }

    fn rename(&self, path: &Path) -> io::Result<()> {
        let mut unfinished = unfinished();
        let file = unfinished.files.remove(&self.0).ok_or(io::ErrorKind::Interrupted)?;
        file.persist(path).map_err(|e| e.error)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        unfinished().files.remove(&self.0);
    }
}

/// The unfinished files of this process. Each is removed when it is dropped.
struct Unfinished {
    files: BTreeMap<u64, TempPath>,
    /// The number of files created so far.
    begun: u64,
    closed: bool,
}

/// Locked while a file is created, renamed or removed, so that a signal meets none of that half done.
static UNFINISHED: Mutex<Unfinished> =
    Mutex::new(Unfinished { files: BTreeMap::new(), begun: 0, closed: false });

fn unfinished() -> MutexGuard<'static, Unfinished> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_when_it_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("y");
        fs::write(&path, "old").unwrap();
        let mut dropped = Replacement::of(&path).unwrap();
        dropped.write_all(b"half").unwrap();
        drop(dropped);
        assert_eq!(
            (names(folder.path()), fs::read(&path).unwrap()),
            (vec!["y".into()], b"old".into())
        );
        let mut kept = Replacement::of(&path).unwrap();
        kept.write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        kept.keep().unwrap();
        assert_eq!(
            (names(folder.path()), fs::read(&path).unwrap()),
            (vec!["y".into()], b"new".into())
        );
    }

    /// Somebody who can write to the folder cannot choose which file is written.
    #[cfg(unix)]
    #[test]
    fn names_are_random_and_modes_ordinary() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("y");
        let (a, b) = (Replacement::of(&path).unwrap(), Replacement::of(&path).unwrap());
        let begun = names(folder.path());
        assert_eq!(begun.len(), 2, "{begun:?}");
        let process = std::process::id().to_string();
        assert!(begun.iter().all(|name| !name.contains(&process)), "{begun:?}");
        drop(a);
        b.keep().unwrap();
        assert_eq!(names(folder.path()), ["y"]);
        let plain = folder.path().join("plain");
        fs::write(&plain, "").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&path), mode(&plain));
    }

    #[test]
    fn folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Replacement::of(folder.path()).is_err());
        let missing = Replacement::of(folder.path().join("missing/y")).err().unwrap().to_string();
        assert!(!missing.contains(".part"), "{missing}");
        assert!(names(folder.path()).is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn links_and_devices_stay_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let [link, target] = ["link", "target"].map(|name| folder.path().join(name));
        fs::write(&target, "old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let mut file = Replacement::of(&link).unwrap();
        file.write_all(b"new").unwrap();
        file.keep().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&target).unwrap(), b"new");
        let mut device = Replacement::of("/dev/null").unwrap();
        device.write_all(b"nothing").unwrap();
        device.keep().unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
