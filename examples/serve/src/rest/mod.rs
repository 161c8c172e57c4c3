//! The Open Inference Protocol over HTTP, images, and the metrics.

mod body;
mod infer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use dyrelu::vision::{DecodeOptions, Prediction};
use dyrelu::{DType, Port};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::datatype;
use crate::failure::{Failure, Reason};
use crate::metrics::Stage;
use crate::service::{self, Prepared, Service};
pub use infer::{in_input, output_number};

type Shared = State<Arc<Service>>;
type Answer<T = Response> = Result<T, Failure>;

/// Returns the routes of HTTP.
pub fn router(service: Arc<Service>) -> axum::Router {
    axum::Router::new()
        .route("/v2", get(server_metadata))
        .route("/v2/health/live", get(live))
        .route("/v2/health/ready", get(ready))
        .route("/v2/models/{name}", get(metadata))
        .route("/v2/models/{name}/versions/{version}", get(metadata))
        .route("/v2/models/{name}/ready", get(model_ready))
        .route("/v2/models/{name}/versions/{version}/ready", get(model_ready))
        .route("/v2/models/{name}/infer", post(infer))
        .route("/v2/models/{name}/versions/{version}/infer", post(infer))
        .route("/v2/models/{name}/classify", post(classify))
        .route("/v2/models/{name}/versions/{version}/classify", post(classify))
        .route("/v2/repository/index", post(index))
        .route("/v2/repository/models/{name}/load", post(load))
        .route("/v2/repository/models/{name}/unload", post(unload))
        .route("/metrics", get(metrics))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .layer(middleware::from_fn_with_state(service.clone(), observe))
        .with_state(service)
}

/// Logs a request, and counts it if it failed.
async fn observe(State(service): Shared, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_string());
    let response = next.run(request).await;
    let (status, milliseconds) = (response.status().as_u16(), milliseconds(started));
    if let Some(&reason) = response.extensions().get::<Reason>() {
        service.metrics.failed(reason);
        tracing::warn!(%method, path, status, reason = reason.label(), milliseconds, "request");
    } else if method == Method::GET {
        tracing::debug!(%method, path, status, milliseconds, "request");
    } else {
        tracing::info!(%method, path, status, milliseconds, "request");
    }
    response
}

fn milliseconds(started: Instant) -> f64 {
    (started.elapsed().as_secs_f64() * 1e6).round() / 1e3
}

async fn unknown(method: Method, uri: Uri) -> Failure {
    Failure::new(Reason::NotFound, format!("there is no {method} {}", uri.path()))
}

/// A model in a path, and its version if the path states one.
#[derive(Deserialize)]
struct Target {
    name: String,
    version: Option<String>,
}

async fn server_metadata() -> Json<Value> {
    let (name, version, extensions) = (service::NAME, service::VERSION, service::EXTENSIONS);
    Json(json!({ "name": name, "version": version, "extensions": extensions }))
}

async fn live() -> Json<Value> {
    Json(json!({ "live": true }))
}

async fn ready(State(service): Shared) -> Answer<Json<Value>> {
    if !service.is_ready() {
        return Err(Failure::new(Reason::NotReady, "the server is starting or shutting down"));
    }
    Ok(Json(json!({ "ready": true })))
}

async fn model_ready(State(service): Shared, Path(target): Path<Target>) -> Answer<Json<Value>> {
    let version = service.models.get(&target.name, target.version.as_deref())?;
    Ok(Json(json!({ "name": version.name, "ready": true })))
}

async fn metadata(State(service): Shared, Path(target): Path<Target>) -> Answer<Json<Value>> {
    let version = service.models.get(&target.name, target.version.as_deref())?;
    let versions = service.models.versions(&target.name);
    let tensor = |port: &Port| {
        let datatype = datatype::name(port.dtype());
        json!({ "name": port.name, "datatype": datatype, "shape": datatype::sizes_of(port) })
    };
    Ok(Json(json!({
        "name": version.name,
        "versions": versions.iter().map(u64::to_string).collect::<Vec<_>>(),
        "platform": service::PLATFORM,
        "inputs": version.model.inputs().iter().map(tensor).collect::<Vec<_>>(),
        "outputs": version.model.outputs().iter().map(tensor).collect::<Vec<_>>(),
    })))
}

async fn infer(
    State(service): Shared,
    Path(target): Path<Target>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let started = Instant::now();
    let head_length = number_in(&headers, &infer::HEADER_LENGTH);
    let known = head_length.as_ref().ok().copied().flatten();
    let body = body::read(&service, &headers, body, known).await?;
    let version = service.models.get(&target.name, target.version.as_deref())?;
    let head_length = head_length?;
    let model = version.model.clone();
    let prepare = move || infer::read(&model, body, head_length);
    let (done, wanted) = service.infer(version.clone(), prepare).await?;
    let answer = infer::answer(&version, &done.outputs, wanted);
    service.metrics.stage(Stage::Total, started.elapsed());
    answer
}

