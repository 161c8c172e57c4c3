//! What `dyrelu bench` measures: its arguments, and the inputs of the network.

use std::path::PathBuf;

use super::measure::Length;
use crate::cli::support::print::{TextOrJson, count};
use crate::cli::support::shapes::input_shapes;
use crate::cli::support::values::{not_negative, positive, threads};
use crate::cli::support::{arrays, model};
use dyrelu::plan::MOST_THREADS;
use dyrelu::{DType, Error, Model, Port, Result, Tensor};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dyrelu bench net.onnx --threads 1
  dyrelu bench net.onnx --streams 4 --threads 1      # four runs at a time
  dyrelu bench net.onnx --sweep --chart sweep.svg    # threads, batches, streams
  dyrelu bench net.onnx --rate 50 --streams 2        # latencies under load
  dyrelu bench net.onnx --photos val/                # from files to classes
  dyrelu bench net.onnx --shape image=1x3x320x320
  dyrelu bench net.onnx --format json > old.json
  dyrelu bench net.onnx --compare old.json           # slower or faster
  dyrelu bench net.onnx --trace t.json               # for ui.perfetto.dev
  dyrelu bench net.onnx --input x.npy")]
pub struct Arguments {
    /// Network: a file, or a name from `dyrelu models`; by default the one that ships with dyrelu.
    pub model: Option<PathBuf>,
    /// Number of images per run.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive)]
    pub batch: usize,
    /// Number of threads per stream; by default all that this process may use, shared by the streams.
    #[arg(long, short = 'j', value_name = "N", value_parser = positive)]
    pub threads: Option<usize>,
    /// Number of runs at a time, each of a session of its own.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive)]
    pub streams: usize,
    /// Duration of the measurement in seconds, at most 86400; less than 0.1 counts as 0.1.
    #[arg(long, default_value_t = 5.0, value_parser = duration)]
    seconds: f64,
    /// Number of measured runs per stream, instead of a duration.
    #[arg(long, value_name = "N", value_parser = positive, conflicts_with = "seconds")]
    pub runs: Option<usize>,
    /// Number of runs before the measurement: by default 3 after the first, with --photos 1.
    #[arg(long, value_name = "N")]
    warmup: Option<usize>,
    /// Size of every input axis that the network leaves free, other than the batch; 224 by default.
    #[arg(long, value_name = "PIXELS", value_parser = positive)]
    pub size: Option<usize>,
    /// Shape of an input; give it once per input that is not of the default shape.
    #[arg(long, value_name = "NAME=NxCxHxW", value_parser = named_shape, conflicts_with_all = ["batch", "size"])]
    pub shape: Vec<(String, Vec<usize>)>,
    /// Array for an input instead of a synthetic one; give it once per input, in order.
    #[arg(long, value_name = "FILE.npy", conflicts_with_all = ["batch", "size", "shape"])]
    pub input: Vec<PathBuf>,
    /// Measure combinations of threads, batches and streams, and list them.
    ///
    /// Each is measured for a fifth of the time, and two are compared best by --compare.
    #[arg(long, conflicts_with_all = ["batch", "streams", "shape", "input", "steps", "compare", "serve", "runs", "trace"])]
    pub sweep: bool,
    /// Picture of the sweep (SVG), which browsers show: a bar per combination.
    #[arg(long, value_name = "FILE.svg", requires = "sweep")]
    pub chart: Option<PathBuf>,
    /// Measure latencies under load: requests come at this rate, in runs per second, whether or not those
    /// before are done.
    ///
    /// The times between requests are random, as those of independent users (a Poisson process, the same
    /// at every call). A request waits until one of the --streams is free; its latency is the time from
    /// when it is due to its result.
    #[arg(long, value_name = "RUNS", value_parser = rate, conflicts_with_all = ["sweep", "compare", "serve", "runs", "trace", "steps"])]
    pub rate: Option<f64>,
    /// Measure the rate from files to classes on photos: reading, decoding, resizing and the network, as in
    /// `dyrelu classify`. DIR is a folder, a photo or a pattern; give it several times for more.
    ///
    /// A run is over all photos, several times if they are few, and begins while the one before ends. At most
    /// --batch photos run at a time on each of the --threads. After the first run, files are usually read
    /// from memory.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["size", "shape", "input", "streams", "sweep", "rate", "serve", "trace", "steps"])]
    pub photos: Vec<PathBuf>,
    /// Preparation of the photos, in place of that of the model file, as `dyrelu classify` takes it.
    #[arg(long, value_name = "imagenet|imagenet-inception|clip|JSON|FILE", requires = "photos")]
    pub preprocess: Option<String>,
    /// Compare with a measurement that --format json wrote before. It says how the medians differ, and
    /// whether that may be chance.
    #[arg(long, value_name = "FILE.json")]
    pub compare: Option<PathBuf>,
    /// Also write the steps of a few runs in the format of Chrome's traces, with a row per stream.
    ///
    /// `chrome://tracing` and https://ui.perfetto.dev show the file. The traced runs come after the
    /// measurement, and read the clock between steps. The images of a batch run one after another.
    #[arg(long, value_name = "FILE.json", conflicts_with = "serve")]
    pub trace: Option<PathBuf>,
    /// List every step instead of the slowest only.
    #[arg(long)]
    pub steps: bool,
    /// Format of the result.
    #[arg(long, value_enum, default_value = "text")]
    pub format: TextOrJson,
    /// Write the first output to this file, then measure on each request on standard input.
    #[arg(long, value_name = "FILE.npy", hide = true)]
    pub serve: Option<PathBuf>,
    #[command(flatten)]
    pub engine: model::Engine,
}

