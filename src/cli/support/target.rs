//! Checks that results can be written, before the work that makes them.

use std::path::Path;

use dyrelu::format::Replacement;
use dyrelu::{Error, Result};

/// Checks that a file can be written to `path`.
pub fn check_file(path: &Path) -> Result<()> {
    Replacement::of(path).map(drop)
}

/// Checks that `path` is a folder, or that one can be created there as far as no file is in the way.
pub fn check_folder(path: &Path) -> Result<()> {
    match path.ancestors().find(|place| place.exists()) {
        Some(place) if !place.is_dir() => {
            Err(Error::input("expected a folder, found a file").in_file(place))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_no_folder_to_write_to() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(check_folder(folder.path()).is_ok());
        assert!(check_folder(&folder.path().join("new/folder")).is_ok());
        for place in [&file, &file.join("new")] {
            assert_eq!(check_folder(place).unwrap_err().file(), Some(file.as_path()));
        }
        assert!(check_file(&file).is_ok() && check_file(&folder.path().join("new")).is_ok());
        assert!(check_file(folder.path()).is_err() && check_file(&file.join("new")).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
