//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use tracing::level_filters::LevelFilter;

/// Serve the networks of a folder over HTTP and gRPC
///
/// The folder has models as NAME/VERSION/model.onnx or as NAME.onnx, each also with the ending safetensors.
/// Clients speak the Open Inference Protocol (KServe version 2), or post an image to
/// /v2/models/NAME/classify.
///
/// SIGTERM and SIGINT end the server: it accepts nothing more and finishes what it has accepted.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Options {
    /// Folder of the models
    pub folder: PathBuf,
    /// Address that both ports listen on; 0.0.0.0 admits other machines
    #[arg(long, default_value = "127.0.0.1")]
    pub address: IpAddr,
    /// Port of HTTP; 0 lets the system choose one
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    pub http_port: u16,
    /// Port of gRPC; 0 lets the system choose one
    #[arg(long, value_name = "PORT", default_value_t = 8001)]
    pub grpc_port: u16,
    /// Threads that run networks, each one batch at a time; by default one per processor
    #[arg(long, value_name = "THREADS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: Option<u16>,
    /// Most rows of a batch that is made of several requests; 1 runs each request alone
    #[arg(long, value_name = "ROWS", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    pub max_batch: u16,
    /// Microseconds that a request waits for others, at most, while a worker is idle
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 0)]
    pub max_delay: u32,
    /// Most requests that are held at a time, running or waiting; more are answered 503
    #[arg(long, value_name = "REQUESTS", default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..))]
    pub queue: u16,
    /// Most rows of a request
    #[arg(long, value_name = "ROWS", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub max_rows: u16,
    /// Most bytes of a request's body, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=2047))]
    pub max_body: u16,
    /// Most pixels of an image, in millions
    #[arg(long, value_name = "MILLIONS", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    pub max_pixels: u16,
    /// Most connections to each port; further ones wait to be accepted
    #[arg(long, value_name = "CONNECTIONS", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    pub max_connections: u16,
    /// Seconds after which a request fails whose client states no shorter timeout
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..))]
    pub timeout: u16,
    /// Seconds in which a client has to send a request's head, and then its body
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..))]
    pub read_timeout: u16,
    /// Seconds that the end of the server waits for requests under way
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub drain_timeout: u16,
    /// Form of the log on standard error
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Least severe messages in the log: off, error, warn, info, debug or trace
    #[arg(long, default_value_t = LevelFilter::INFO)]
    pub log_level: LevelFilter,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people
    Text,
    /// An object per line
    Json,
}

impl Options {
    /// Returns the number of worker threads.
    pub fn workers(&self) -> usize {
        let all = || std::thread::available_parallelism().map_or(1, usize::from);
        self.workers.map_or_else(all, usize::from)
    }

    /// Returns the most bytes of a body.
    pub fn max_body_bytes(&self) -> usize {
        usize::from(self.max_body) << 20
    }

    /// Returns the time in which the head of a request, or its body, has to arrive.
    pub fn read_timeout(&self) -> Duration {
        Duration::from_secs(self.read_timeout.into())
    }
}
