//! Compares a run on a batch with runs on its images.

use std::sync::Arc;

use dyrelu::graph::{Graph, TensorType};
use dyrelu::{Model, Session, Tensor, reference};

use super::tolerance::Tolerance;
use super::{Check, run, same_bits};
use crate::graphs::Case;

/// The batch on which a network with a fixed batch of 1 is run, if the compiler freed the batch.
const IMAGES: usize = 3;

/// Checks that images give the same bits alone and in a batch, if they are independent of each other
/// in the reference.
pub fn check(case: &Case, graph: &Graph, model: &Arc<Model>, session: &mut Session) -> Check {
    let free = |ty: Option<&TensorType>| Some(ty?.dims.first()?.as_symbol()? == "N");
    let is_free = |inputs: &[dyrelu::graph::ValueId], graph: &Graph| {
        inputs.iter().all(|&id| free(graph.value(id).input.as_ref()) == Some(true))
    };
    if case.inputs.is_empty() {
        return Ok(());
    }
    if is_free(graph.inputs(), graph) {
        return as_declared(case, graph, model, session);
    }
    let freed = model.inputs().iter().all(|port| {
        port.ty
            .as_ref()
            .is_some_and(|ty| ty.dims.first().is_some_and(|dim| dim.as_size().is_none()))
    });
    match freed {
        true => freed_by_compiler(case, graph, model, session),
        false => Ok(()),
    }
}

/// Checks a network that declares a free batch.
fn as_declared(case: &Case, graph: &Graph, model: &Arc<Model>, session: &mut Session) -> Check {
    let images = case.inputs[0].shape()[0];
    if images == 0 {
        return Ok(());
    }
    let mut singles = Vec::new();
    for i in 0..images {
        let inputs = images_of(&case.inputs, i..i + 1)?;
        match reference::run(graph, &inputs) {
            Ok(expected) => {
                let outputs = session.run(&inputs);
                let outputs = outputs.map_err(|e| format!("a single image is refused: {e}"))?;
                Tolerance::new(graph, &inputs, &expected)
                    .check(&outputs)
                    .map_err(|e| format!("image {i} alone differs from the reference: {e}"))?;
                singles.push((expected, outputs));
            }
            // The network does not accept a single image. The engine must not panic on it.
            Err(_) => {
                let _ = session.run(&inputs);
                return Ok(());
            }
        }
    }
    let expected = reference::run(graph, &case.inputs).map_err(|e| e.to_string())?;
    let joined: Option<Vec<_>> = (0..expected.len())
        .map(|output| join(singles.iter().map(|(reference, _)| &reference[output])))
        .collect();
    let independent = joined.is_some_and(|joined| same_bits(&joined, &expected).is_ok());
    if !independent {
        return Ok(());
    }
    let outputs = run(model, &case.inputs).map_err(|e| format!("the batch is refused: {e}"))?;
    let joined: Option<Vec<_>> = (0..expected.len())
        .map(|number| join(singles.iter().map(|(_, outputs)| &outputs[number])))
        .collect();
    let joined = joined.ok_or("results of single images differ in shape from the reference's")?;
    same_bits(&outputs, &joined).map_err(|e| format!("images differ in a batch: {e}"))
}

/// Checks a network with a fixed batch of 1 that the compiler freed.
fn freed_by_compiler(
    case: &Case,
    graph: &Graph,
    model: &Arc<Model>,
    session: &mut Session,
) -> Check {
    if case.inputs.iter().any(|tensor| tensor.shape().first() != Some(&1)) {
        return Ok(());
    }
    let mut batch = Vec::new();
    for tensor in &case.inputs {
        batch.push((0..IMAGES).map(|i| varied(tensor, i)).collect::<Vec<_>>());
    }
    let mut singles = Vec::new();
    for i in 0..IMAGES {
        let inputs: Vec<Tensor> = batch.iter().map(|images| images[i].clone()).collect();
        let Ok(expected) = reference::run(graph, &inputs) else { return Ok(()) };
        let outputs = session.run(&inputs).map_err(|e| format!("an image is refused: {e}"))?;
        Tolerance::new(graph, &inputs, &expected)
            .check(&outputs)
            .map_err(|e| format!("image {i} differs from the reference: {e}"))?;
        singles.push(outputs);
    }
    let inputs: Option<Vec<Tensor>> = batch.iter().map(|images| join(images.iter())).collect();
    let inputs = inputs.ok_or("images have different shapes")?;
    let outputs = run(model, &inputs).map_err(|e| format!("a freed batch is refused: {e}"))?;
    for (number, output) in outputs.iter().enumerate() {
        let joined = join(singles.iter().map(|outputs| &outputs[number]));
        let joined = joined.ok_or("outputs of images have different shapes")?;
        same_bits(std::slice::from_ref(output), &[joined])
            .map_err(|e| format!("images differ in a freed batch: {e}"))?;
    }
    Ok(())
}

/// A variant of an image: its elements rotated by `5 * i`.
fn varied(tensor: &Tensor, i: usize) -> Tensor {
    let size = tensor.dtype().size();
    let mut bytes = tensor.bytes().to_vec();
    let by = (i * 5 * size).checked_rem(bytes.len()).unwrap_or(0);
    bytes.rotate_left(by);
    let storage = dyrelu::tensor::Storage::from_vec(bytes);
    Tensor::from_storage(tensor.dtype(), tensor.shape(), storage).expect("the size is the same")
}

/// A range of the images of every input.
fn images_of(inputs: &[Tensor], range: std::ops::Range<usize>) -> Check<Vec<Tensor>> {
    let part = |tensor: &Tensor| {
        let mut shape = tensor.shape().to_vec();
        let image = tensor.bytes().len() / shape[0];
        shape[0] = range.len();
        let bytes = tensor.bytes()[range.start * image..range.end * image].to_vec();
        let storage = dyrelu::tensor::Storage::from_vec(bytes);
        Tensor::from_storage(tensor.dtype(), &shape, storage).map_err(|e| e.to_string())
    };
    inputs.iter().map(part).collect()
}

/// Concatenates tensors of one image each along the first axis. Returns `None` if they do not fit.
fn join<'t>(parts: impl Iterator<Item = &'t Tensor>) -> Option<Tensor> {
    let parts: Vec<&Tensor> = parts.collect();
    let first = parts.first()?;
    let (&images, rest) = first.shape().split_first()?;
    let fits = |t: &&&Tensor| t.shape().get(1..) == Some(rest) && t.dtype() == first.dtype();
    if images != 1 || parts.iter().filter(fits).count() != parts.len() {
        return None;
    }
    let shape = [&[parts.len()], rest].concat();
    let bytes: Vec<u8> = parts.iter().flat_map(|t| t.bytes()).copied().collect();
    let storage = dyrelu::tensor::Storage::from_vec(bytes);
    Tensor::from_storage(first.dtype(), &shape, storage).ok()
}
