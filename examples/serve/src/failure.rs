//! Why a request fails, and how HTTP and gRPC tell it.

use std::fmt;

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use dyrelu::ErrorKind;
use serde_json::json;
use tonic::Code;

/// The kind of a [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The request contradicts itself, the protocol or the network.
    Invalid,
    /// There is no such model, version or path.
    NotFound,
    /// The body is larger than the server allows.
    TooLarge,
    /// The body is compressed, or of a kind that is not read.
    Encoding,
    /// The body did not arrive in time.
    SlowBody,
    /// As many requests as the server holds are under way.
    QueueFull,
    /// The server does not have the models ready, or is shutting down.
    NotReady,
    /// The deadline passed.
    DeadlineExceeded,
    /// The client went away.
    Cancelled,
    /// The server failed.
    Internal,
}

impl Reason {
    /// Returns the value of the label `reason` of the metrics, and the codes of HTTP and gRPC.
    fn codes(self) -> (&'static str, StatusCode, Code) {
        match self {
            Self::Invalid => ("invalid", StatusCode::BAD_REQUEST, Code::InvalidArgument),
            Self::NotFound => ("not_found", StatusCode::NOT_FOUND, Code::NotFound),
            Self::TooLarge => ("too_large", StatusCode::PAYLOAD_TOO_LARGE, Code::OutOfRange),
            Self::Encoding => {
                ("encoding", StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument)
            }
            Self::SlowBody => ("slow_body", StatusCode::REQUEST_TIMEOUT, Code::DeadlineExceeded),
            Self::QueueFull => ("queue_full", StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable),
            Self::NotReady => ("not_ready", StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable),
            Self::DeadlineExceeded => {
                ("deadline", StatusCode::GATEWAY_TIMEOUT, Code::DeadlineExceeded)
            }
            // 499 is what nginx logs for a client that went away; nobody reads the response.
            Self::Cancelled => {
                let status = StatusCode::from_u16(499).expect("it has three digits");
                ("cancelled", status, Code::Cancelled)
            }
            Self::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR, Code::Internal),
        }
    }

    /// Returns the value of the label `reason` of the metrics.
    pub fn label(self) -> &'static str {
        self.codes().0
    }
}

/// Why a request failed, in one sentence for the client.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The kind of the failure.
    pub reason: Reason,
    /// What was expected, what was found and what to do.
    pub message: String,
}

impl Failure {
    /// Creates a failure.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Failure { reason, message: message.into() }
    }

    /// Creates a failure of kind [`Reason::Invalid`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Reason::Invalid, message)
    }
}

impl From<dyrelu::Error> for Failure {
    fn from(error: dyrelu::Error) -> Self {
        let reason = match error.kind() {
            ErrorKind::Io | ErrorKind::Mismatch => Reason::Internal,
            ErrorKind::Cancelled => Reason::Cancelled,
            ErrorKind::DeadlineExceeded => Reason::DeadlineExceeded,
            _ => Reason::Invalid,
        };
        Failure::new(reason, error.to_string())
    }
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl IntoResponse for Failure {
    /// Returns `{"error": message}`. The response carries the [`Reason`] as an extension.
    fn into_response(self) -> Response {
        let (_, status, _) = self.reason.codes();
        let mut response = (status, Json(json!({ "error": self.message }))).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
        }
        response.extensions_mut().insert(self.reason);
        response
    }
}

impl From<Failure> for tonic::Status {
    fn from(failure: Failure) -> Self {
        let (_, _, code) = failure.reason.codes();
        tonic::Status::new(code, failure.message)
    }
}

/// A queue of the default length is served within about this time.
const RETRY_AFTER_SECONDS: u16 = 1;
