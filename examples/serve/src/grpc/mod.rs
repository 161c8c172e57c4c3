//! The Open Inference Protocol over gRPC: `inference.GRPCInferenceService`.

mod messages;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::routing::post;
use bytes::Bytes;
use dyrelu::{Port, Tensor};
use prost::Message;
use tonic::metadata::MetadataMap;
use tonic::server::Grpc;
use tonic_prost::ProstCodec;

use self::messages::*;
use crate::datatype;
use crate::failure::{Failure, Reason};
use crate::metrics::Stage;
use crate::rest::{in_input, output_number};
use crate::service::{self, Prepared, Service};

type Answer<T> = Result<T, Failure>;

/// Returns the routes of gRPC.
pub fn router(service: Arc<Service>) -> axum::Router {
    let routes = axum::Router::new();
    let routes = method(routes, &service, "ServerLive", server_live);
    let routes = method(routes, &service, "ServerReady", server_ready);
    let routes = method(routes, &service, "ServerMetadata", server_metadata);
    let routes = method(routes, &service, "ModelReady", model_ready);
    let routes = method(routes, &service, "ModelMetadata", model_metadata);
    let routes = method(routes, &service, "ModelInfer", model_infer);
    let routes = method(routes, &service, "RepositoryIndex", index);
    let routes = method(routes, &service, "RepositoryModelLoad", load);
    let routes = method(routes, &service, "RepositoryModelUnload", unload);
    routes.fallback(|uri: axum::http::Uri| async move {
        let message = format!("there is no method {}", uri.path());
        tonic::Status::unimplemented(message).into_http::<Body>()
    })
}

/// Adds a method of the service.
fn method<Q, A, F>(
    routes: axum::Router,
    service: &Arc<Service>,
    name: &'static str,
    call: fn(Arc<Service>, Q, MetadataMap) -> F,
) -> axum::Router
where
    Q: Message + Default + 'static,
    A: Message + 'static,
    F: Future<Output = Answer<A>> + Send + 'static,
{
    let service = service.clone();
    let handler = move |request: axum::extract::Request| async move {
        let started = Instant::now();
        let limit = service.options.max_body_bytes();
        let time =
            service.options.read_timeout() + Duration::from_secs(service.options.timeout.into());
        let observed = service.clone();
        let respond = tower::service_fn(move |request: tonic::Request<Q>| {
            let service = service.clone();
            async move {
                let (metadata, _, message) = request.into_parts();
                let answer = call(service.clone(), message, metadata).await;
                answer.map(tonic::Response::new).map_err(|failure| {
                    service.metrics.failed(failure.reason);
                    tracing::warn!(method = name, reason = failure.reason.label(), "request");
                    tonic::Status::from(failure)
                })
            }
        });
        let mut grpc = Grpc::new(ProstCodec::default()).max_decoding_message_size(limit);
        let response = match tokio::time::timeout(time, grpc.unary(respond, request)).await {
            Ok(response) => response.map(Body::new),
            Err(_) => {
                observed.metrics.failed(Reason::SlowBody);
                tonic::Status::deadline_exceeded("the request did not arrive in time").into_http()
            }
        };
        let milliseconds = started.elapsed().as_millis();
        tracing::info!(method = name, milliseconds, "request");
        response
    };
    routes.route(&format!("/inference.GRPCInferenceService/{name}"), post(handler))
}

async fn server_live(_: Arc<Service>, _: Empty, _: MetadataMap) -> Answer<ServerLiveResponse> {
    Ok(ServerLiveResponse { live: true })
}

async fn server_ready(service: Arc<Service>, _: Empty, _: MetadataMap) -> Answer<ReadyResponse> {
    Ok(ReadyResponse { ready: service.is_ready() })
}

