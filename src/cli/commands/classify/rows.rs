//! The rows in which results of photos are written.

use std::path::Path;

use serde::Serialize;

use crate::cli::support::print::to_json;
use dyrelu::vision::{Classified, Prediction};
use dyrelu::{Error, Result};

/// The format of rows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum RowFormat {
    Text,
    Json,
    Csv,
}

/// A column of a table.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Column {
    Path,
    /// Place of the prediction, from 1.
    Rank,
    /// Number of the class, from 0.
    Class,
    /// Name of the class.
    Label,
    /// Probability, from 0 to 1.
    Score,
    /// Why the photo could not be classified.
    Error,
}

impl Column {
    pub fn name(self) -> &'static str {
        match self {
            Column::Path => "path",
            Column::Rank => "rank",
            Column::Class => "class",
            Column::Label => "label",
            Column::Score => "score",
            Column::Error => "error",
        }
    }
}

/// How results are formatted.
#[derive(Clone)]
pub struct Rows {
    pub format: RowFormat,
    pub columns: Vec<Column>,
    /// Predictions with a smaller score are left out.
    pub threshold: f32,
    /// Whether an object of JSON has the embedding of the photo.
    pub embeddings: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    /// The bytes of a path that is not valid Unicode, which distinguish it from others.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    predictions: Option<&'a [Prediction]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding: Option<&'a [f32]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl Rows {
    /// What comes before all rows.
    pub fn header(&self) -> Result<Vec<u8>> {
        match self.format {
            RowFormat::Csv => csv_records([self.columns.iter().map(|column| column.name())]),
            RowFormat::Text | RowFormat::Json => Ok(Vec::new()),
        }
    }

    /// The predictions that have rows.
    pub fn predictions<'r>(
        &self,
        result: &'r Result<Classified>,
    ) -> std::result::Result<&'r [Prediction], &'r Error> {
        result.as_ref().map(|Classified { predictions, .. }| {
            // The best come first.
            let count = predictions.iter().take_while(|p| p.score >= self.threshold).count();
            &predictions[..count]
        })
    }

    /// The rows of one photo. Only the text format has none for a photo that failed.
    pub fn of(&self, path: &Path, result: &Result<Classified>) -> Result<Vec<u8>> {
        let name = path.to_string_lossy();
        let predictions = self.predictions(result);
        match (self.format, predictions) {
            (RowFormat::Text, Err(_)) => Ok(Vec::new()),
            (RowFormat::Text, Ok(predictions)) => {
                let mut text = format!("{name}\n");
                for p in predictions {
                    text.push_str(&format!("  {:6.2}%  {}\n", 100.0 * p.score, p.label));
                }
                Ok(text.into_bytes())
            }
            (RowFormat::Json, predictions) => {
                let embedding = result.as_ref().ok().map(|photo| photo.embedding.as_slice());
                let line = Line {
                    path: &name,
                    path_hex: path.to_str().is_none().then(|| hexadecimal(path)),
                    predictions: predictions.ok(),
                    embedding: embedding.filter(|_| self.embeddings),
                    error: predictions.err().map(Error::message),
                };
                Ok((to_json(&line)? + "\n").into_bytes())
            }
            (RowFormat::Csv, predictions) => {
                let error = predictions.err().map_or("", Error::message);
                let row = |(place, p): (usize, Option<&Prediction>)| {
                    let cell = |column: &Column| match (column, p) {
                        (Column::Path, _) => name.to_string(),
                        (Column::Error, _) => error.to_string(),
                        (_, None) => String::new(),
                        (Column::Rank, Some(_)) => (place + 1).to_string(),
                        (Column::Class, Some(p)) => p.class.to_string(),
                        (Column::Label, Some(p)) => p.label.clone(),
                        (Column::Score, Some(p)) => p.score.to_string(),
                    };
                    self.columns.iter().map(cell).collect::<Vec<_>>()
                };
                match predictions {
                    Ok([]) | Err(_) => csv_records([row((0, None))]),
                    Ok(all) => csv_records(all.iter().map(Some).enumerate().map(row)),
                }
            }
        }
    }
}

fn csv_records<R>(records: impl IntoIterator<Item = R>) -> Result<Vec<u8>>
where
    R: IntoIterator<Item: AsRef<[u8]>>,
{
    let failed = |e: &dyn std::fmt::Display| Error::format(format!("cannot write CSV: {e}"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    for record in records {
        writer.write_record(record).map_err(|e| failed(&e))?;
    }
    writer.into_inner().map_err(|e| failed(&e))
}

fn hexadecimal(path: &Path) -> String {
    path.as_os_str().as_encoded_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}
