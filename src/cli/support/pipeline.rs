//! Many photos through reading, decoding, preparation and the network, on all threads at once.
//!
//! Readers fetch the bytes of photos ahead of the workers. Each worker takes photos that were read, and
//! does everything else with them on its own thread. Results are the same, bit for bit, on any number of
//! threads. They arrive in the order of the photos, and the photos on their way are limited in number and
//! in bytes.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::interrupt;
use super::photos::{Contents, Found, Input};
use dyrelu::format::open_regular;
use dyrelu::vision::{Classified, Classifier, DecodeOptions, Embedding, Photo, Preprocess};
use dyrelu::{Error, ErrorKind, Result};

/// How photos are read and classified.
pub struct Settings {
    pub decode: DecodeOptions,
    /// The most bytes that are read of a file.
    pub max_bytes: u64,
    /// The most photos per run of the network.
    pub batch: usize,
    /// The number of predictions per photo.
    pub top: usize,
    /// The value of the network that is computed for each photo as well.
    pub embedding: Option<Embedding>,
}

/// What happened to what the source gave.
pub enum Event {
    Photo(PathBuf, Result<Classified>),
    Failure(Error),
    Note(String),
}

/// The time that all threads together spent in each stage.
#[derive(Default)]
pub struct Stages {
    reading: AtomicU64,
    decoding: AtomicU64,
    resizing: AtomicU64,
    network: AtomicU64,
}

