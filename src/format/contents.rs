//! The contents of a file in memory: read into memory of the crate's own, or mapped.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use super::open_regular;
use crate::error::{self, Error, Result};
use crate::tensor::{AlignedBuffer, StableBytes};

/// How the contents of files come into memory.
///
/// Whoever holds an access that maps has promised that the files stay as they are, so that functions
/// which take an access are safe.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    maps: bool,
}

impl Access {
    /// Reads files into memory of the crate's own, so that later changes of a file have no effect.
    ///
    /// A file that the kernel guarantees never to change (a sealed memory file, or one under
    /// fs-verity) is mapped.
    pub const fn read() -> Self {
        Access { maps: false }
    }

    /// Maps files: pages are read when they are first touched, and shared between processes.
    ///
    /// # Safety
    ///
    /// No file that is opened with this access may be written to or truncated, by any process, while
    /// something borrows from its contents: a graph, a plan, or a tensor. Renaming another file over
    /// it is no such change, because the map keeps the old file.
    // The declaration of an unsafe function counts as unsafe code. Its duty is discharged in `map`.
    #[allow(unsafe_code)]
    pub const unsafe fn map() -> Self {
        Access { maps: true }
    }
}

/// The contents of one file. They begin at a multiple of [`ALIGNMENT`](crate::tensor::ALIGNMENT).
/// Clones share them.
#[derive(Clone)]
pub(super) enum Contents {
    Mapped(Arc<Mmap>),
    Owned(Arc<AlignedBuffer>),
}

impl Contents {
    /// Reads or maps the file at `path`.
    ///
    /// # Errors
    ///
    /// [`Io`](error::ErrorKind::Io) if the operating system refuses or memory does not suffice,
    /// [`Input`](error::ErrorKind::Input) if `path` names no regular file.
    pub(super) fn open(path: &Path, access: Access) -> Result<Self> {
        let file = open_regular(path)?;
        let len = file.metadata().map_err(|e| Error::io(path, e))?.len();
        if len == 0 {
            // An empty map is an error on some systems.
            return Self::copy_of(&[]);
        }
        if access.maps {
            return map(&file).map(Contents::mapped).map_err(|e| Error::io(path, e));
        }
        match Mmap::map_if_safe(&file) {
            Ok(map) => Ok(Contents::mapped(map)),
            Err(_) => read(file, len).map(Contents::owned).map_err(|e| e.in_file(path)),
        }
    }

    /// Copies `bytes`.
    ///
    /// # Errors
    ///
    /// [`Io`](error::ErrorKind::Io) if memory does not suffice.
    pub(super) fn copy_of(bytes: &[u8]) -> Result<Self> {
        let mut copy = buffer(bytes.len() as u64)?;
        copy.as_mut_bytes().copy_from_slice(bytes);
        Ok(Contents::owned(copy))
    }

    fn mapped(map: Mmap) -> Self {
        Contents::Mapped(Arc::new(map))
    }

    fn owned(buffer: AlignedBuffer) -> Self {
        Contents::Owned(Arc::new(buffer))
    }

    /// Tells the system that all of `range` will be read soon, so that it maps the pages at once
    /// rather than one by one as they are touched.
    pub(super) fn will_read(&self, range: Range<usize>) {
        #[cfg(target_os = "linux")]
        if let Contents::Mapped(map) = self
            && !range.is_empty()
            && range.end <= map.len()
        {
            // Older systems do not know this advice, and do without it.
            let populate = memmap2::Advice::PopulateRead;
            let _ = map.advise_range(populate, range.start, range.len());
        }
        #[cfg(not(target_os = "linux"))]
        let _ = range;
    }
}

impl AsRef<[u8]> for Contents {
    fn as_ref(&self) -> &[u8] {
        match self {
            Contents::Mapped(map) => map,
            Contents::Owned(buffer) => AlignedBuffer::as_ref(buffer),
        }
    }
}

// SAFETY: the memory is allocated or mapped once; that a mapped file does not change is what the
// caller of `Access::map` promises.
#[allow(unsafe_code)]
unsafe impl StableBytes for Contents {
    fn stable_bytes(&self) -> &[u8] {
        self.as_ref()
    }
}

/// The files that the tensors of a graph borrow from.
#[derive(Clone, Default)]
pub struct SourceFiles(Vec<Contents>);

impl SourceFiles {
    pub(super) fn new(files: Vec<Contents>) -> Self {
        SourceFiles(files)
    }

