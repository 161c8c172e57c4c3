//! An array of embeddings in a .npy file, which grows by a row per photo.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::output::has_contents;
use crate::cli::support::npy::{self, Header};
use dyrelu::{DType, Error, Result};

/// A .npy file of `[photos, features]`. It is an array of all photos whose rows are complete at any time.
pub struct ArrayFile {
    path: PathBuf,
    file: File,
    features: usize,
    photos: u64,
}

/// The length of the header of an array with two axes, whatever their sizes.
const HEADER_BYTES: usize = 128;

impl ArrayFile {
    /// Creates the file at `path`, or continues it after `photos` photos if `resume` is set.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](dyrelu::ErrorKind::Io) if the file cannot be written, and
    /// [`ErrorKind::Input`](dyrelu::ErrorKind::Input) if it has contents and `resume` is not set, or if it
    /// is no array of these photos.
    pub fn open(path: &Path, features: usize, resume: bool, photos: u64) -> Result<Self> {
        let io = |e| Error::io(path, e);
        let mut options = File::options();
        let options = options.read(true).write(true).create(photos == 0).truncate(false);
        let mut array = ArrayFile {
            path: path.into(),
            file: options.open(path).map_err(io)?,
            features,
            photos,
        };
        let length = array.file.metadata().map_err(io)?.len();
        if length > 0 && !resume {
            return Err(has_contents(path));
        }
        // A command that is killed may leave a row that has no line in the list yet.
        let continued = match array.rows(length).map_err(io)? {
            Some(rows) => rows >= photos && (photos > 0 || rows <= 1),
            None => length == 0 && photos == 0,
        };
        if !continued {
            let what = format!("an array of {photos} photos with {features} features of 32 bits");
            let message = format!("the file cannot be continued: the list beside it needs {what}");
            return Err(Error::input(message).in_file(path));
        }
        array.end_here().map_err(io)?;
        Ok(array)
    }

    /// The number of complete rows in a file of `length` bytes, `None` if they are not of this kind.
    fn rows(&mut self, length: u64) -> std::io::Result<Option<u64>> {
        let mut start = Vec::new();
        (&self.file).take(HEADER_BYTES as u64).read_to_end(&mut start)?;
        let Ok((Header { dtype, native, shape, fortran_order }, HEADER_BYTES)) = npy::read(&start)
        else {
            return Ok(None);
        };
        let is_ours = dtype == DType::F32 && native && !fortran_order && shape.len() == 2;
        let row = self.row_bytes();
        let rows = (length - HEADER_BYTES as u64).checked_div(row).unwrap_or(0);
        Ok((is_ours && shape[1] == self.features).then_some(rows))
    }

    fn row_bytes(&self) -> u64 {
        4 * self.features as u64
    }

    /// Adds the embedding of a photo, or a row of NaN for one that failed.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](dyrelu::ErrorKind::Io) if it cannot be written. The file then ends with the row
    /// before.
    pub fn add(&mut self, embedding: Option<&[f32]>) -> Result<()> {
        let bytes: Vec<u8> = match embedding {
            Some(embedding) => embedding.iter().flat_map(|v| v.to_ne_bytes()).collect(),
            None => f32::NAN.to_ne_bytes().repeat(self.features),
        };
        if let Err(e) = self.file.write_all(&bytes) {
            // Nothing can be done if a part of a row stays; readers ignore it.
            let _ = self.end_here();
            return Err(Error::io(&self.path, e));
        }
        self.photos += 1;
        self.end_here().map_err(|e| Error::io(&self.path, e))
    }

    /// Makes the system store the file.
    pub fn finish(self) -> Result<()> {
        self.file.sync_all().map_err(|e| Error::io(self.path, e))
    }

    /// Makes the file an array of the photos so far, and goes to its end.
    fn end_here(&mut self) -> std::io::Result<()> {
        let header = npy::header(DType::F32, &[self.photos as usize, self.features]);
        let header = header.expect("arrays of this type have a header");
        debug_assert_eq!(header.len(), HEADER_BYTES);
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&header)?;
        let end = HEADER_BYTES as u64 + self.photos * self.row_bytes();
        self.file.set_len(end)?;
        self.file.seek(SeekFrom::Start(end)).map(|_| ())
    }
}