#[derive(Deserialize)]
struct ClassifyQuery {
    /// The number of classes in the answer.
    #[serde(default = "five")]
    top: usize,
    /// In microseconds.
    timeout: Option<u64>,
}

fn five() -> usize {
    5
}

#[derive(Serialize)]
struct Classified {
    model_name: String,
    model_version: String,
    predictions: Vec<Prediction>,
}

/// Classifies the image in the body.
async fn classify(
    State(service): Shared,
    Path(target): Path<Target>,
    query: Result<Query<ClassifyQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<Classified>> {
    let started = Instant::now();
    let body = body::read(&service, &headers, body, None).await?.head;
    let Query(query) = query.map_err(|e| Failure::invalid(e.body_text()))?;
    let version = service.models.get(&target.name, target.version.as_deref())?;
    let classifier = version.classifier.as_ref().map_err(|reason| {
        Failure::invalid(format!("the model {:?} does not classify images: {reason}", target.name))
    })?;
    let (model, preprocess) = (version.model.clone(), classifier.preprocess().clone());
    let pixels = u64::from(service.options.max_pixels) * 1_000_000;
    let prepare = move || {
        // Decoding takes up to 16 bytes per pixel, besides the file.
        let decode =
            DecodeOptions::default().max_pixels(pixels).max_memory(16 * pixels + (64 << 20));
        let input = preprocess.apply(&decode.decode(&body)?)?;
        let port = &model.inputs()[0];
        let dtype = port.dtype().filter(|dtype| dtype.is_float()).unwrap_or(DType::F32);
        let inputs = vec![(port.name.clone(), input.cast(dtype)?)];
        Ok(Prepared { inputs, timeout: query.timeout.map(Duration::from_micros), rest: () })
    };
    let (done, ()) = service.infer(version.clone(), prepare).await?;
    let predictions = classifier.predictions(&done.outputs[0], 1, query.top)?.swap_remove(0);
    service.metrics.stage(Stage::Total, started.elapsed());
    let (model_name, model_version) = (version.name.clone(), version.number.to_string());
    Ok(Json(Classified { model_name, model_version, predictions }))
}

#[derive(Default, Deserialize)]
struct IndexQuery {
    /// Whether models that are not loaded are left out.
    #[serde(default)]
    ready: bool,
}

async fn index(State(service): Shared, headers: HeaderMap, body: Body) -> Answer<Json<Value>> {
    let body = body::read(&service, &headers, body, None).await?.head;
    let query: IndexQuery = read_json(&body)?;
    let entries = service.clone().blocking(move || service.models.index()).await?;
    let entries = entries.into_iter().filter(|entry| entry.ready || !query.ready);
    let entries = entries.map(|entry| {
        let state = if entry.ready { "READY" } else { "UNAVAILABLE" };
        let version = entry.version.to_string();
        json!({ "name": entry.name, "version": version, "state": state, "reason": entry.reason })
    });
    Ok(Json(entries.collect()))
}

#[derive(Default, Deserialize)]
struct LoadQuery {
    #[serde(default)]
    parameters: serde_json::Map<String, Value>,
}

async fn load(
    State(service): Shared,
    Path(target): Path<Target>,
    headers: HeaderMap,
    body: Body,
) -> Answer<StatusCode> {
    let body = body::read(&service, &headers, body, None).await?.head;
    let query: LoadQuery = read_json(&body)?;
    if let Some(parameter) = query.parameters.keys().next() {
        let message = format!("models are loaded without parameters, found {parameter:?}");
        return Err(Failure::invalid(message));
    }
    service.clone().blocking(move || service.models.load(&target.name)).await?;
    Ok(StatusCode::OK)
}

async fn unload(State(service): Shared, Path(target): Path<Target>) -> Answer<StatusCode> {
    service.clone().blocking(move || service.models.unload(&target.name)).await?;
    Ok(StatusCode::OK)
}

async fn metrics(State(service): Shared) -> impl IntoResponse {
    service.metrics.in_flight.set(service.dispatcher.in_flight() as i64);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], service.metrics.text())
}

/// Returns the number in a header, if there is one.
fn number_in(headers: &HeaderMap, name: &HeaderName) -> Answer<Option<usize>> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let number = value.to_str().ok().and_then(|value| value.parse().ok());
    number.map(Some).ok_or_else(|| Failure::invalid(format!("the header {name} is no number")))
}

/// Reads JSON that may be left out.
fn read_json<T: Default + for<'a> Deserialize<'a>>(body: &[u8]) -> Answer<T> {
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body)
        .map_err(|e| Failure::invalid(format!("the request cannot be read: {e}")))
}
