//! Requests for a run, and their answers, in JSON and in the binary tensor extension: the JSON is followed by
//! the bytes of tensors, and the header `Inference-Header-Content-Length` states where they begin.

use std::time::Duration;

use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use dyrelu::{DType, Model, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::body::Received;
use crate::datatype::{self, Flat};
use crate::failure::{Failure, Reason};
use crate::models::Version;
use crate::service::Prepared;

/// The header that states the length of the JSON in front of binary tensors.
pub const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

#[derive(Deserialize)]
struct Message<'a> {
    id: Option<String>,
    #[serde(default)]
    parameters: Parameters,
    #[serde(borrow)]
    inputs: Vec<Input<'a>>,
    #[serde(default)]
    outputs: Vec<WantedOutput>,
}

#[derive(Default, Deserialize)]
struct Parameters {
    /// Whether outputs are binary for which nothing else is stated.
    #[serde(default)]
    binary_data_output: bool,
    /// In microseconds.
    timeout: Option<u64>,
}

#[derive(Deserialize)]
struct Input<'a> {
    name: String,
    datatype: String,
    shape: Vec<i64>,
    #[serde(default)]
    parameters: TensorParameters,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WantedOutput {
    name: String,
    #[serde(default)]
    parameters: TensorParameters,
}

#[derive(Default, Deserialize)]
struct TensorParameters {
    binary_data_size: Option<usize>,
    binary_data: Option<bool>,
    classification: Option<u64>,
    shared_memory_region: Option<String>,
}

impl TensorParameters {
    fn check(&self, name: &str) -> Result<(), Failure> {
        if self.shared_memory_region.is_some() {
            let message = format!("{name:?} is in shared memory, which this server does not have");
            return Err(Failure::invalid(message));
        }
        if self.classification.is_some_and(|classes| classes > 0) {
            let message = format!(
                "{name:?} is asked for as classes, which this server does not have; post an image to \
                 /v2/models/NAME/classify"
            );
            return Err(Failure::invalid(message));
        }
        Ok(())
    }
}

/// What an answer needs of its request.
pub struct Wanted {
    id: Option<String>,
    /// The numbers of the outputs, and whether they are binary.
    outputs: Vec<(usize, bool)>,
}

/// Reads the body of a request for a run of `model`.
pub fn read(
    model: &Model,
    body: Received,
    head_length: Option<usize>,
) -> Result<Prepared<Wanted>, Failure> {
    if let Some(length) = head_length.filter(|&length| length > body.len()) {
        let found = body.len();
        let message = format!("{HEADER_LENGTH} is {length}, and the body has {found} bytes");
        return Err(Failure::invalid(message));
    }
    let Received { head, tensors: mut binary } = body;
    let message: Message = serde_json::from_slice(&head)
        .map_err(|e| Failure::invalid(format!("the request cannot be read: {e}")))?;
    let (mut at, all) = (0, binary.bytes().len());
    let mut inputs = Vec::with_capacity(message.inputs.len());
    for input in message.inputs {
        let name = input.name;
        input.parameters.check(&name)?;
        let tensor = match (input.parameters.binary_data_size, input.data) {
            (Some(size), None) if size <= all - at => {
                let first = at;
                at += size;
                tensor(&input.datatype, &input.shape, |dtype, shape| {
                    let is_all = dtype == DType::F32 && size == all;
                    match is_all.then(|| binary.take()).flatten() {
                        Some(elements) => datatype::from_elements(shape, elements),
                        None => {
                            // None are left where an empty tensor follows one of all bytes.
                            let bytes = binary.bytes().get(first..at).unwrap_or_default();
                            datatype::from_bytes(dtype, shape, bytes)
                        }
                    }
                })
            }
            (Some(size), None) => {
                let found = all - at;
                Err(Failure::invalid(format!("{size} bytes are stated, {found} are left")))
            }
            (None, Some(json)) => tensor(&input.datatype, &input.shape, |dtype, shape| {
                datatype::from_json(dtype, shape, json)
            }),
            _ => {
                Err(Failure::invalid("give either \"data\" or the parameter \"binary_data_size\""))
            }
        };
        let tensor = tensor.map_err(|e| in_input(&name, e))?;
        inputs.push((name, tensor));
    }
    if at < all {
        let left = all - at;
        return Err(Failure::invalid(format!("{left} bytes of the body belong to no input")));
    }
    let outputs = wanted(model, &message.outputs, message.parameters.binary_data_output)?;
    let timeout = message.parameters.timeout.filter(|&timeout| timeout > 0);
    Ok(Prepared {
        inputs,
        timeout: timeout.map(Duration::from_micros),
        rest: Wanted { id: message.id, outputs },
    })
}

