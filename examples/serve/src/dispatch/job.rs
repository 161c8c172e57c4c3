//! A request, and the batch in which it runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dyrelu::{CancelToken, Model, Tensor};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::datatype;
use crate::failure::{Failure, Reason};
use crate::models::Version;

/// Inputs that have been checked against their network.
pub struct Request {
    /// The network.
    pub version: Arc<Version>,
    /// One tensor per input of the network, in its order.
    pub inputs: Vec<Tensor>,
    /// When the answer is of no more use.
    pub deadline: Instant,
    /// The size of the first axis, if requests can be joined along it.
    rows: Option<usize>,
}

impl Request {
    /// Checks inputs with their names, in any order.
    pub fn new(
        version: Arc<Version>,
        named: Vec<(String, Tensor)>,
        deadline: Instant,
        max_rows: usize,
    ) -> Result<Self, Failure> {
        let inputs = in_order(&version.model, named)?;
        let shapes: Vec<Vec<usize>> = inputs.iter().map(|input| input.shape().to_vec()).collect();
        version.model.output_shapes(&shapes)?;
        let rows = joinable_rows(&version.model, &shapes);
        if let Some(rows) = rows.filter(|&rows| rows > max_rows) {
            let message = format!("a request may have {max_rows} rows, this one has {rows}");
            return Err(Failure::invalid(message));
        }
        Ok(Request { version, inputs, deadline, rows })
    }

    /// Returns the size of the first axis if requests can be joined along it, otherwise 1.
    pub fn rows(&self) -> usize {
        self.rows.unwrap_or(1)
    }

    /// Returns whether both can run as one batch.
    pub fn joins(&self, other: &Request) -> bool {
        let row = |tensor: &Tensor| tensor.shape()[1..].to_vec();
        Arc::ptr_eq(&self.version, &other.version)
            && self.rows.is_some()
            && other.rows.is_some()
            && self.inputs.iter().map(row).eq(other.inputs.iter().map(row))
    }
}

/// Returns one tensor per input of the network, in its order.
fn in_order(model: &Model, named: Vec<(String, Tensor)>) -> Result<Vec<Tensor>, Failure> {
    let mut inputs: Vec<Option<Tensor>> = vec![None; model.inputs().len()];
    for (name, tensor) in named {
        let Some(at) = model.inputs().iter().position(|port| port.name == name) else {
            let known = model.inputs().iter().map(|port| format!("{:?}", port.name));
            let known = known.collect::<Vec<_>>().join(", ");
            let message = format!("the model has no input {name:?}, its inputs are {known}");
            return Err(Failure::invalid(message));
        };
        let declared = model.inputs()[at].dtype();
        if declared.is_some_and(|declared| declared != tensor.dtype()) {
            let (expected, found) =
                (datatype::name(declared), datatype::name(Some(tensor.dtype())));
            let message = format!("the input {name:?} takes {expected}, found {found}");
            return Err(Failure::invalid(message));
        }
        if inputs[at].replace(tensor).is_some() {
            return Err(Failure::invalid(format!("the input {name:?} is given twice")));
        }
    }
    let ports = model.inputs().iter().zip(inputs);
    let given = ports.map(|(port, input)| {
        input.ok_or_else(|| Failure::invalid(format!("the input {:?} is missing", port.name)))
    });
    given.collect()
}

/// Returns the size of the first axis if it is that of all inputs and outputs, and the network takes other
/// sizes too.
fn joinable_rows(model: &Model, shapes: &[Vec<usize>]) -> Option<usize> {
    let rows = *shapes.first()?.first().filter(|&&rows| rows > 0)?;
    let gives = |rows: usize| {
        let with_rows = |shape: &Vec<usize>| {
            let rest = shape.get(1..).unwrap_or_default();
            [&[rows], rest].concat()
        };
        let shapes: Vec<Vec<usize>> = shapes.iter().map(with_rows).collect();
        let outputs = model.output_shapes(&shapes).unwrap_or_default();
        let has_rows = |shape: &Option<Vec<usize>>| {
            shape.as_ref().is_some_and(|shape| shape.first() == Some(&rows))
        };
        !outputs.is_empty() && outputs.iter().all(has_rows)
    };
    let same = shapes.iter().all(|shape| shape.first() == Some(&rows));
    (same && gives(rows) && gives(rows + 1)).then_some(rows)
}

/// What a run gave for one request.
pub struct Done {
    /// One tensor per output of the network, in its order.
    pub outputs: Vec<Tensor>,
    /// How long the request waited for a worker.
    pub queued: Duration,
    /// How long its batch ran.
    pub ran: Duration,
}

/// A request in the queue.
pub struct Job {
    /// What to run.
    pub request: Request,
    /// Cancelled when the client goes away.
    pub cancel: CancelToken,
    /// When it was queued.
    pub queued_at: Instant,
    pub(super) reply: oneshot::Sender<Result<Done, Failure>>,
    /// The place among the requests that the server holds.
    pub(super) _place: OwnedSemaphorePermit,
}

impl Job {
    /// Answers the request. Nobody may be waiting for it any more.
    pub fn answer(self, result: Result<Done, Failure>) {
        let _ = self.reply.send(result);
    }

    /// Returns whether nobody waits for the answer.
    pub fn is_abandoned(&self) -> bool {
        self.reply.is_closed() || self.request.deadline <= Instant::now()
    }
}

/// Returns the inputs of all jobs as those of one run.
pub fn join(jobs: &[Job]) -> Result<Vec<Tensor>, Failure> {
    if let [job] = jobs {
        return Ok(job.request.inputs.clone());
    }
    let rows: usize = jobs.iter().map(|job| job.request.rows()).sum();
    let first = &jobs[0].request.inputs;
    let joined = first.iter().enumerate().map(|(i, input)| {
        let parts = jobs.iter().map(|job| &job.request.inputs[i]);
        let shape = [&[rows], &input.shape()[1..]].concat();
        datatype::joined(input.dtype(), &shape, parts)
    });
    joined.collect()
}

/// Returns the outputs of each job: its rows of the outputs of the run.
pub fn split(jobs: &[Job], outputs: Vec<Tensor>) -> Result<Vec<Vec<Tensor>>, Failure> {
    if jobs.len() == 1 {
        return Ok(vec![outputs]);
    }
    let total: usize = jobs.iter().map(|job| job.request.rows()).sum();
    if let Some(output) = outputs.iter().find(|output| output.shape().first() != Some(&total)) {
        let message = format!("an output of {total} rows has the shape {:?}", output.shape());
        return Err(Failure::new(Reason::Internal, message));
    }
    let mut first = 0;
    let parts = jobs.iter().map(|job| {
        let rows = job.request.rows();
        let part = outputs.iter().map(|output| {
            let row = output.bytes().len() / total;
            let shape = [&[rows], &output.shape()[1..]].concat();
            let bytes = &output.bytes()[first * row..(first + rows) * row];
            datatype::from_bytes(output.dtype(), &shape, bytes)
        });
        let part = part.collect();
        first += rows;
        part
    });
    parts.collect()
}
