//! A network, and the sessions that its runs take in turn.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dyrelu::tensor::Storage;
use dyrelu::vision::{Classifier, Labels, Photo, Preprocess};
use dyrelu::{DType, Error, Model, Options, Port, Result, RunOptions, Session, Tensor};
use numpy::{
    PyArray1, PyReadonlyArray1, PyReadonlyArrayDyn, PyReadwriteArrayDyn, PyUntypedArrayMethods,
};
use pyo3::prelude::*;

use crate::activations;
use crate::cancel::Token;
use crate::errors::exception;
use crate::explainer::Explainer;
use crate::images::{Guess, Image, Source, guess};

/// A network, compiled and ready to run. Any number of Python threads may run it at the same time.
#[pyclass(frozen, module = "dyrelu._dyrelu")]
pub(crate) struct Network {
    model: Arc<Model>,
    threads: usize,
    preprocess: Option<Preprocess>,
    labels: Option<Labels>,
    sessions: Idle<Session>,
    classifiers: Idle<Classifier>,
}

/// Sessions or classifiers that no run uses at the moment. There are as many as there were runs at the
/// same time.
struct Idle<T>(Mutex<Vec<T>>);

impl<T> Idle<T> {
    const fn new() -> Self {
        Idle(Mutex::new(Vec::new()))
    }

    /// Calls `run` with an idle one, or with a new one that `create` returns.
    fn with<R>(
        &self,
        create: impl FnOnce() -> Result<T>,
        run: impl FnOnce(&mut T) -> Result<R>,
    ) -> Result<R> {
        // The lock is held for a push or a pop only, neither of which leaves the list in disorder.
        let list = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = list().pop();
        let mut taken = idle.map_or_else(create, Ok)?;
        let result = run(&mut taken);
        list().push(taken);
        result
    }
}

/// The element type, the shape and the bytes of an array in row-major order.
pub(crate) type Raw<'py> = (String, Vec<usize>, PyReadonlyArray1<'py, u8>);

/// The element type, or the name of an activation, the shape and the bytes of an array that is returned.
type RawOutput<'py> = (String, Vec<usize>, Bound<'py, PyArray1<u8>>);

/// The name, the element type and the sizes of an input or an output.
type PortParts = (String, Option<String>, Option<Vec<Option<usize>>>);

/// The name, form, pieces, channels, hidden width and squashing function of a dynamic activation.
type ActivationParts = (String, &'static str, usize, usize, Option<usize>, Option<String>);

#[pymethods]
impl Network {
    /// Opens a file, or the bytes of one.
    #[new]
    #[pyo3(signature = (path, contents, threads, preprocess, labels))]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        contents: Option<&[u8]>,
        threads: usize,
        preprocess: Option<&str>,
        labels: Option<&str>,
    ) -> PyResult<Self> {
        let open = || {
            let preprocess = match preprocess {
                Some("imagenet") => Some(Preprocess::imagenet()),
                Some(json) => Some(Preprocess::from_json(json)?),
                None => None,
            };
            let model = match contents {
                Some(contents) => Model::from_bytes(contents, Options::default())?,
                None => Model::open(path)?,
            };
            let network = Network {
                model,
                threads,
                preprocess,
                labels: labels.map(Labels::from_lines),
                sessions: Idle::new(),
                classifiers: Idle::new(),
            };
            // A number of threads that cannot be had is an error here, and not at the first run.
            network.sessions.with(|| network.session(), |_| Ok(()))?;
            Ok(network)
        };
        py.detach(open).map_err(|e| exception(py, &e))
    }

    #[getter]
    fn inputs(&self) -> Vec<PortParts> {
        self.model.inputs().iter().map(port).collect()
    }

    #[getter]
    fn outputs(&self) -> Vec<PortParts> {
        self.model.outputs().iter().map(port).collect()
    }

    #[getter]
    fn metadata(&self) -> Vec<(&str, &str)> {
        let keys = self.model.metadata_keys();
        keys.filter_map(|key| Some((key, self.model.metadata(key)?))).collect()
    }

    #[getter]
    fn dynamic_activations(&self) -> Vec<ActivationParts> {
        let activations = self.model.report().dynamic_activations.iter();
        let parts = activations.map(|a| {
            let squash = a.squash.map(|squash| format!("{squash:?}"));
            (a.name.clone(), a.form, a.k, a.channels, a.hidden, squash)
        });
        parts.collect()
    }

    /// Returns the shape of each output for inputs of these shapes, None for one that depends on the data.
    fn output_shapes(
        &self,
        py: Python<'_>,
        shapes: Vec<Vec<usize>>,
    ) -> PyResult<Vec<Option<Vec<usize>>>> {
        self.model.output_shapes(&shapes).map_err(|e| exception(py, &e))
    }

    /// Runs the network on arrays of float32 and writes to arrays of float32, without a copy.
    fn run_into(
        &self,
        py: Python<'_>,
        inputs: Vec<PyReadonlyArrayDyn<'_, f32>>,
        mut outputs: Vec<PyReadwriteArrayDyn<'_, f32>>,
        timeout: Option<f64>,
        cancel_token: Option<Bound<'_, Token>>,
    ) -> PyResult<()> {
        let in_order = inputs.iter().all(|array| array.is_c_contiguous())
            && outputs.iter().all(|array| array.is_c_contiguous());
        if !in_order {
            let e = Error::input("arrays without a copy are contiguous in row-major order");
            return Err(exception(py, &e));
        }
        let data: Result<Vec<_>, _> =
            inputs.iter().map(|array| Ok((array.shape(), array.as_slice()?))).collect();
        let data: Vec<(&[usize], &[f32])> =
            data.map_err(|e: numpy::AsSliceError| PyErr::from(e))?;
        let slots: Result<Vec<_>, _> =
            outputs.iter_mut().map(|array| array.as_slice_mut()).collect();
        let mut slots: Vec<&mut [f32]> = slots?;
        let options = options(timeout, cancel_token);
        let run = || {
            let options = options?;
            self.sessions.with(
                || self.session(),
                |session| session.run_into_with(&data, &mut slots, &options),
            )
        };
        py.detach(run).map_err(|e| exception(py, &e))
    }

    /// Runs the network on copies of the arrays.
    fn run<'py>(
        &self,
        py: Python<'py>,
        inputs: Vec<Raw<'py>>,
        timeout: Option<f64>,
        cancel_token: Option<Bound<'py, Token>>,
    ) -> PyResult<Vec<RawOutput<'py>>> {
        let tensors: Result<Vec<_>> = inputs.iter().map(tensor).collect();
        let options = options(timeout, cancel_token);
        let run = || {
            let (tensors, options) = (tensors?, options?);
            let run = |session: &mut Session| session.run_with(&tensors, &options);
            self.sessions.with(|| self.session(), run)
        };
        let outputs = py.detach(run).map_err(|e| exception(py, &e))?;
        Ok(outputs.iter().map(|output| raw(py, output)).collect())
    }

    /// Returns the coefficients of each dynamic activation for one input.
    fn coefficients<'py>(&self, py: Python<'py>, input: Raw<'py>) -> PyResult<Vec<RawOutput<'py>>> {
        let tensor = tensor(&input);
        let run = || {
            let tensor = tensor?;
            let run = |session: &mut Session| activations::coefficients(session, tensor);
            self.sessions.with(|| self.session(), run)
        };
        let found = py.detach(run).map_err(|e| exception(py, &e))?;
        let found = found.into_iter().map(|(name, coefficients)| {
            let (_, shape, data) = raw(py, &coefficients);
            (name, shape, data)
        });
        Ok(found.collect())
    }

    /// Starts to count what the dynamic activations do with photos.
    fn explainer(&self, py: Python<'_>) -> PyResult<Explainer> {
        let start = || Explainer::new(&self.model, self.threads, self.preprocess());
        py.detach(start).map_err(|e| exception(py, &e))
    }

    /// Returns the most probable classes of each image.
    fn classify(
        &self,
        py: Python<'_>,
        images: Vec<Image<'_>>,
        top: usize,
    ) -> PyResult<Vec<Vec<Guess>>> {
        let sources: Result<Vec<Source>> = images.into_iter().map(Image::detached).collect();
        let run = || {
            let photos: Result<Vec<Photo>> = sources?.into_iter().map(Source::load).collect();
            let photos = photos?;
            let classify = |classifier: &mut Classifier| {
                let predictions = classifier.classify_batch(&photos, top).into_iter();
                predictions.map(|found| Ok(found?.into_iter().map(guess).collect())).collect()
            };
            self.classifiers.with(|| self.classifier(), classify)
        };
        py.detach(run).map_err(|e| exception(py, &e))
    }
}