fn duration(text: &str) -> std::result::Result<f64, String> {
    match not_negative(text)? {
        seconds if seconds <= 86400.0 => Ok(seconds),
        _ => Err("must be at most 86400, which is a day".into()),
    }
}

fn rate(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.01..=1e6).contains(&rate) => Ok(rate),
        Ok(_) => Err("must be from 0.01 to 1000000 per second".into()),
        Err(e) => Err(e.to_string()),
    }
}

/// Parses `NAME=1x3x224x224`.
fn named_shape(text: &str) -> std::result::Result<(String, Vec<usize>), String> {
    let expected = "expected NAME=SHAPE, such as image=1x3x320x320";
    // A name may contain an equals sign, a shape does not.
    let (name, shape) = text.rsplit_once('=').ok_or(expected)?;
    let sizes = shape.split('x').map(str::parse).collect::<std::result::Result<Vec<usize>, _>>();
    Ok((name.to_string(), sizes.map_err(|_| expected)?))
}

impl Arguments {
    /// The number of runs before the measurement.
    pub fn warmup(&self) -> usize {
        self.warmup.unwrap_or(if self.photos.is_empty() { 3 } else { 1 })
    }

    /// The duration of the measurement.
    pub fn seconds(&self) -> f64 {
        self.seconds.max(0.1)
    }

    /// How long to measure runs, where they are `share` of the measurement.
    pub fn length(&self, share: f64) -> Length {
        self.runs.map_or(Length::Seconds(share * self.seconds()), Length::Runs)
    }

    pub fn threads_per_stream(&self) -> usize {
        self.threads.unwrap_or_else(|| (threads(None) / self.streams).max(1))
    }

    /// Checks that all streams together have no more threads than a session can have.
    ///
    /// # Errors
    /// [`ErrorKind::Input`](dyrelu::ErrorKind::Input) if they have more.
    pub fn check_threads(&self) -> Result<()> {
        let (streams, threads) = (self.streams, self.threads_per_stream());
        if streams.saturating_mul(threads) <= MOST_THREADS {
            return Ok(());
        }
        let [streams, threads] = [count(streams, "stream"), count(threads, "thread")];
        Err(Error::input(format!("{streams} of {threads}: at most {MOST_THREADS} threads in all")))
    }

    /// The size of free axes.
    pub fn size_for(&self, model: &Model) -> Result<usize> {
        let size = self.size.unwrap_or(224);
        // A size that is fixed to the same number is no contradiction.
        let accepts = |port: &Port| {
            let dims = port.ty.as_ref().map_or(&[][..], |ty| &ty.dims);
            dims.iter().skip(1).any(|dim| dim.as_size().is_none_or(|fixed| fixed == size))
        };
        if self.size.is_some() && !model.inputs().iter().any(accepts) {
            return Err(Error::input(format!(
                "--size {size} has no effect: the network fixes the sizes of its inputs"
            )));
        }
        Ok(size)
    }

    /// The inputs: those of --input, or synthetic ones.
    ///
    /// # Errors
    /// [`ErrorKind::Input`](dyrelu::ErrorKind::Input) if they have no image, because times are per image.
    pub fn inputs(&self, model: &Model) -> Result<Vec<Tensor>> {
        let inputs: Vec<Tensor> = match self.input.as_slice() {
            [] => synthetic_inputs(&self.shapes(model)?, model)?,
            files => files.iter().map(|file| arrays::read(file)).collect::<Result<_>>()?,
        };
        match inputs.first().map(Tensor::shape) {
            Some(shape @ [0, ..]) => Err(Error::input(format!(
                "there is no image in an input of shape {shape:?}; its first size must be at least 1"
            ))),
            _ => Ok(inputs),
        }
    }

    /// The shapes of the inputs.
    pub fn shapes(&self, model: &Model) -> Result<Vec<Vec<usize>>> {
        let mut shapes = input_shapes(model, None, self.batch, self.size_for(model)?)?;
        for (name, shape) in &self.shape {
            let at =
                model.inputs().iter().position(|port| port.name == *name).ok_or_else(|| {
                    let names: Vec<_> = model.inputs().iter().map(|port| &port.name).collect();
                    Error::input(format!("there is no input {name:?}; the network has {names:?}"))
                })?;
            shapes[at].clone_from(shape);
        }
        let first = |shape: &Vec<usize>| shape.first().copied();
        if let Some(shape) = shapes.iter().find(|shape| first(shape) != Some(self.batch))
            && self.shape.is_empty()
        {
            return Err(Error::input(format!(
                "the network takes batches of {} only; add --batch {0}",
                shape.first().unwrap_or(&0)
            )));
        }
        Ok(shapes)
    }
}

/// The number of elements of an input.
///
/// # Errors
/// [`ErrorKind::Input`](dyrelu::ErrorKind::Input) if there are more than a machine runs a network on.
pub fn num_elements(shape: &[usize]) -> Result<usize> {
    dyrelu::tensor::num_elements(shape)
        .filter(|&n| n < 1 << 30)
        .ok_or_else(|| Error::input(format!("an input of shape {shape:?} is too large")))
}

/// Inputs with the values of a sine wave.
pub fn synthetic_inputs(shapes: &[Vec<usize>], model: &Model) -> Result<Vec<Tensor>> {
    let tensor = |(shape, port): (&Vec<usize>, &Port)| {
        let wave = (0..num_elements(shape)?).map(|i| ((i % 8191) as f32 * 0.37).sin());
        let wave = Tensor::new(shape, wave.collect::<Vec<f32>>())?;
        wave.cast(port.ty.as_ref().map_or(DType::F32, |ty| ty.dtype))
    };
    shapes.iter().zip(model.inputs()).map(tensor).collect()
}
