//! Results of photos as a Parquet file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::column::writer::ColumnWriterImpl;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, FloatType, Int32Type};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;

use super::rows::{Column, Rows};
use dyrelu::format::Replacement;
use dyrelu::vision::Classified;
use dyrelu::{Error, ErrorKind, Result};

/// A Parquet file, which appears under its name when it is complete.
pub struct ParquetFile {
    path: PathBuf,
    rows: Rows,
    writer: SerializedFileWriter<Replacement>,
    has_embeddings: bool,
    /// What the next row group gets.
    waiting: Vec<Row>,
    /// The bytes of embeddings in `waiting`.
    bytes: usize,
}

/// A prediction, or the place of one where a photo has none.
struct Row {
    path: ByteArray,
    prediction: Option<(i32, i32, ByteArray, f32)>,
    error: Option<ByteArray>,
    embedding: Option<Vec<f32>>,
}

/// The most rows of a row group, and the bytes of embeddings after which one is written. Readers and
/// this writer hold one in memory.
const GROUP_ROWS: usize = 1 << 17;
const GROUP_BYTES: usize = 64 << 20;

impl ParquetFile {
    /// Creates the file, with the columns of `rows` and, if `has_embeddings` is set, one for these.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if it cannot be written, and [`ErrorKind::Input`] if the file has contents.
    pub fn create(path: &Path, rows: Rows, has_embeddings: bool) -> Result<Self> {
        if std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0) {
            let message = "the file has contents, and Parquet cannot be continued; remove it";
            return Err(Error::input(message).in_file(path));
        }
        let mut schema = String::from("message results {\n");
        for &column in &rows.columns {
            let ty = match column {
                Column::Path => "required binary path (STRING)",
                Column::Rank => "optional int32 rank",
                Column::Class => "optional int32 class",
                Column::Label => "optional binary label (STRING)",
                Column::Score => "optional float score",
                Column::Error => "optional binary error (STRING)",
            };
            schema.push_str(&format!("{ty};\n"));
        }
        if has_embeddings {
            schema.push_str(
                "optional group embedding (LIST) { repeated group list { required float element; } }\n",
            );
        }
        schema.push('}');
        // Features hardly repeat, nor are their bounds of use.
        let embedding = ColumnPath::from("embedding.list.element");
        let properties = WriterProperties::builder()
            .set_created_by(format!("dyrelu {}", env!("CARGO_PKG_VERSION")))
            .set_column_dictionary_enabled(embedding, false)
            .build();
        let file = Replacement::of(path)?;
        let schema = parse_message_type(&schema).map_err(|e| failed(path, e))?;
        let writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties));
        let writer = writer.map_err(|e| failed(path, e))?;
        let waiting = Vec::new();
        Ok(ParquetFile { path: path.into(), rows, writer, has_embeddings, waiting, bytes: 0 })
    }

    /// Adds the rows of a photo.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if they cannot be written.
    pub fn add(&mut self, path: &Path, result: &Result<Classified>) -> Result<()> {
        let name = ByteArray::from(&*path.to_string_lossy());
        let error = result.as_ref().err().map(|e| ByteArray::from(e.message()));
        let row = |prediction| Row {
            path: name.clone(),
            prediction,
            error: error.clone(),
            embedding: None,
        };
        let predictions = self.rows.predictions(result).unwrap_or_default();
        let start = self.waiting.len();
        self.waiting.extend((1..).zip(predictions).map(|(rank, p)| {
            row(Some((rank, p.class as i32, ByteArray::from(p.label.as_str()), p.score)))
        }));
        if predictions.is_empty() {
            self.waiting.push(row(None));
        }
        if let Ok(photo) = result
            && self.has_embeddings
        {
            self.bytes += size_of_val(photo.embedding.as_slice());
            self.waiting[start].embedding = Some(photo.embedding.clone());
        }
        if self.waiting.len() >= GROUP_ROWS || self.bytes >= GROUP_BYTES {
            self.write_group().map_err(|e| failed(&self.path, e))?;
        }
        Ok(())
    }

    /// Completes the file and gives it its name.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if it cannot be written.
    pub fn finish(mut self) -> Result<()> {
        let completed = self.write_group().and_then(|()| self.writer.into_inner());
        completed.map_err(|e| failed(&self.path, e))?.keep()
    }

    /// Writes what is waiting as a row group.
    fn write_group(&mut self) -> ParquetResult<()> {
        let rows = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        if rows.is_empty() {
            return Ok(());
        }
        let mut group = self.writer.next_row_group()?;
        let mut columns = self.rows.columns.iter();
        while let Some(writer) = group.next_column()? {
            let values = rows.iter();
            let predictions = values.clone().map(|row| row.prediction.as_ref());
            match columns.next() {
                Some(Column::Path) => {
                    write::<ByteArrayType>(writer, values.map(|row| Some(&row.path)), 0)
                }
                Some(Column::Rank) => {
                    write::<Int32Type>(writer, predictions.map(|p| Some(&p?.0)), 1)
                }
                Some(Column::Class) => {
                    write::<Int32Type>(writer, predictions.map(|p| Some(&p?.1)), 1)
                }
                Some(Column::Label) => {
                    write::<ByteArrayType>(writer, predictions.map(|p| Some(&p?.2)), 1)
                }
                Some(Column::Score) => {
                    write::<FloatType>(writer, predictions.map(|p| Some(&p?.3)), 1)
                }
                Some(Column::Error) => {
                    write::<ByteArrayType>(writer, values.map(|row| row.error.as_ref()), 1)
                }
                None => write_lists(writer, values.map(|row| row.embedding.as_deref())),
            }?;
        }
        group.close()?;
        Ok(())
    }
}

/// Writes a column whose values are all there (`definition` is 0) or may be absent (1).
fn write<'r, T: DataType>(
    mut column: SerializedColumnWriter<'_>,
    values: impl Iterator<Item = Option<&'r T::T>> + Clone,
    definition: i16,
) -> ParquetResult<()>
where
    T::T: 'r,
{
    let present: Vec<T::T> = values.clone().flatten().cloned().collect();
    let levels: Vec<i16> = values.map(|value| i16::from(value.is_some())).collect();
    let writer: &mut ColumnWriterImpl<'_, T> = column.typed();
    writer.write_batch(&present, (definition > 0).then_some(&levels), None)?;
    column.close()
}

/// Writes a column of lists, which may be absent.
fn write_lists<'r>(
    mut column: SerializedColumnWriter<'_>,
    lists: impl Iterator<Item = Option<&'r [f32]>>,
) -> ParquetResult<()> {
    let (mut values, mut definitions, mut repetitions) = (Vec::new(), Vec::new(), Vec::new());
    for list in lists {
        let list = list.unwrap_or_default();
        // A place is needed for a list that is absent, too.
        let places = list.len().max(1);
        values.extend_from_slice(list);
        definitions.extend(std::iter::repeat_n(if list.is_empty() { 0 } else { 2 }, places));
        repetitions.extend((0..places).map(|place| i16::from(place > 0)));
    }
    column.typed::<FloatType>().write_batch(&values, Some(&definitions), Some(&repetitions))?;
    column.close()
}

fn failed(path: &Path, e: ParquetError) -> Error {
    Error::new(ErrorKind::Io, e.to_string()).in_file(path).because(e)
}
