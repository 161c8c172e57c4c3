//! Where rows of results go: standard output, or a file that an interrupted command continues.

use std::fs::{File, TryLockError};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::rows::{Column, RowFormat, Rows};
use crate::cli::support::photos::{Found, Source};
use crate::cli::support::print::output_failed;
use dyrelu::{Error, ErrorKind, Result};

/// Where rows go.
pub enum Output {
    StandardOutput,
    File(OutputFile),
}

/// A file that grows by the whole rows of one photo at a time.
pub struct OutputFile {
    path: PathBuf,
    file: File,
    /// The length of what is complete.
    length: u64,
    is_regular: bool,
}

/// What a file of results holds already.
#[derive(Default)]
pub struct Done {
    /// The photos that have rows.
    pub photos: u64,
    /// Those among them that could not be classified.
    pub failed: u64,
    /// What the source gave between them and was no photo.
    pub failures: Vec<Error>,
}

impl Output {
    /// Returns standard output and writes the header to it.
    pub fn standard(rows: &Rows) -> Result<Self> {
        let mut output = Output::StandardOutput;
        output.write(&rows.header()?)?;
        Ok(output)
    }

    /// Creates the file at `path`, or continues it if `resume` is set: the photos that it has are taken
    /// from `source`.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the file cannot be written, [`ErrorKind::Input`] if it has contents and
    /// `resume` is not set, if another process writes it, or if its rows are not those of the photos.
    pub fn file(
        path: &Path,
        resume: bool,
        rows: &Rows,
        source: &mut Source,
    ) -> Result<(Self, Done)> {
        let io = |e| Error::io(path, e);
        let exists = path.exists();
        let mut options = File::options();
        // A pipe or a device cannot be read, and has nothing to continue.
        options.write(true).read(path.is_file() || !exists).create(true).truncate(false);
        let file = options.open(path).map_err(io)?;
        let is_regular = file.metadata().map_err(io)?.is_file();
        let mut output = OutputFile { path: path.into(), file, length: 0, is_regular };
        let mut done = Done::default();
        if is_regular {
            if let Err(TryLockError::WouldBlock) = output.file.try_lock() {
                let message = "another process is writing this file";
                return Err(Error::input(message).in_file(path));
            }
            let length = output.file.metadata().map_err(io)?.len();
            if length > 0 && !resume {
                return Err(has_contents(path));
            }
            if length > 0 {
                done = output.find_end(rows, source).map_err(|e| e.in_file(path))?;
            }
            output.cut().map_err(io)?;
        }
        if output.length == 0 {
            output.write(&rows.header()?)?;
        }
        Ok((Output::File(output), done))
    }

    /// Writes the rows of one photo.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if they cannot be written. A file then ends with the rows of the photo before.
    pub fn write(&mut self, rows: &[u8]) -> Result<()> {
        match self {
            Output::StandardOutput => {
                let mut out = std::io::stdout().lock();
                out.write_all(rows).and_then(|()| out.flush()).map_err(output_failed)
            }
            Output::File(file) => file.write(rows),
        }
    }

    /// Makes the system store the file.
    pub fn finish(self) -> Result<()> {
        match self {
            Output::File(OutputFile { file, path, is_regular: true, .. }) => {
                file.sync_all().map_err(|e| Error::io(path, e))
            }
            _ => Ok(()),
        }
    }
}

/// The error for a file that would be overwritten.
pub fn has_contents(path: &Path) -> Error {
    let message = "the file has contents; add --resume to continue it, or remove it";
    Error::input(message).in_file(path)
}

impl OutputFile {
    fn write(&mut self, rows: &[u8]) -> Result<()> {
        if let Err(e) = self.file.write_all(rows) {
            // What was written last may be a part of a row. Nothing can be done if it stays.
            let _ = self.cut();
            return Err(Error::io(&self.path, e));
        }
        self.length += rows.len() as u64;
        Ok(())
    }

    /// Removes what lies behind the complete rows.
    fn cut(&mut self) -> std::io::Result<()> {
        if !self.is_regular {
            return Ok(());
        }
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length)).map(|_| ())
    }

    /// Compares the photos in the file with those of the source, and sets `length` to the end of the last
    /// photo whose rows are certain to be complete.
    fn find_end(&mut self, rows: &Rows, source: &mut Source) -> Result<Done> {
        let mut done = Done::default();
        let file = BufReader::new(&self.file);
        self.length = match rows.format {
            RowFormat::Json => last_complete_line(file, source, &mut done)?,
            RowFormat::Csv => last_complete_photo(file, rows, source, &mut done)?,
            RowFormat::Text => {
                return Err(Error::input("only CSV and JSON can be continued; add --format"));
            }
        };
        Ok(done)
    }
}