impl Network {
    fn session(&self) -> Result<Session> {
        Session::with_threads(&self.model, self.threads)
    }

    fn preprocess(&self) -> Result<Preprocess> {
        let stated = self.preprocess.clone();
        stated.map_or_else(|| Preprocess::from_model(&self.model), Ok)
    }

    fn classifier(&self) -> Result<Classifier> {
        let labels = match &self.labels {
            Some(labels) => labels.clone(),
            None => Labels::from_model(&self.model)?,
        };
        Classifier::with_parts(self.session()?, self.preprocess()?, labels)
    }
}

fn port(port: &Port) -> PortParts {
    (port.name.clone(), port.dtype().map(|dtype| dtype.to_string()), port.shape())
}

fn options(timeout: Option<f64>, cancel_token: Option<Bound<'_, Token>>) -> Result<RunOptions> {
    let mut options = RunOptions::default();
    if let Some(token) = cancel_token {
        options = options.cancel_token(&token.get().0);
    }
    let Some(seconds) = timeout else { return Ok(options) };
    let timeout = Duration::try_from_secs_f64(seconds).map_err(|_| {
        Error::input(format!("a timeout is a number of seconds from 0, found {seconds}"))
    })?;
    // A time that the clock cannot express never comes.
    let deadline = Instant::now().checked_add(timeout);
    Ok(deadline.map_or(options.clone(), |at| options.deadline(at)))
}

pub(crate) fn tensor((dtype, shape, data): &Raw<'_>) -> Result<Tensor> {
    let known = [
        DType::F32,
        DType::F64,
        DType::F16,
        DType::BF16,
        DType::I64,
        DType::I32,
        DType::I16,
        DType::I8,
        DType::U8,
        DType::Bool,
    ];
    let dtype = known.into_iter().find(|known| known.to_string() == *dtype);
    let dtype = dtype.ok_or_else(|| Error::input("the element type is not known"))?;
    let bytes = data.as_array().iter().copied().collect();
    Tensor::from_storage(dtype, shape, Storage::from_vec::<u8>(bytes))
}

fn raw<'py>(py: Python<'py>, tensor: &Tensor) -> RawOutput<'py> {
    let bytes = PyArray1::from_slice(py, tensor.bytes());
    (tensor.dtype().to_string(), tensor.shape().to_vec(), bytes)
}
