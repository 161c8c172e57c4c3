//! Files as memory.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use super::open_regular;
use crate::error::{Error, Result};

/// The contents of a file, mapped and not read.
///
/// The file must not change while it is mapped. Replacing it by a rename is safe: the map keeps
/// the old file. Truncating it in place ends the process with `SIGBUS` at the next access beyond
/// its new end; writing into it changes weights under a running network.
#[derive(Clone)]
pub(super) struct Mapped(Option<Arc<Mmap>>);

impl Mapped {
    /// Maps the file at `path` for reading.
    ///
    /// # Errors
    /// `Io` where the operating system refuses, `Input` where `path` names no regular file.
    #[allow(unsafe_code)]
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = open_regular(path)?;
        if file.metadata().map_err(|e| Error::io(path, e))?.len() == 0 {
            return Ok(Mapped(None));
        }
        // SAFETY: the map is read-only and private. That nobody changes the file meanwhile cannot
        // be checked; it is the documented duty of whoever opens a model, and every value read
        // from the bytes is checked before it is used as a size or an offset.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::io(path, e))?;
        Ok(Mapped(Some(Arc::new(map))))
    }

    /// Says that all of `range` will be read soon: the system then maps it at once, and not a few
    /// pages at a time as they are touched.
    pub(super) fn will_read(&self, range: Range<usize>) {
        #[cfg(target_os = "linux")]
        if let Some(map) = &self.0
            && !range.is_empty()
            && range.end <= map.len()
        {
            // A wish: older systems do not know it.
            let populate = memmap2::Advice::PopulateRead;
            let _ = map.advise_range(populate, range.start, range.len());
        }
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |map| &map[..])
    }
}

/// The mapped files that the tensors of a graph borrow from.
#[derive(Clone, Default)]
pub struct MappedFiles(Vec<Mapped>);

impl MappedFiles {
    pub(super) fn new(files: Vec<Mapped>) -> Self {
        MappedFiles(files)
    }

    /// Gives the pages of all files that have been read so far back to the system. The bytes stay
    /// readable: they come from the page cache again.
    ///
    /// A process that packs the weights of a file otherwise holds the whole file beside them.
    #[allow(unsafe_code)]
    pub fn release_pages(&self) {
        #[cfg(target_os = "linux")]
        for map in self.0.iter().filter_map(|file| file.0.as_ref()) {
            // SAFETY: the advice makes bytes of a map change where they differ from those of the
            // file. `Mapped::open` maps files for reading only, and nothing else makes this map:
            // it has no bytes of its own, and a read after the advice gives the file's as before.
            let _ = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn released_pages_are_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let bytes: Vec<u8> = (0..100_000).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let file = Mapped::open(&path).unwrap();
        let files = MappedFiles::new(vec![file.clone(), Mapped(None)]);
        for _ in 0..2 {
            assert_eq!(file.as_ref(), bytes);
            files.release_pages();
        }
        assert_eq!(file.as_ref(), bytes);
    }
}