/// Returns the end of the last line of JSON that is complete.
fn last_complete_line(mut file: impl BufRead, source: &mut Source, done: &mut Done) -> Result<u64> {
    let (mut end, mut line) = (0, Vec::new());
    loop {
        line.clear();
        let length = file.read_until(b'\n', &mut line).map_err(unreadable)?;
        if line.last() != Some(&b'\n') {
            return Ok(end);
        }
        let invalid = || Error::input(format!("line {} is no result of a photo", done.photos + 1));
        let object: serde_json::Value = serde_json::from_slice(&line).map_err(|_| invalid())?;
        let path = object["path"].as_str().ok_or_else(invalid)?;
        done.skip(path, object.get("error").is_some(), source)?;
        end += length as u64;
    }
}

/// Returns the end of the rows of the last photo that is complete. The last row may be cut off, and the
/// photo of the row before it may lack others, so both are left out.
fn last_complete_photo(
    file: impl Read,
    rows: &Rows,
    source: &mut Source,
    done: &mut Done,
) -> Result<u64> {
    let place = |wanted| rows.columns.iter().position(|&column| column == wanted);
    let (Some(path), Some(rank)) = (place(Column::Path), place(Column::Rank)) else {
        return Err(Error::input("only CSV with the columns path and rank can be continued"));
    };
    let header = rows.header()?;
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(file);
    let mut records = reader.byte_records().map(|record| {
        let record = record.map_err(|e| Error::format(e.to_string()))?;
        let start = record.position().map_or(0, csv::Position::byte);
        Ok((record, start))
    });
    let Some((first, _)) = records.next().transpose()? else { return Ok(0) };
    let names = first.iter().collect::<Vec<_>>().join(&b","[..]);
    let Some(second) = records.next().transpose()? else {
        // A header that was cut off is written again.
        return if header.starts_with(&names) { Ok(0) } else { Err(other_columns(&header)) };
    };
    if header.trim_ascii_end() != names {
        return Err(other_columns(&header));
    }
    let mut previous = second;
    // The photo whose rows are being read: where they start, its path, and whether it failed.
    let mut current: Option<(u64, String, bool)> = None;
    for record in records {
        let (row, start) = std::mem::replace(&mut previous, record?);
        let cell = |at: usize| row.get(at).unwrap_or_default();
        if matches!(cell(rank), b"" | b"1") {
            let name = String::from_utf8_lossy(cell(path)).into_owned();
            let begun = (start, name, has_failed(&row, rank, rows));
            if let Some((_, name, failed)) = current.replace(begun) {
                done.skip(&name, failed, source)?;
            }
        }
    }
    Ok(current.map_or(header.len() as u64, |(start, ..)| start))
}

/// Whether a row is that of a photo that failed. Without a column for errors, a photo without
/// predictions counts as failed.
fn has_failed(row: &csv::ByteRecord, rank: usize, rows: &Rows) -> bool {
    let error = rows.columns.iter().position(|&column| column == Column::Error);
    match error {
        Some(error) => row.get(error).is_some_and(|text| !text.is_empty()),
        None => row.get(rank).is_some_and(<[u8]>::is_empty) && rows.threshold == 0.0,
    }
}

fn other_columns(header: &[u8]) -> Error {
    let header = String::from_utf8_lossy(header.trim_ascii_end()).into_owned();
    Error::input(format!("the file cannot be continued: it does not begin with {header}"))
}

fn unreadable(e: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, e.to_string()).because(e)
}

impl Done {
    /// Takes the next photo from the source, which must be that of the file.
    fn skip(&mut self, path: &str, failed: bool, source: &mut Source) -> Result<()> {
        let next = loop {
            match source.next() {
                Some(Found::Photo(photo)) => break Some(photo.name),
                Some(Found::Failure(e)) => self.failures.push(e),
                Some(Found::Note(_)) => {}
                None => break None,
            }
        };
        self.photos += 1;
        self.failed += u64::from(failed);
        let number = self.photos;
        match next {
            Some(name) if name.to_string_lossy() == path => Ok(()),
            Some(name) => Err(Error::input(format!(
                "the file cannot be continued: photo {number} is {path:?} in the file and {:?} now",
                name.to_string_lossy()
            ))),
            None => Err(Error::input(format!(
                "the file cannot be continued: it has photo {number}, {path:?}, and fewer are named now"
            ))),
        }
    }
}
