//! Requests to workers: admission, batches, deadlines, and the end of a server.
//!
//! A request takes a place, of which there are a limited number, and keeps it until it is answered. It waits
//! in the [`Queue`] until a worker takes it, alone or in a batch. Each worker is a thread that blocks while
//! there is nothing to do, and runs a batch in one session on that thread.

mod job;
mod queue;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use dyrelu::{CancelToken, RunOptions};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::failure::{Failure, Reason};
use crate::metrics::{Metrics, Stage};
pub use job::{Done, Request};
use job::{Job, join, split};
pub use queue::Policy;
use queue::Queue;

/// The workers, and the requests that wait for them.
pub struct Dispatcher {
    queue: Arc<Queue>,
    places: Arc<Semaphore>,
    capacity: usize,
    workers: Mutex<Vec<JoinHandle<()>>>,
}

/// A place among the requests that the server holds.
pub struct Place(OwnedSemaphorePermit);

impl Dispatcher {
    /// Starts workers. At most `capacity` requests are held at a time.
    pub fn start(policy: Policy, capacity: usize, metrics: &Arc<Metrics>) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::new(policy, metrics.queue_length.clone()));
        let workers = (0..policy.workers).map(|i| {
            let (queue, metrics) = (queue.clone(), metrics.clone());
            let worker = std::thread::Builder::new().name(format!("worker-{i}"));
            worker.spawn(move || {
                while let Some(batch) = queue.next() {
                    run(batch, &metrics);
                }
            })
        });
        let workers = Mutex::new(workers.collect::<std::io::Result<_>>()?);
        let places = Arc::new(Semaphore::new(capacity));
        Ok(Dispatcher { queue, places, capacity, workers })
    }

    /// Returns a place for a request, if one is free.
    pub fn admit(&self) -> Result<Place, Failure> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| {
            let message = format!("{} requests are under way, try again later", self.capacity);
            Failure::new(Reason::QueueFull, message)
        });
        Ok(Place(place?))
    }

    /// Returns how many requests hold a place.
    pub fn in_flight(&self) -> usize {
        self.capacity - self.places.available_permits()
    }

    /// Runs a request, and returns what it gave or why it failed. If the future is dropped, the request is
    /// cancelled.
    pub async fn run(&self, place: Place, request: Request) -> Result<Done, Failure> {
        let (reply, answer) = oneshot::channel();
        let cancel = CancelToken::new();
        let _guard = CancelOnDrop(cancel.clone());
        let deadline = request.deadline;
        let queued_at = Instant::now();
        self.queue.push(Job { request, cancel, queued_at, reply, _place: place.0 })?;
        match tokio::time::timeout_at(deadline.into(), answer).await {
            Ok(Ok(result)) => result,
            // A worker drops jobs that are too late.
            Ok(Err(_)) | Err(_) => {
                Err(Failure::new(Reason::DeadlineExceeded, "the deadline of the request passed"))
            }
        }
    }

    /// Waits until all requests in the queue have run. Later ones are refused.
    pub fn drain(&self) {
        self.queue.close();
        let workers =
            std::mem::take(&mut *self.workers.lock().unwrap_or_else(PoisonError::into_inner));
        for worker in workers {
            if worker.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
    }
}

struct CancelOnDrop(CancelToken);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Runs a batch and answers its jobs.
fn run(batch: Vec<Job>, metrics: &Metrics) {
    let started = Instant::now();
    let rows: usize = batch.iter().map(|job| job.request.rows()).sum();
    metrics.batch_rows.observe(rows as f64);
    for job in &batch {
        metrics.stage(Stage::Queue, started - job.queued_at);
    }
    // The engine does not panic. If it does, this worker goes on, and the session is not used again.
    let outputs = catch_unwind(AssertUnwindSafe(|| outputs(&batch)));
    let ran = started.elapsed();
    metrics.stage(Stage::Run, ran);
    let panicked = |_| Err(Failure::new(Reason::Internal, "the run panicked"));
    match outputs.unwrap_or_else(panicked) {
        Ok(outputs) => {
            for (job, outputs) in batch.into_iter().zip(outputs) {
                let queued = started - job.queued_at;
                job.answer(Ok(Done { outputs, queued, ran }));
            }
        }
        Err(failure) => {
            for job in batch {
                job.answer(Err(failure.clone()));
            }
        }
    }
}

/// Returns the outputs of each job of a batch.
fn outputs(batch: &[Job]) -> Result<Vec<Vec<dyrelu::Tensor>>, Failure> {
    let inputs = join(batch)?;
    let mut options = RunOptions::default();
    // A run is of use as long as one of its clients waits.
    if let Some(last) = batch.iter().map(|job| job.request.deadline).max() {
        options = options.deadline(last);
    }
    if let [job] = batch {
        options = options.cancel_token(&job.cancel);
    }
    let version = &batch[0].request.version;
    let mut session = version.take_session();
    let outputs = session.run_with(&inputs, &options);
    version.keep_session(session);
    split(batch, outputs?)
}
