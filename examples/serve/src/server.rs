//! Connections: their number, their patience, and their end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// The version of HTTP that a port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without encryption, for gRPC.
    Http2,
}

/// The limits of the connections to a port.
#[derive(Clone, Copy, Debug)]
pub struct Connections {
    /// The most at a time.
    pub most: usize,
    /// The time in which the head of a request has to arrive. A connection that is idle for longer ends.
    pub read_timeout: Duration,
    /// The time that requests under way have after the port is closed.
    pub drain_timeout: Duration,
}

/// Answers the requests to a port by `router` until `stop` changes. Then accepts no more connections, and
/// returns when all requests under way have been answered.
pub async fn serve(
    listener: TcpListener,
    protocol: Protocol,
    router: Router,
    limits: Connections,
    mut stop: watch::Receiver<()>,
) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    let builder = match protocol {
        Protocol::Http1 => {
            builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.read_timeout);
            builder.http1_only()
        }
        Protocol::Http2 => {
            let mut http2 = builder.http2();
            http2.timer(TokioTimer::new()).keep_alive_interval(limits.read_timeout);
            // A tensor of an image does not fit into the usual 64 KiB, and would wait for the client's turn.
            http2.initial_stream_window_size(1 << 20).initial_connection_window_size(4 << 20);
            builder.http2_only()
        }
    };
    let builder = Arc::new(builder);
    let service = TowerToHyperService::new(router);
    let connections = Arc::new(Semaphore::new(limits.most));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &connections) => accepted,
            _ = stop.changed() => break,
        };
        let (stream, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(e) => {
                // Too many open files, for instance: others will end.
                tracing::warn!(error = %e, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (builder, service, watcher) = (builder.clone(), service.clone(), graceful.watcher());
        let mut stop = stop.clone();
        tokio::spawn(async move {
            let _permit = permit;
            // Answers are small, and should not wait for more.
            let _ = stream.set_nodelay(true);
            // The builder waits without limit for the first byte of HTTP/2.
            tokio::select! {
                biased;
                first = tokio::time::timeout(limits.read_timeout, stream.readable()) => {
                    if !matches!(first, Ok(Ok(()))) {
                        return;
                    }
                }
                _ = stop.changed() => return,
            }
            let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
            if let Err(e) = watcher.watch(connection).await {
                tracing::debug!(error = %e, "a connection broke");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.drain_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were under way for longer than the end of the server waits");
    }
}

/// Accepts a connection once there are fewer than the most.
async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = connections.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}