/// The names of stages, and their times in seconds.
#[derive(Clone, Copy)]
pub struct StageTimes([(&'static str, f64); 4]);

/// The most bytes of files that wait for a worker, not counting the last one of each reader.
const WAITING_BYTES: usize = 64 << 20;

/// The number of photos on their way, in batches per worker.
const BATCHES_ON_THEIR_WAY: usize = 4;

/// Classifies the photos of `source`, each worker with one of `classifiers`. Calls `each` with the
/// events, in the order of the source, and adds the time of the stages to `stages`.
///
/// A signal that asks the program to end stops the workers after the photos that they have begun.
///
/// # Errors
/// The first error of `each`, which stops the workers, or [`ErrorKind::Io`] if a thread cannot be started or
/// has panicked.
pub fn run(
    source: impl Iterator<Item = Found> + Send + 'static,
    classifiers: Vec<Classifier>,
    settings: Settings,
    stages: &Arc<Stages>,
    mut each: impl FnMut(Event) -> Result<()>,
) -> Result<()> {
    let readers = classifiers.len().clamp(2, 16);
    let photos_in_batches = classifiers.len().saturating_mul(settings.batch);
    let source: Photos = Box::new(source);
    let pipeline = Arc::new(Pipeline {
        source: Mutex::new(source.enumerate()),
        limit: photos_in_batches.saturating_mul(BATCHES_ON_THEIR_WAY).saturating_add(readers),
        settings,
        stages: stages.clone(),
        queue: Mutex::new(Queue { readers, ..Queue::default() }),
        ready: Condvar::new(),
        room: Condvar::new(),
    });
    let stopped = pipeline.clone();
    interrupt::finish_work(move || stopped.stop());
    let (sender, receiver) = mpsc::channel();
    for _ in 0..readers {
        let pipeline = pipeline.clone();
        spawn(move || pipeline.read_photos())?;
    }
    for classifier in classifiers {
        let (pipeline, sender) = (pipeline.clone(), sender.clone());
        spawn(move || pipeline.classify_photos(classifier, &sender))?;
    }
    drop(sender);
    let mut next = 0;
    let mut early = BTreeMap::new();
    for (number, event) in receiver {
        early.insert(number, event);
        while let Some(event) = early.remove(&next) {
            next += 1;
            let passed_on = each(event);
            if passed_on.is_err() {
                pipeline.stop();
            }
            passed_on?;
            pipeline.lock().on_their_way -= 1;
            pipeline.room.notify_one();
        }
    }
    if pipeline.lock().panicked {
        let message = "a thread of this command has panicked: photos without a result may be left";
        return Err(Error::new(ErrorKind::Io, message));
    }
    Ok(())
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<()> {
    let thread = std::thread::Builder::new().name("dyrelu-photos".into()).spawn(work);
    thread
        .map(|_| ())
        .map_err(|e| Error::new(ErrorKind::Io, format!("cannot start a thread: {e}")).because(e))
}

type Photos = Box<dyn Iterator<Item = Found> + Send>;

struct Pipeline {
    source: Mutex<std::iter::Enumerate<Photos>>,
    settings: Settings,
    stages: Arc<Stages>,
    /// The most items on their way from the source to the caller.
    limit: usize,
    queue: Mutex<Queue>,
    /// Notified when a worker may have something to do.
    ready: Condvar,
    /// Notified when a reader may have something to do.
    room: Condvar,
}

#[derive(Default)]
struct Queue {
    /// What was read, with its place in the order.
    waiting: VecDeque<(usize, Loaded)>,
    /// The bytes of the files in `waiting`.
    bytes: usize,
    on_their_way: usize,
    /// The number of readers that may still add to `waiting`.
    readers: usize,
    stopped: bool,
    /// Whether a thread has panicked, and with it photos are gone.
    panicked: bool,
}

enum Loaded {
    Photo(PathBuf, Result<Pixels>),
    Other(Event),
}

/// The contents of a photo, compressed or not.
enum Pixels {
    Encoded(Vec<u8>),
    Decoded(Photo),
}

impl Loaded {
    fn bytes(&self) -> usize {
        match self {
            Loaded::Photo(_, Ok(Pixels::Encoded(bytes))) => bytes.len(),
            Loaded::Photo(_, Ok(Pixels::Decoded(photo))) => photo.pixels().len(),
            _ => 0,
        }
    }
}

impl Pipeline {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for notifications of `changed` until `holds` is true of the queue.
    fn wait(&self, changed: &Condvar, holds: impl Fn(&Queue) -> bool) -> MutexGuard<'_, Queue> {
        let queue = changed.wait_while(self.lock(), |queue| !holds(queue));
        queue.unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes all threads end after what they have begun.
    fn stop(&self) {
        self.lock().stopped = true;
        self.ready.notify_all();
        self.room.notify_all();
    }

    /// Stops if the current thread panics: nobody must wait for the results of its photos.
    fn stop_in_a_panic(&self) {
        if std::thread::panicking() {
            self.lock().panicked = true;
            self.stop();
        }
    }

    /// Reads photos until the source ends.
    fn read_photos(&self) {
        let _last = OnExit(|| {
            self.stop_in_a_panic();
            self.lock().readers -= 1;
            self.ready.notify_all();
        });
        loop {
            let is_free =
                |q: &Queue| q.on_their_way < self.limit && q.bytes < WAITING_BYTES || q.stopped;
            let mut queue = self.wait(&self.room, is_free);
            if queue.stopped {
                return;
            }
            queue.on_their_way += 1;
            drop(queue);
            let found = self.source.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((number, found)) = found else {
                self.lock().on_their_way -= 1;
                return;
            };
            let loaded = match found {
                Found::Photo(Input { name, contents }) => {
                    let pixels = self.read(&name, contents);
                    Loaded::Photo(name, pixels)
                }
                Found::Failure(e) => Loaded::Other(Event::Failure(e)),
                Found::Note(text) => Loaded::Other(Event::Note(text)),
            };
            let mut queue = self.lock();
            queue.bytes += loaded.bytes();
            queue.waiting.push_back((number, loaded));
            drop(queue);
            self.ready.notify_one();
        }
    }

    fn read(&self, name: &PathBuf, contents: Contents) -> Result<Pixels> {
        let _timer = Timer::new(&self.stages.reading);
        match contents {
            Contents::Pixels(photo) => Ok(Pixels::Decoded(photo)),
            Contents::Bytes(bytes) => Ok(Pixels::Encoded(bytes)),
            Contents::File => {
                let file = open_regular(name)?;
                let mut bytes = Vec::new();
                // One byte more shows the decoder that the file is too large.
                let longest = self.settings.max_bytes.saturating_add(1);
                file.take(longest).read_to_end(&mut bytes).map_err(|e| Error::io(name, e))?;
                Ok(Pixels::Encoded(bytes))
            }
        }
    }

    /// Takes items that were read: up to a batch of those that wait. Returns `None` at the end.
    fn take(&self) -> Option<Vec<(usize, Loaded)>> {
        let is_ready = |q: &Queue| !q.waiting.is_empty() || q.readers == 0 || q.stopped;
        let mut queue = self.wait(&self.ready, is_ready);
        if queue.stopped || queue.waiting.is_empty() {
            return None;
        }
        let count = queue.waiting.len().min(self.settings.batch);
        let taken: Vec<_> = queue.waiting.drain(..count).collect();
        let was_full = queue.bytes >= WAITING_BYTES;
        queue.bytes -= taken.iter().map(|(_, loaded)| loaded.bytes()).sum::<usize>();
        drop(queue);
        if was_full {
            self.room.notify_all();
        }
        Some(taken)
    }

    /// Classifies photos until there are none left.
    fn classify_photos(&self, mut classifier: Classifier, results: &Sender<(usize, Event)>) {
        let _stop = OnExit(|| self.stop_in_a_panic());
        let preprocess = classifier.preprocess().clone();
        while let Some(taken) = self.take() {
            let (mut places, mut prepared) = (Vec::new(), Vec::new());
            for (number, loaded) in taken {
                match loaded {
                    Loaded::Photo(name, pixels) => {
                        prepared.push(pixels.and_then(|pixels| self.prepare(pixels, &preprocess)));
                        places.push((number, name));
                    }
                    // The receiver is gone if the pipeline was stopped.
                    Loaded::Other(event) => drop(results.send((number, event))),
                }
            }
            let timer = Timer::new(&self.stages.network);
            let Settings { top, embedding, .. } = &self.settings;
            let classified = classifier.classify_with(prepared, *top, embedding.as_ref());
            drop(timer);
            for ((number, name), result) in places.into_iter().zip(classified) {
                let result = result.map_err(|e| e.in_file(&name));
                drop(results.send((number, Event::Photo(name, result))));
            }
        }
    }

    fn prepare(&self, pixels: Pixels, preprocess: &Preprocess) -> Result<dyrelu::Tensor> {
        let photo = match pixels {
            Pixels::Decoded(photo) => photo,
            Pixels::Encoded(bytes) => {
                let _timer = Timer::new(&self.stages.decoding);
                self.settings.decode.decode(&bytes)?
            }
        };
        let _timer = Timer::new(&self.stages.resizing);
        preprocess.apply(&photo)
    }
}

impl Stages {
    /// The times of the stages so far.
    pub fn times(&self) -> StageTimes {
        let stages = [
            ("reading", &self.reading),
            ("decoding", &self.decoding),
            ("resizing", &self.resizing),
            ("network", &self.network),
        ];
        StageTimes(stages.map(|(name, time)| (name, time.load(Relaxed) as f64 / 1e9)))
    }
}

impl StageTimes {
    /// The times that were added since `before`.
    pub fn since(&self, before: &StageTimes) -> StageTimes {
        StageTimes(std::array::from_fn(|i| (self.0[i].0, self.0[i].1 - before.0[i].1)))
    }

    /// The name, the time and the share of each stage.
    pub fn shares(&self) -> [(&'static str, f64, f64); 4] {
        let all = self.0.iter().map(|(_, time)| time).sum::<f64>().max(1e-9);
        self.0.map(|(name, time)| (name, time, time / all))
    }

    /// Describes the share of each stage.
    pub fn as_text(&self) -> String {
        self.shares().map(|(name, _, share)| format!("{name} {:.0}%", 100.0 * share)).join(", ")
    }
}

/// Adds the time of its life to a stage.
struct Timer<'a>(&'a AtomicU64, Instant);

impl<'a> Timer<'a> {
    fn new(stage: &'a AtomicU64) -> Self {
        Timer(stage, Instant::now())
    }
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        let time: Duration = self.1.elapsed();
        self.0.fetch_add(time.as_nanos() as u64, Relaxed);
    }
}

/// Calls a function when it is dropped, also in a panic.
struct OnExit<F: Fn()>(F);

impl<F: Fn()> Drop for OnExit<F> {
    fn drop(&mut self) {
        self.0();
    }
}
