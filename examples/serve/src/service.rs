//! What both protocols share: the way of a request from its bytes to the outputs of the network.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dyrelu::Tensor;
use tokio::sync::Semaphore;

use crate::dispatch::{Dispatcher, Done, Policy, Request};
use crate::failure::{Failure, Reason};
use crate::metrics::{Metrics, Stage};
use crate::models::{Models, Version};
use crate::options::Options;

/// The name of the server in its metadata.
pub const NAME: &str = env!("CARGO_PKG_NAME");
/// The version of the server in its metadata.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The extensions of the protocol that the server has.
pub const EXTENSIONS: [&str; 2] = ["binary_tensor_data", "model_repository"];
/// What runs the models, in their metadata.
pub const PLATFORM: &str = "dyrelu";

/// A server without its connections.
pub struct Service {
    /// The limits.
    pub options: Options,
    /// The models.
    pub models: Models,
    /// The workers.
    pub dispatcher: Dispatcher,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// As many requests are parsed or decoded at a time as there are workers.
    preparing: Arc<Semaphore>,
    is_ready: AtomicBool,
}

impl Service {
    /// Starts the workers. No model is loaded, and the service is not ready.
    pub fn start(options: Options) -> std::io::Result<Self> {
        let metrics = Arc::new(Metrics::new());
        let policy = Policy {
            workers: options.workers(),
            max_batch: options.max_batch.into(),
            max_delay: Duration::from_micros(options.max_delay.into()),
        };
        Ok(Service {
            models: Models::new(options.folder.clone()),
            dispatcher: Dispatcher::start(policy, options.queue.into(), &metrics)?,
            metrics,
            preparing: Arc::new(Semaphore::new(policy.workers)),
            is_ready: AtomicBool::new(false),
            options,
        })
    }

    /// Returns whether the models have been loaded and the server is not about to end.
    pub fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Relaxed)
    }

    /// Sets whether the service is ready.
    pub fn set_ready(&self, is_ready: bool) {
        self.is_ready.store(is_ready, Ordering::Relaxed);
    }

    /// Takes a request that has been read: `prepare` returns its inputs by name, its own time limit, and what
    /// the answer will need. It runs on a thread that may block.
    pub async fn infer<T: Send + 'static>(
        &self,
        version: Arc<Version>,
        prepare: impl FnOnce() -> Result<Prepared<T>, Failure> + Send + 'static,
    ) -> Result<(Done, T), Failure> {
        self.metrics.received.inc();
        let result = self.admit_and_run(version.clone(), prepare).await;
        self.metrics.answered(&version.name, result.as_ref().err());
        result
    }

    async fn admit_and_run<T: Send + 'static>(
        &self,
        version: Arc<Version>,
        prepare: impl FnOnce() -> Result<Prepared<T>, Failure> + Send + 'static,
    ) -> Result<(Done, T), Failure> {
        let started = Instant::now();
        let place = self.dispatcher.admit()?;
        let (max_rows, longest) = (self.options.max_rows.into(), self.options.timeout.into());
        let permit = self.preparing.clone().acquire_owned().await;
        let (request, rest) = self
            .blocking(move || {
                let _permit = permit;
                let Prepared { inputs, timeout, rest } = prepare()?;
                let longest = Duration::from_secs(longest);
                let deadline = started + timeout.map_or(longest, |timeout| timeout.min(longest));
                Ok((Request::new(version, inputs, deadline, max_rows)?, rest))
            })
            .await?;
        self.metrics.stage(Stage::Prepare, started.elapsed());
        let done = self.dispatcher.run(place, request).await?;
        tracing::debug!(queued = ?done.queued, ran = ?done.ran, "run");
        Ok((done, rest))
    }

    /// Runs work that takes long on a thread that may block.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let panicked = |_| Err(Failure::new(Reason::Internal, "the request could not be served"));
        tokio::task::spawn_blocking(work).await.unwrap_or_else(panicked)
    }
}

/// A request as its protocol states it.
pub struct Prepared<T> {
    /// The inputs by name, in any order.
    pub inputs: Vec<(String, Tensor)>,
    /// The time after which the client does not need the answer.
    pub timeout: Option<Duration>,
    /// What the answer needs.
    pub rest: T,
}