    /// Returns the pages of mapped files that have been read so far to the system. They are read
    /// from the page cache again if they are needed.
    ///
    /// A process that packs the weights of a file would otherwise hold the whole file beside them.
    #[allow(unsafe_code)]
    pub fn release_pages(&self) {
        #[cfg(target_os = "linux")]
        for contents in &self.0 {
            if let Contents::Mapped(map) = contents {
                // SAFETY: the advice drops changes that were made through the map. There are none,
                // since this module maps files for reading only, so that every byte is afterwards
                // read from the file as before.
                let _ = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
            }
        }
    }
}

#[allow(unsafe_code)]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the file must not change while it is mapped. Only an `Access` that maps leads here, and
    // whoever made it promised that in `Access::map`.
    unsafe { Mmap::map(file) }
}

/// Reads the first `len` bytes of `file`. What is written to it meanwhile may be part of the result;
/// every reader of a format checks what it finds.
fn read(mut file: File, len: u64) -> Result<AlignedBuffer> {
    let mut contents = buffer(len)?;
    file.read_exact(contents.as_mut_bytes()).map_err(|e| {
        let message = match e.kind() {
            ErrorKind::UnexpectedEof => "the file became shorter while it was read".to_string(),
            _ => e.to_string(),
        };
        Error::new(error::ErrorKind::Io, message).because(e)
    })?;
    Ok(contents)
}

fn buffer(len: u64) -> Result<AlignedBuffer> {
    let buffer = usize::try_from(len).ok().and_then(AlignedBuffer::try_zeroed);
    buffer.ok_or_else(|| {
        let message = format!("there is not enough memory for its {len} bytes");
        Error::new(error::ErrorKind::Io, message)
    })
}

/// Where the contents of a file come from.
#[cfg_attr(not(feature = "onnx"), allow(dead_code))]
pub struct Place<'p> {
    pub path: &'p Path,
    pub data_root: Option<&'p Path>,
    pub access: Access,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::ALIGNMENT;

    #[track_caller]
    fn check(path: &Path, access: Access, is_mapped: bool) {
        let contents = Contents::open(path, access).unwrap();
        assert_eq!(contents.as_ref(), [7; 100]);
        assert_eq!(contents.as_ref().as_ptr().addr() % ALIGNMENT, 0);
        assert_eq!(matches!(contents, Contents::Mapped(_)), is_mapped);
    }

    #[test]
    #[allow(unsafe_code)]
    fn files_are_read_or_mapped_as_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, [7; 100]).unwrap();
        check(&path, Access::read(), false);
        // SAFETY: nothing writes to the file before the end of this test.
        check(&path, unsafe { Access::map() }, true);
        std::fs::write(&path, []).unwrap();
        assert!(Contents::open(&path, Access::read()).unwrap().as_ref().is_empty());
    }

    #[test]
    #[allow(unsafe_code)]
    fn released_pages_are_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let bytes: Vec<u8> = (0..100_000).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        // SAFETY: nothing writes to the file before the end of this test.
        for access in [Access::read(), unsafe { Access::map() }] {
            let contents = Contents::open(&path, access).unwrap();
            let files = SourceFiles::new(vec![contents.clone()]);
            for _ in 0..2 {
                assert_eq!(contents.as_ref(), bytes);
                files.release_pages();
            }
            assert_eq!(contents.as_ref(), bytes);
        }
    }

    #[test]
    fn what_was_read_stays_when_the_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, [7; 100]).unwrap();
        let contents = Contents::open(&path, Access::read()).unwrap();
        std::fs::write(&path, [1; 10]).unwrap();
        assert_eq!(contents.as_ref(), [7; 100]);
    }

    #[test]
    fn a_file_that_becomes_shorter_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, [7; 100]).unwrap();
        let error = read(File::open(&path).unwrap(), 101).err().unwrap();
        assert!(error.to_string().contains("became shorter"), "{error}");
    }

    /// The kernel guarantees that nothing changes a memory file with these seals.
    #[cfg(target_os = "linux")]
    #[test]
    fn sealed_files_are_mapped_by_safe_code() {
        use std::io::Write;
        use std::os::fd::AsRawFd;

        use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

        let sealed = memfd_create("sealed", MemfdFlags::ALLOW_SEALING).unwrap();
        let mut sealed = File::from(sealed);
        sealed.write_all(&[7; 100]).unwrap();
        let path = format!("/proc/self/fd/{}", sealed.as_raw_fd());
        check(Path::new(&path), Access::read(), false);
        fcntl_add_seals(&sealed, SealFlags::SHRINK | SealFlags::WRITE).unwrap();
        check(Path::new(&path), Access::read(), true);
    }
}
