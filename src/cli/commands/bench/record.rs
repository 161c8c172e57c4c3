//! What the JSON of `dyrelu bench` says about the origin of a measurement, and earlier measurements.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::measure::{self, Difference};
use crate::cli::support::messages;
use crate::cli::support::model::Engine;
use dyrelu::format::{read_regular, read_text};
use dyrelu::simd::Isa;
use dyrelu::vision::Preprocess;
use dyrelu::{Error, Result, Tensor};

/// The version of the JSON. It grows when a key changes its meaning or goes.
const SCHEMA: u32 = 1;

/// What was measured, where and when.
#[derive(Serialize)]
pub struct Origin {
    schema: u32,
    program: &'static str,
    date: String,
    /// Absent if the system does not report it.
    cpu: Option<String>,
    model: PathBuf,
    model_fingerprint: String,
    shapes: Vec<Vec<usize>>,
    winograd: bool,
    full_precision: bool,
    warmup: usize,
    /// Absent if arrays were measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    photos: Option<Photos>,
}

/// The photos of a measurement from files to classes.
#[derive(PartialEq, Serialize, Deserialize)]
pub struct Photos {
    pub count: usize,
    /// Of all files.
    pub bytes: u64,
    pub preprocess: Preprocess,
}

/// The shapes of the inputs of a run.
pub fn shapes(inputs: &[Tensor]) -> Vec<Vec<usize>> {
    inputs.iter().map(|x| x.shape().to_vec()).collect()
}

impl Origin {
    pub fn new(
        path: PathBuf,
        shapes: Vec<Vec<usize>>,
        engine: &Engine,
        warmup: usize,
    ) -> Result<Self> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Ok(Origin {
            schema: SCHEMA,
            program: concat!("dyrelu ", env!("CARGO_PKG_VERSION")),
            date: measure::date(now.unwrap_or_default().as_secs()),
            cpu: name_of_processor(),
            model_fingerprint: measure::fingerprint(&read_regular(&path)?),
            model: path,
            shapes,
            winograd: engine.uses_winograd(),
            full_precision: engine.full_precision,
            warmup,
            photos: None,
        })
    }

    /// The origin of a measurement from files to classes.
    pub fn with_photos(self, photos: Photos) -> Self {
        Origin { photos: Some(photos), ..self }
    }
}

/// The name of the processor. Returns `None` on systems other than Linux.
fn name_of_processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("model name"))?;
    Some(line.trim_start_matches([' ', '\t', ':']).to_string())
}

/// An earlier measurement.
#[derive(Deserialize)]
pub struct Old {
    schema: u32,
    cpu: Option<String>,
    model_fingerprint: String,
    shapes: Vec<Vec<usize>>,
    isa: String,
    threads: usize,
    photos: Option<Photos>,
    samples_ms: Vec<f64>,
}

impl Old {
    pub fn read(path: &Path) -> Result<Self> {
        let read = read_text(path).and_then(|text| {
            let old: Old = serde_json::from_str(&text).map_err(|e| {
                Error::format(format!("this is no measurement of dyrelu bench --format json: {e}"))
            })?;
            if old.schema != SCHEMA || old.samples_ms.is_empty() {
                let message = format!("expected a measurement of schema {SCHEMA} with samples");
                return Err(Error::format(message));
            }
            Ok(old)
        });
        read.map_err(|e| e.in_file(path))
    }

    /// Compares new times with those of this measurement, and notes what else differs.
    pub fn difference(
        &self,
        new: &Origin,
        threads: usize,
        samples_ms: &[f64],
    ) -> Result<Difference> {
        if self.shapes != new.shapes {
            return Err(Error::input(format!(
                "--compare: the old measurement is of inputs {:?}, this one of {:?}",
                self.shapes, new.shapes
            )));
        }
        if self.photos != new.photos {
            let message =
                "--compare: the old measurement is not of the same photos and preparation";
            return Err(Error::input(message));
        }
        for (differs, what) in [
            (self.model_fingerprint != new.model_fingerprint, "another file of a network"),
            (self.cpu != new.cpu, "another processor"),
            (self.isa != Isa::get().name(), "another instruction set"),
            (self.threads != threads, "another number of threads"),
        ] {
            if differs {
                messages::note(format_args!("the old measurement is of {what}"));
            }
        }
        Ok(Difference::between(&self.samples_ms, samples_ms))
    }
}
