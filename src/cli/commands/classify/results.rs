//! Where the results of photos go, in each format.

use std::path::Path;

use super::array::ArrayFile;
use super::output::{Done, Output};
#[cfg(feature = "parquet")]
use super::parquet::ParquetFile;
use super::rows::Rows;
use crate::cli::support::photos::Source;
use dyrelu::vision::Classified;
use dyrelu::{Error, Result};

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Text for people.
    Text,
    /// An object per line and photo, with path and either predictions or error.
    Json,
    /// A row per prediction.
    Csv,
    /// An array of embeddings, and the other results in JSON beside it.
    Npy,
    /// A row per prediction. Only if dyrelu was built with its feature parquet.
    Parquet,
}

impl Format {
    /// The format of a file by its extension.
    pub fn of_file(path: &Path) -> Self {
        match path.extension().map(|e| e.to_string_lossy().to_lowercase()).as_deref() {
            Some("csv") => Format::Csv,
            Some("json" | "jsonl" | "ndjson") => Format::Json,
            Some("npy") => Format::Npy,
            Some("parquet") => Format::Parquet,
            _ => Format::Text,
        }
    }
}

/// Where results go.
pub enum Results {
    Rows(Rows, Output),
    /// Rows and the embeddings of the same photos.
    Array(Rows, Output, ArrayFile),
    #[cfg(feature = "parquet")]
    Parquet(Box<ParquetFile>),
}

impl Results {
    /// Opens what results are written to: `path`, or standard output. `features` is the number of
    /// features of an embedding, if there are embeddings.
    ///
    /// # Errors
    /// As [`Output::file`].
    pub fn open(
        format: Format,
        rows: Rows,
        path: Option<&Path>,
        resume: bool,
        features: Option<usize>,
        source: &mut Source,
    ) -> Result<(Self, Done)> {
        match (format, path, features) {
            (Format::Npy, Some(path), Some(features)) => {
                if path.exists() && !path.is_file() {
                    return Err(Error::input("an array is written to a regular file").in_file(path));
                }
                let list = path.with_extension("jsonl");
                let (output, done) = Output::file(&list, resume, &rows, source)?;
                let array = ArrayFile::open(path, features, resume, done.photos)?;
                Ok((Results::Array(rows, output, array), done))
            }
            #[cfg(feature = "parquet")]
            (Format::Parquet, Some(path), features) => {
                let file = Box::new(ParquetFile::create(path, rows, features.is_some())?);
                Ok((Results::Parquet(file), Done::default()))
            }
            (_, Some(path), _) => {
                let (output, done) = Output::file(path, resume, &rows, source)?;
                Ok((Results::Rows(rows, output), done))
            }
            (_, None, _) => {
                let output = Output::standard(&rows)?;
                Ok((Results::Rows(rows, output), Done::default()))
            }
        }
    }

    /// Writes the result of a photo.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](dyrelu::ErrorKind::Io) if it cannot be written.
    pub fn add(&mut self, path: &Path, result: &Result<Classified>) -> Result<()> {
        match self {
            Results::Rows(rows, output) => output.write(&rows.of(path, result)?),
            Results::Array(rows, output, array) => {
                // The list says how many photos are done, so its line comes last.
                array.add(result.as_ref().ok().map(|photo| photo.embedding.as_slice()))?;
                output.write(&rows.of(path, result)?)
            }
            #[cfg(feature = "parquet")]
            Results::Parquet(file) => file.add(path, result),
        }
    }

    /// Makes the system store what was written.
    pub fn finish(self) -> Result<()> {
        match self {
            Results::Rows(_, output) => output.finish(),
            Results::Array(_, output, array) => array.finish().and_then(|()| output.finish()),
            #[cfg(feature = "parquet")]
            Results::Parquet(file) => file.finish(),
        }
    }
}