async fn server_metadata(
    _: Arc<Service>,
    _: Empty,
    _: MetadataMap,
) -> Answer<ServerMetadataResponse> {
    let (name, version) = (service::NAME.to_string(), service::VERSION.to_string());
    let extensions = service::EXTENSIONS.map(String::from).to_vec();
    Ok(ServerMetadataResponse { name, version, extensions })
}

async fn model_ready(
    service: Arc<Service>,
    request: ModelRequest,
    _: MetadataMap,
) -> Answer<ReadyResponse> {
    let ready = service.models.get(&request.name, Some(&request.version)).is_ok();
    Ok(ReadyResponse { ready })
}

async fn model_metadata(
    service: Arc<Service>,
    request: ModelRequest,
    _: MetadataMap,
) -> Answer<ModelMetadataResponse> {
    let version = service.models.get(&request.name, Some(&request.version))?;
    let versions = service.models.versions(&request.name);
    let tensor = |port: &Port| TensorMetadata {
        name: port.name.clone(),
        datatype: datatype::name(port.dtype()).to_string(),
        shape: datatype::sizes_of(port),
    };
    Ok(ModelMetadataResponse {
        name: version.name.clone(),
        versions: versions.iter().map(u64::to_string).collect(),
        platform: service::PLATFORM.to_string(),
        inputs: version.model.inputs().iter().map(tensor).collect(),
        outputs: version.model.outputs().iter().map(tensor).collect(),
    })
}

async fn model_infer(
    service: Arc<Service>,
    request: ModelInferRequest,
    metadata: MetadataMap,
) -> Answer<ModelInferResponse> {
    let started = Instant::now();
    let version = service.models.get(&request.model_name, Some(&request.model_version))?;
    let model = &version.model;
    let mut wanted = Vec::with_capacity(request.outputs.len());
    for output in &request.outputs {
        refuse_extensions(&output.name, &output.parameters)?;
        wanted.push(output_number(model, &output.name)?);
    }
    if wanted.is_empty() {
        wanted.extend(0..model.outputs().len());
    }
    let id = request.id.clone();
    let timeout = timeout(&request.parameters, &metadata);
    let prepare = move || Ok(Prepared { inputs: read_inputs(request)?, timeout, rest: () });
    let (done, ()) = service.infer(version.clone(), prepare).await?;
    let outputs = wanted.iter().map(|&i| InferTensor {
        name: version.model.outputs()[i].name.clone(),
        datatype: datatype::name(Some(done.outputs[i].dtype())).to_string(),
        shape: done.outputs[i].shape().iter().map(|&size| size as i64).collect(),
        ..InferTensor::default()
    });
    let raw = |&i: &usize| Bytes::copy_from_slice(done.outputs[i].bytes());
    service.metrics.stage(Stage::Total, started.elapsed());
    Ok(ModelInferResponse {
        model_name: version.name.clone(),
        model_version: version.number.to_string(),
        id,
        outputs: outputs.collect(),
        raw_output_contents: wanted.iter().map(raw).collect(),
    })
}

/// Returns the shorter of the two times that a client may state: the parameter `timeout` in microseconds, and
/// the deadline of the call.
fn timeout(
    parameters: &HashMap<String, InferParameter>,
    metadata: &MetadataMap,
) -> Option<Duration> {
    let parameter = parameters.get("timeout").and_then(|parameter| match parameter.choice {
        Some(ParameterChoice::Int64(time)) => u64::try_from(time).ok(),
        Some(ParameterChoice::Uint64(time)) => Some(time),
        _ => None,
    });
    let parameter = parameter.filter(|&time| time > 0).map(Duration::from_micros);
    let call = metadata.get("grpc-timeout").and_then(|value| call_timeout(value.to_str().ok()?));
    parameter.into_iter().chain(call).min()
}

