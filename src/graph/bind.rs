//! Checks tensors against the inputs that a graph declares.

use std::sync::Arc;

use super::geometry::element_count;
use super::{Bindings, Dim, Graph, TensorType};
use crate::error::{Error, Result};
use crate::tensor::DType;

/// Checks that `tensors`, given by element type and sizes, are one per input and have the types
/// that the graph declares. Adds the size that each symbol stands for to `bindings`.
///
/// # Errors
/// [`Input`](crate::ErrorKind::Input), with the input, its declared type and the type found.
pub fn bind_inputs<'a>(
    graph: &Graph,
    tensors: impl ExactSizeIterator<Item = (DType, &'a [usize])>,
    bindings: &mut Bindings,
) -> Result<()> {
    if tensors.len() != graph.inputs().len() {
        let names: Vec<_> = graph.inputs().iter().map(|&id| &graph.value(id).name).collect();
        return Err(Error::input(format!(
            "the network takes {} inputs {names:?}, found {}",
            names.len(),
            tensors.len()
        )));
    }
    for (&id, (dtype, shape)) in graph.inputs().iter().zip(tensors) {
        let value = graph.value(id);
        let Some(ty) = &value.input else { continue };
        let wrong = || {
            let hint = fixed_batch_hint(ty, dtype, shape);
            let message =
                format!("input {:?} must be {ty}, found {dtype} {shape:?}{hint}", value.name);
            let e = Error::input(message).at_port(&value.name);
            if dtype != ty.dtype {
                return e;
            }
            e.with_shapes(ty.dims.iter().map(Dim::as_size).collect(), shape)
        };
        if dtype != ty.dtype || shape.len() != ty.dims.len() {
            return Err(wrong());
        }
        element_count(shape, dtype)
            .map_err(|e| Error::input(format!("input {:?}: {}", value.name, e.message())))
            .map_err(|e| e.at_port(&value.name))?;
        for (dim, &size) in ty.dims.iter().zip(shape) {
            if let Some(symbol) = dim.as_symbol() {
                let symbol: Arc<str> = symbol.into();
                if *bindings.entry(symbol).or_insert(size) != size {
                    return Err(wrong());
                }
            } else if dim.as_size() != Some(size) {
                return Err(wrong());
            }
        }
    }
    Ok(())
}

/// Returns an addition to the message about a tensor of which only the number of images is wrong.
fn fixed_batch_hint(ty: &TensorType, dtype: DType, shape: &[usize]) -> String {
    let Some((batch, sizes)) = ty.dims.split_first() else { return String::new() };
    let fits = |(dim, &size): (&Dim, &usize)| dim.as_size().is_none_or(|wanted| wanted == size);
    let others_fit = dtype == ty.dtype
        && shape.len() == ty.dims.len()
        && sizes.iter().zip(&shape[1..]).all(fits);
    match batch.as_size() {
        Some(batch) if others_fit => {
            format!("; the network takes batches of {batch} and no others")
        }
        _ => String::new(),
    }
}
