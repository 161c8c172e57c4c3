//! An inference server: the networks of a folder over the Open Inference Protocol.
//!
//! [`rest`] and [`grpc`] read requests, [`dispatch`] runs them on worker threads, [`models`] has the networks,
//! and [`server`] the connections.
#![forbid(unsafe_code)]

mod datatype;
mod dispatch;
pub mod failure;
mod grpc;
mod metrics;
mod models;
mod options;
mod rest;
mod server;
mod service;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use options::{LogFormat, Options};
use server::{Connections, Protocol, serve};
use service::Service;

fn main() -> ExitCode {
    let options = Options::parse();
    let log =
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(options.log_level);
    match options.log_format {
        LogFormat::Text => log.with_ansi(false).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!(error = %e, "the server cannot go on");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let http = TcpListener::bind((options.address, options.http_port)).await?;
    let grpc = TcpListener::bind((options.address, options.grpc_port)).await?;
    tracing::info!(http = %http.local_addr()?, grpc = %grpc.local_addr()?, "listening");

    let limits = Connections {
        most: options.max_connections.into(),
        read_timeout: options.read_timeout(),
        drain_timeout: Duration::from_secs(options.drain_timeout.into()),
    };
    let service = Arc::new(Service::start(options)?);
    let (stop, stopped) = watch::channel(());
    let port = |listener, protocol, router| {
        tokio::spawn(serve(listener, protocol, router, limits, stopped.clone()))
    };
    let http = port(http, Protocol::Http1, rest::router(service.clone()));
    let grpc = port(grpc, Protocol::Http2, grpc::router(service.clone()));

    // Clients can ask whether the server is ready while models load.
    let loading = service.clone();
    tokio::task::spawn_blocking(move || loading.models.load_all()).await??;
    service.set_ready(true);
    tracing::info!("ready");

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("shutting down");
    service.set_ready(false);
    stop.send(())?;
    http.await?;
    grpc.await?;
    let received = service.metrics.received.get();
    tokio::task::spawn_blocking(move || service.dispatcher.drain()).await?;
    tracing::info!(received, "all requests are answered");
    Ok(())
}