/// Returns the time that a header `grpc-timeout` states: at most eight digits, and a unit.
fn call_timeout(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(3600 * number),
        "M" => Duration::from_secs(60 * number),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Returns the inputs of a request by name.
fn read_inputs(request: ModelInferRequest) -> Answer<Vec<(String, Tensor)>> {
    let raw = request.raw_input_contents;
    if !raw.is_empty() && raw.len() != request.inputs.len() {
        let (inputs, found) = (request.inputs.len(), raw.len());
        let message = format!("there are {inputs} inputs and raw contents of {found}");
        return Err(Failure::invalid(message));
    }
    let mut raw = raw.into_iter();
    let inputs = request.inputs.into_iter().map(|input| {
        refuse_extensions(&input.name, &input.parameters)?;
        let tensor = read_input(&input, raw.next());
        let tensor = tensor.map_err(|e| in_input(&input.name, e))?;
        Ok((input.name, tensor))
    });
    inputs.collect()
}

fn read_input(input: &InferTensor, raw: Option<Bytes>) -> Answer<Tensor> {
    let dtype = datatype::of_name(&input.datatype)?;
    let shape = datatype::shape_of(&input.shape)?;
    match (raw, &input.contents) {
        (Some(_), Some(_)) => Err(Failure::invalid("give either contents or raw contents")),
        (Some(raw), None) => datatype::from_bytes(dtype, &shape, &raw),
        (None, None) => datatype::from_bytes(dtype, &shape, &[]),
        (None, Some(contents)) => match &input.datatype[..] {
            "BOOL" => datatype::from_values(dtype, &shape, &contents.bool_contents),
            "INT8" | "INT32" => datatype::from_values(dtype, &shape, &contents.int_contents),
            "INT64" => datatype::from_values(dtype, &shape, &contents.int64_contents),
            "UINT8" => datatype::from_values(dtype, &shape, &contents.uint_contents),
            "FP32" => datatype::from_values(dtype, &shape, &contents.fp32_contents),
            "FP64" => datatype::from_values(dtype, &shape, &contents.fp64_contents),
            other => Err(Failure::invalid(format!("{other} is transferred as raw contents only"))),
        },
    }
}

/// Refuses tensors in shared memory, and outputs as classes.
fn refuse_extensions(name: &str, parameters: &HashMap<String, InferParameter>) -> Answer<()> {
    for parameter in ["shared_memory_region", "classification"] {
        if parameters.contains_key(parameter) {
            let message =
                format!("{name:?} has the parameter {parameter:?}, which is not supported");
            return Err(Failure::invalid(message));
        }
    }
    Ok(())
}

async fn index(
    service: Arc<Service>,
    request: RepositoryIndexRequest,
    _: MetadataMap,
) -> Answer<RepositoryIndexResponse> {
    let entries = service.clone().blocking(move || service.models.index()).await?;
    let entries = entries.into_iter().filter(|entry| entry.ready || !request.ready);
    let entries = entries.map(|entry| ModelIndex {
        name: entry.name,
        version: entry.version.to_string(),
        state: if entry.ready { "READY" } else { "UNAVAILABLE" }.to_string(),
        reason: entry.reason,
    });
    Ok(RepositoryIndexResponse { models: entries.collect() })
}

async fn load(
    service: Arc<Service>,
    request: RepositoryModelRequest,
    _: MetadataMap,
) -> Answer<Empty> {
    if !request.parameters.is_empty() {
        return Err(Failure::invalid("models are loaded without parameters"));
    }
    service.clone().blocking(move || service.models.load(&request.model_name)).await?;
    Ok(Empty {})
}

async fn unload(
    service: Arc<Service>,
    request: RepositoryModelRequest,
    _: MetadataMap,
) -> Answer<Empty> {
    service.clone().blocking(move || service.models.unload(&request.model_name)).await?;
    Ok(Empty {})
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::options::Options;

    /// Calls a method and returns its answer, or the code and message of its failure.
    async fn call<Q: Message, A: Message + Default>(
        router: &axum::Router,
        name: &str,
        message: Q,
    ) -> Result<A, (String, String)> {
        let message = message.encode_to_vec();
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let body = [&[0], &length[..], &message].concat();
        let request = axum::http::Request::post(format!("/inference.GRPCInferenceService/{name}"))
            .header("content-type", "application/grpc");
        let response =
            router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        let headers = response.headers().clone();
        let body = response.into_body().collect().await.unwrap();
        let trailers = body.trailers().cloned().unwrap_or(headers);
        let text = |name: &str| {
            trailers.get(name).map_or(String::new(), |value| value.to_str().unwrap().to_string())
        };
        match text("grpc-status").as_str() {
            "0" => Ok(A::decode(&body.to_bytes()[5..]).unwrap()),
            code => Err((code.to_string(), text("grpc-message"))),
        }
    }

    #[tokio::test]
    async fn methods_answer_and_refuse() {
        let folder = tempfile::tempdir().unwrap();
        let network = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/dialects/leaky-relu-script-free.onnx"
        );
        fs::copy(network, folder.path().join("small.onnx")).unwrap();
        let options = Options::parse_from(["serve", folder.path().to_str().unwrap()]);
        let service = Arc::new(Service::start(options).unwrap());
        service.models.load_all().unwrap();
        let router = router(service.clone());

        let ready: ReadyResponse = call(&router, "ServerReady", Empty {}).await.unwrap();
        assert!(!ready.ready);
        let model = ModelRequest { name: "small".to_string(), version: String::new() };
        let metadata: ModelMetadataResponse = call(&router, "ModelMetadata", model).await.unwrap();
        assert_eq!(metadata.inputs[0].shape, [-1, 3, 13, 11]);
        assert_eq!(metadata.versions, ["1"]);

        let data: Vec<f32> = (0..429).map(|i| i as f32 / 429.0).collect();
        let input = InferTensor {
            name: "input".to_string(),
            datatype: "FP32".to_string(),
            shape: vec![1, 3, 13, 11],
            contents: Some(InferTensorContents {
                fp32_contents: data.clone(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let typed = ModelInferRequest {
            model_name: "small".to_string(),
            inputs: vec![input.clone()],
            ..Default::default()
        };
        let raw = ModelInferRequest {
            raw_input_contents: vec![bytemuck::cast_slice(&data).to_vec().into()],
            inputs: vec![InferTensor { contents: None, ..input }],
            ..typed.clone()
        };
        let from_typed: ModelInferResponse =
            call(&router, "ModelInfer", typed.clone()).await.unwrap();
        let from_raw: ModelInferResponse = call(&router, "ModelInfer", raw).await.unwrap();
        assert_eq!(from_typed, from_raw);
        assert_eq!(from_raw.outputs[0].shape, [1, 5]);
        assert_eq!(from_raw.raw_output_contents[0].len(), 20);

        let mut wrong = typed.clone();
        wrong.inputs[0].shape = vec![1, 3, 13, 12];
        let failure =
            call::<_, ModelInferResponse>(&router, "ModelInfer", wrong).await.unwrap_err();
        assert_eq!(failure.0, "3");
        assert!(failure.1.contains("takes%20468%20elements"), "{}", failure.1);
        let absent = ModelInferRequest { model_name: "large".to_string(), ..typed };
        let failure =
            call::<_, ModelInferResponse>(&router, "ModelInfer", absent).await.unwrap_err();
        assert_eq!(failure.0, "5");
        let failure = call::<_, Empty>(&router, "ModelConfig", Empty {}).await.unwrap_err();
        assert_eq!(failure.0, "12");
        service.dispatcher.drain();
    }

    #[test]
    fn timeouts_of_calls_are_read() {
        assert_eq!(call_timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(call_timeout("99999999H"), Some(Duration::from_secs(3600 * 99_999_999)));
        assert_eq!(call_timeout("7u"), Some(Duration::from_micros(7)));
        for wrong in ["", "m", "12", "123456789S", "-1S", "1é"] {
            assert_eq!(call_timeout(wrong), None, "{wrong}");
        }
    }
}
