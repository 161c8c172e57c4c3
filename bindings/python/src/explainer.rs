//! What the dynamic activations of a network do with photos.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dyrelu::explain::{self, BINS, Figures, Histogram, Parameter};
use dyrelu::vision::Preprocess;
use dyrelu::{Error, Model, Result};
use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::prelude::*;

use crate::errors::exception;
use crate::images::Image;
use crate::network::{Raw, tensor};

/// Counts what the dynamic activations of a network do with photos.
#[pyclass(frozen, module = "dyrelu._dyrelu")]
pub(crate) struct Explainer {
    explainer: Mutex<explain::Explainer>,
    /// How photos are prepared, which arrays of the network's input are already.
    preprocess: Result<Preprocess>,
}

/// The name, mean, deviation, deviation between photos, least and largest value of a coefficient, and its
/// mean and deviation per channel.
type CoefficientParts<'py> =
    (String, f64, f64, f64, f64, f64, Bound<'py, PyArray1<f64>>, Bound<'py, PyArray1<f64>>);

/// The range, the counts from the largest output down, and the number of pairs outside of the range.
type HistogramParts<'py> = (f32, Bound<'py, PyArray2<u32>>, u64);

/// The name, form, pieces, channels, shares of slopes and intercepts, distance of the slopes, deviation,
/// attention and whether it is static, of an activation, its coefficients and its histogram.
type ActivationParts<'py> = (
    String,
    &'static str,
    usize,
    usize,
    Option<f64>,
    Option<f64>,
    Option<(f64, f64)>,
    Option<f64>,
    Option<(f64, f64)>,
    bool,
    Vec<CoefficientParts<'py>>,
    HistogramParts<'py>,
);

/// The number of photos, the shares of slopes and intercepts, and the activations.
type SummaryParts<'py> = (usize, Option<f64>, Option<f64>, Vec<ActivationParts<'py>>);

#[pymethods]
impl Explainer {
    /// Adds an image, which messages and the page call `name`.
    fn add(&self, py: Python<'_>, name: PathBuf, image: Image<'_>) -> PyResult<()> {
        let source = image.detached();
        let add = || {
            let photo = source?.load()?;
            let input = self.preprocess.as_ref().map_err(Clone::clone)?.apply(&photo)?;
            self.lock().add(&name, &input)
        };
        py.detach(add).map_err(|e| exception(py, &e))
    }

    /// Adds the network's input for one image.
    fn add_prepared(&self, py: Python<'_>, name: PathBuf, input: Raw<'_>) -> PyResult<()> {
        let tensor = tensor(&input);
        py.detach(|| self.lock().add(&name, &tensor?)).map_err(|e| exception(py, &e))
    }

    /// Returns the figures.
    fn figures<'py>(&self, py: Python<'py>, tolerance: f64) -> PyResult<SummaryParts<'py>> {
        let explainer = self.lock();
        let summary = explainer.summary(tolerance);
        let activations = summary.activations.into_iter().zip(explainer.histograms());
        let activations = activations.map(|(figures, histogram)| {
            let Figures { name, form, k, channels, unusual_slopes, intercepts, .. } = figures;
            let coefficients =
                figures.parameters.into_iter().map(|parameter| coefficient(py, parameter));
            Ok((
                name,
                form,
                k,
                channels,
                unusual_slopes,
                intercepts,
                figures.apart,
                figures.deviation,
                figures.attention,
                figures.is_static,
                coefficients.collect(),
                parts(py, histogram)?,
            ))
        });
        let activations: PyResult<Vec<_>> = activations.collect();
        Ok((explainer.photos(), summary.unusual_slopes, summary.intercepts, activations?))
    }

    /// Writes the page and the figures to a folder, which is created if there is none. The page is about the
    /// network `name`.
    fn write(&self, py: Python<'_>, folder: PathBuf, name: &str, tolerance: f64) -> PyResult<()> {
        let write = || {
            let explainer = self.lock();
            let files = explainer.files(name, &explainer.summary(tolerance))?;
            let at = |path: &Path, e| Error::io(path, e);
            fs::create_dir_all(&folder).map_err(|e| at(&folder, e))?;
            files.iter().try_for_each(|(file, contents)| {
                let path = folder.join(file);
                fs::write(&path, contents).map_err(|e| at(&path, e))
            })
        };
        py.detach(write).map_err(|e| exception(py, &e))
    }
}

impl Explainer {
    pub fn new(model: &Arc<Model>, threads: usize, preprocess: Result<Preprocess>) -> Result<Self> {
        let explainer = Mutex::new(explain::Explainer::new(model, threads)?);
        Ok(Explainer { explainer, preprocess })
    }

    fn lock(&self) -> MutexGuard<'_, explain::Explainer> {
        self.explainer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn coefficient(py: Python<'_>, parameter: Parameter) -> CoefficientParts<'_> {
    let Parameter { name, mean, deviation, least, most, between_photos, .. } = parameter;
    let means = PyArray1::from_vec(py, parameter.channel_means);
    let deviations = PyArray1::from_vec(py, parameter.channel_deviations);
    (name, mean, deviation, between_photos, least, most, means, deviations)
}

fn parts<'py>(py: Python<'py>, histogram: &Histogram) -> PyResult<HistogramParts<'py>> {
    let counts = PyArray1::from_slice(py, &histogram.counts).reshape([BINS, BINS])?;
    Ok((histogram.range, counts, histogram.outside))
}
