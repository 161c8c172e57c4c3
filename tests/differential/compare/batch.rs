//! A batch against its single images.

use std::sync::Arc;

use dyrelu::graph::{Graph, TensorType};
use dyrelu::{Model, Session, Tensor, reference};

use super::tolerance::Tolerance;
use super::{Check, run, same_bits};
use crate::graphs::Case;

/// Images of the batch that a batch of one is widened to.
const IMAGES: usize = 3;

/// Images give the same alone and together, where the reference says that they do not see each
/// other.
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

/// The network's own batch is free.
fn as_declared(case: &Case, graph: &Graph, model: &Arc<Model>, session: &mut Session) -> Check {
    let images = case.inputs[0].shape()[0];
    if images == 0 {
        return Ok(());
    }
    let mut singles = Vec::new();
    for i in 0..images {
        let inputs = images_of(&case.inputs, i..i + 1)?;
        // Another batch may not fit the network; then the engine has to say so as well.
        match reference::run(graph, &inputs) {
            Ok(expected) => {
                let found = session.run(&inputs);
                let found = found.map_err(|e| format!("a single image is refused: {e}"))?;
                Tolerance::new(graph, &inputs, &expected)
                    .check(&found)
                    .map_err(|e| format!("image {i} alone differs from the reference: {e}"))?;
                singles.push((expected, found));
            }
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
    let together = run(model, &case.inputs).map_err(|e| format!("the batch is refused: {e}"))?;
    let joined: Option<Vec<_>> = (0..expected.len())
        .map(|output| join(singles.iter().map(|(_, found)| &found[output])))
        .collect();
    let joined = joined.ok_or("single images have other shapes than the reference's")?;
    same_bits(&together, &joined).map_err(|e| format!("images differ in a batch: {e}"))
}

/// The compiler found that images do not see each other in a network whose batch was fixed.
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
        let found = session.run(&inputs).map_err(|e| format!("an image is refused: {e}"))?;
        Tolerance::new(graph, &inputs, &expected)
            .check(&found)
            .map_err(|e| format!("image {i} differs from the reference: {e}"))?;
        singles.push(found);
    }
    let together: Option<Vec<Tensor>> = batch.iter().map(|images| join(images.iter())).collect();
    let together = together.ok_or("images have different shapes")?;
    let together =
        run(model, &together).map_err(|e| format!("a batch that was freed is refused: {e}"))?;
    for (output, whole) in together.iter().enumerate() {
        let joined = join(singles.iter().map(|found| &found[output]));
        let joined = joined.ok_or("outputs of images have different shapes")?;
        same_bits(std::slice::from_ref(whole), &[joined])
            .map_err(|e| format!("images differ in a batch that was freed: {e}"))?;
    }
    Ok(())
}

/// The same image moved by `i` elements.
fn varied(tensor: &Tensor, i: usize) -> Tensor {
    let size = tensor.dtype().size();
    let mut bytes = tensor.bytes().to_vec();
    let by = (i * 5 * size).checked_rem(bytes.len()).unwrap_or(0);
    bytes.rotate_left(by);
    let storage = dyrelu::tensor::Storage::from_vec(bytes);
    Tensor::from_storage(tensor.dtype(), tensor.shape(), storage).expect("it has as many bytes")
}

/// Some of the images of every input.
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

/// Tensors joined along their first axes; `None` where they do not fit.
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