fn tensor(
    datatype: &str,
    shape: &[i64],
    read: impl FnOnce(DType, &[usize]) -> Result<Tensor, Failure>,
) -> Result<Tensor, Failure> {
    read(datatype::of_name(datatype)?, &datatype::shape_of(shape)?)
}

/// Adds the input at which it happened to a failure.
pub fn in_input(name: &str, failure: Failure) -> Failure {
    Failure::new(failure.reason, format!("input {name:?}: {}", failure.message))
}

/// Returns the numbers of the outputs that a client asks for: all if it names none.
fn wanted(
    model: &Model,
    outputs: &[WantedOutput],
    binary: bool,
) -> Result<Vec<(usize, bool)>, Failure> {
    if outputs.is_empty() {
        return Ok((0..model.outputs().len()).map(|i| (i, binary)).collect());
    }
    let number = |output: &WantedOutput| {
        output.parameters.check(&output.name)?;
        let binary = output.parameters.binary_data.unwrap_or(binary);
        Ok((output_number(model, &output.name)?, binary))
    };
    outputs.iter().map(number).collect()
}

/// Returns the number of the output with this name.
pub fn output_number(model: &Model, name: &str) -> Result<usize, Failure> {
    model.outputs().iter().position(|port| port.name == name).ok_or_else(|| {
        let known = model.outputs().iter().map(|port| format!("{:?}", port.name));
        let known = known.collect::<Vec<_>>().join(", ");
        Failure::invalid(format!("the model has no output {name:?}, its outputs are {known}"))
    })
}

#[derive(Serialize)]
struct Answer<'a> {
    model_name: &'a str,
    model_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    outputs: Vec<Output<'a>>,
}

#[derive(Serialize)]
struct Output<'a> {
    name: &'a str,
    datatype: &'static str,
    shape: &'a [usize],
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<BinarySize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Flat>,
}

#[derive(Serialize)]
struct BinarySize {
    binary_data_size: usize,
}

/// Returns the answer to a request whose run gave `outputs`.
pub fn answer(version: &Version, outputs: &[Tensor], wanted: Wanted) -> Result<Response, Failure> {
    let mut binary: Vec<&[u8]> = Vec::new();
    let described = wanted.outputs.iter().map(|&(i, is_binary)| {
        let tensor = &outputs[i];
        let (parameters, data) = if is_binary {
            binary.push(tensor.bytes());
            (Some(BinarySize { binary_data_size: tensor.bytes().len() }), None)
        } else {
            (None, Some(Flat(tensor.clone())))
        };
        let name = &version.model.outputs()[i].name;
        let datatype = datatype::name(Some(tensor.dtype()));
        Output { name, datatype, shape: tensor.shape(), parameters, data }
    });
    let answer = Answer {
        model_name: &version.name,
        model_version: version.number.to_string(),
        id: wanted.id,
        outputs: described.collect(),
    };
    let json = serde_json::to_vec(&answer).map_err(|e| {
        Failure::new(Reason::Internal, format!("the answer cannot be written: {e}"))
    })?;
    if binary.is_empty() {
        return Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response());
    }
    let length = json.len().to_string();
    let body = Bytes::from([&[&json[..]], &binary[..]].concat().concat());
    let headers =
        [(header::CONTENT_TYPE, "application/octet-stream"), (HEADER_LENGTH, length.as_str())];
    Ok((headers, body).into_response())
}
