//! Files that are complete or not there.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A file that is written beside its place and takes it when it is complete. Whoever has the old
/// file mapped keeps it; where writing fails, the old file stays and nothing else is left.
pub struct Replacement {
    /// Where the file is to be.
    path: PathBuf,
    /// Where it is meanwhile; absent for what is no file, such as a pipe, which is written to
    /// directly.
    beside: Option<PathBuf>,
    file: File,
}

impl Replacement {
    /// Begins a file that is to be at `path`. A link is followed.
    ///
    /// # Errors
    /// `Io` where it cannot be written.
    pub fn of(path: impl AsRef<Path>) -> Result<Self> {
        let named = path.as_ref();
        let path = fs::canonicalize(named).unwrap_or_else(|_| named.to_path_buf());
        let begun = match fs::metadata(&path) {
            Ok(place) if place.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            Ok(place) if !place.is_file() => {
                File::options().write(true).open(&path).map(|file| (None, file))
            }
            _ => {
                let mut beside = path.clone().into_os_string();
                beside.push(format!(".{}.part", std::process::id()));
                File::create(&beside).map(|file| (Some(beside.into()), file))
            }
        };
        let (beside, file) = begun.map_err(|e| Error::io(named, e))?;
        Ok(Replacement { path, beside, file })
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// `Io` where the system refuses; the file is then gone.
    pub fn keep(mut self) -> Result<()> {
        let Some(beside) = &self.beside else { return Ok(()) };
        let kept = self.file.sync_all().and_then(|()| fs::rename(beside, &self.path));
        kept.map_err(|e| Error::io(&self.path, e))?;
        self.beside = None;
        Ok(())
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

impl Drop for Replacement {
    fn drop(&mut self) {
        if let Some(beside) = &self.beside {
            // There is nobody to tell.
            let _ = fs::remove_file(beside);
        }
    }
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

    #[test]
    fn folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Replacement::of(folder.path()).is_err());
        assert!(Replacement::of(folder.path().join("missing/y")).is_err());
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
