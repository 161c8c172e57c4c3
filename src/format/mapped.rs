//! Files as memory.

use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;

use super::open_regular;
use crate::error::{Error, Result};

/// The contents of a file, mapped and not read.
///
/// The file must not change while it is mapped. Replacing it by a rename is safe: the map keeps
/// the old file. Truncating it in place ends the process with `SIGBUS` at the next access beyond
/// its new end; writing into it changes weights under a running network.
pub(super) struct Mapped(Option<Mmap>);

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
        Ok(Mapped(Some(map)))
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
        self.0.as_deref().unwrap_or(&[])
    }
}
