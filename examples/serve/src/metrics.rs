//! What the server tells Prometheus.

use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};

use crate::failure::{Failure, Reason};

/// A part of the way of a request.
#[derive(Clone, Copy, Debug)]
pub enum Stage {
    /// The body arrives.
    Read,
    /// JSON is parsed, or a photo is decoded and resized.
    Prepare,
    /// The request waits for a worker.
    Queue,
    /// The network runs, for the whole batch.
    Run,
    /// From the first byte of the body to the response.
    Total,
}

/// The counters of a server.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    errors: IntCounterVec,
    stages: HistogramVec,
    /// Requests for a run that were read.
    pub received: IntCounter,
    /// Rows per run.
    pub batch_rows: Histogram,
    /// Requests that wait for a worker.
    pub queue_length: IntGauge,
    /// Requests that have been accepted and not been answered.
    pub in_flight: IntGauge,
}

impl Metrics {
    /// Creates counters that are zero.
    pub fn new() -> Self {
        Self::registered().expect("the names are valid, and differ")
    }

    fn registered() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let requests = IntCounterVec::new(
            Opts::new("dyrelu_requests_total", "Requests for a run that were answered."),
            &["model", "outcome"],
        )?;
        let errors = IntCounterVec::new(
            Opts::new("dyrelu_errors_total", "Requests of any kind that failed."),
            &["reason"],
        )?;
        let received = IntCounter::new(
            "dyrelu_requests_received_total",
            "Requests for a run that were read.",
        )?;
        let stages = HistogramVec::new(
            HistogramOpts::new("dyrelu_stage_seconds", "Time of a request in each stage.")
                .buckets(prometheus::exponential_buckets(0.0001, 2.0, 18)?),
            &["stage"],
        )?;
        let batch_rows = Histogram::with_opts(
            HistogramOpts::new("dyrelu_batch_rows", "Rows of a batch that ran.")
                .buckets(prometheus::exponential_buckets(1.0, 2.0, 8)?),
        )?;
        let queue_length =
            IntGauge::new("dyrelu_queue_length", "Requests that wait for a worker.")?;
        let in_flight = IntGauge::new(
            "dyrelu_requests_in_flight",
            "Requests that were accepted and not yet answered.",
        )?;
        registry.register(Box::new(received.clone()))?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(errors.clone()))?;
        registry.register(Box::new(stages.clone()))?;
        registry.register(Box::new(batch_rows.clone()))?;
        registry.register(Box::new(queue_length.clone()))?;
        registry.register(Box::new(in_flight.clone()))?;
        Ok(Metrics {
            registry,
            requests,
            errors,
            stages,
            received,
            batch_rows,
            queue_length,
            in_flight,
        })
    }

    /// Notes how long a stage took.
    pub fn stage(&self, stage: Stage, time: Duration) {
        let label = match stage {
            Stage::Read => "read",
            Stage::Prepare => "prepare",
            Stage::Queue => "queue",
            Stage::Run => "run",
            Stage::Total => "total",
        };
        self.stages.with_label_values(&[label]).observe(time.as_secs_f64());
    }

    /// Notes the answer to a request for a run of a model that is loaded.
    pub fn answered(&self, model: &str, failure: Option<&Failure>) {
        let outcome = failure.map_or("ok", |failure| failure.reason.label());
        self.requests.with_label_values(&[model, outcome]).inc();
    }

    /// Notes a request of any kind that failed.
    pub fn failed(&self, reason: Reason) {
        self.errors.with_label_values(&[reason.label()]).inc();
    }

    /// Returns all counters in Prometheus' text format.
    pub fn text(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}
