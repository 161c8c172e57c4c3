//! The native weight file: safetensors, with the graph as JSON in its metadata.
//!
//! `docs/format.md` describes it. Tensor data begins on 64-byte boundaries, so that kernels read the
//! tensors of a file where they lie, by aligned vector loads.

mod schema;
#[cfg(any(test, feature = "write"))]
mod writer;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use safetensors::SafeTensors;

use super::contents::Contents;
use super::{PackedTensors, Prepared};
use crate::error::{Error, Result};
use crate::graph::{Dim, Graph, Node, TensorType, ValueId};
use crate::tensor::{DType, Storage, Tensor};
use schema::{GRAPH_KEY, PADDING, StoredDim, StoredGraph, StoredPack, VERSION_KEY};

pub use schema::VERSION;
#[cfg(any(test, feature = "write"))]
pub use writer::{WeightStorage, Written, write};

/// Reads the network in the contents of a file, and what conversion prepared for the compiler.
///
/// Tensors borrow from the contents; those stored in half precision are widened at their first use.
///
/// # Errors
///
/// [`Format`](crate::ErrorKind::Format) if the file is damaged or holds no network,
/// [`Unsupported`](crate::ErrorKind::Unsupported) if a later version wrote it,
/// [`Graph`](crate::ErrorKind::Graph) if the network contradicts itself.
pub(super) fn read(contents: Contents) -> Result<(Graph, Option<Prepared>)> {
    let contents = Arc::new(contents);
    read_storage(&Storage::new(contents.clone()), |range| contents.will_read(range))
}

/// As [`read`], from bytes of any owner. Calls `will_read` with the range of the packed weights.
fn read_storage(
    file: &Storage,
    will_read: impl Fn(Range<usize>),
) -> Result<(Graph, Option<Prepared>)> {
    let damaged = |e: safetensors::SafeTensorError| {
        Error::format(format!("this is no safetensors file, or a damaged one: {e}")).because(e)
    };
    let (header_len, header) = SafeTensors::read_metadata(file.bytes()).map_err(damaged)?;
    let data = header_len + 8;
    let texts = header.metadata().iter().flatten();
    let mut metadata: HashMap<_, _> = texts.map(|(k, text)| (k.clone(), text.clone())).collect();
    let version = metadata.remove(VERSION_KEY).ok_or_else(|| {
        Error::format(
            "these are weights without a network; convert the network's ONNX file with \
             `dyrelu convert`",
        )
    })?;
    match version.parse::<u32>() {
        Ok(VERSION) => {}
        Ok(later) if later > VERSION => {
            return Err(Error::unsupported(format!(
                "the file has version {later}, this program reads up to version {VERSION}; use a \
                 newer dyrelu"
            )));
        }
        _ => return Err(Error::format(format!("the file has no valid version: {version:?}"))),
    }
    let stored = metadata.remove(GRAPH_KEY).ok_or_else(|| Error::format("it holds no network"))?;
    let stored: StoredGraph = serde_json::from_str(&stored)
        .map_err(|e| Error::format(format!("the network in it cannot be read: {e}")).because(e))?;

    let mut graph = Graph::new(stored.name);
    graph.metadata = metadata.into_iter().collect();
    let mut values: HashMap<&str, ValueId> = HashMap::new();
    let packs = stored.prepared.iter().flat_map(|prepared| &prepared.packs);
    let packed: HashSet<&String> = packs.flat_map(|pack| &pack.parts).collect();
    let mut packed_tensors: HashMap<String, Tensor> = HashMap::new();
    let (mut first_packed, mut packed_end) = (usize::MAX, 0);
    for (name, info) in header.tensors() {
        if name.starts_with(PADDING) {
            continue;
        }
        let (start, end) = info.data_offsets;
        let dtype = from_safetensors(info.dtype)
            .map_err(|e| Error::unsupported(format!("tensor {name:?}: {}", e.message())))?;
        let place = data + start..data + end;
        let bytes = file.slice(place.clone()).ok_or_else(|| {
            Error::format(format!("tensor {name:?} leaves the file: bytes {start} to {end}"))
        })?;
        let mut tensor = Tensor::from_storage(dtype, &info.shape, bytes)
            .map_err(|e| Error::format(format!("tensor {name:?}: {}", e.message())))?;
        if packed.contains(&name) {
            packed_tensors.insert(name, tensor);
            first_packed = first_packed.min(place.start);
            packed_end = packed_end.max(place.end);
            continue;
        }
        match stored.stored_as.get(&name) {
            Some(DType::F32) => tensor = tensor.widened().cast(DType::F32)?,
            Some(&original) => tensor = tensor.cast(original)?,
            None => {}
        }
        graph.add_constant(name, tensor);
    }
    let names: Vec<String> = graph.values().iter().map(|v| v.name.clone()).collect();
    values.extend(names.iter().enumerate().map(|(i, name)| (name.as_str(), ValueId(i))));
    for input in &stored.inputs {
        let dims = input.dims.iter().map(|d| match d {
            StoredDim::Size(size) => Dim::from(*size),
            StoredDim::Symbol(name) => Dim::symbol(name),
        });
        let ty = TensorType { dtype: input.dtype, dims: dims.collect() };
        let id = graph.add_input(&input.name, ty);
        if values.insert(&input.name, id).is_some() {
            return Err(Error::graph(format!("two values are named {:?}", input.name)));
        }
    }
    for node in &stored.nodes {
        let inputs = lookup(&mut graph, &mut values, &node.inputs);
        let outputs = lookup(&mut graph, &mut values, &node.outputs);
        graph.add_node(Node { name: node.name.clone(), op: node.op.clone(), inputs, outputs });
    }
    let output = |name: &String| {
        values
            .get(name.as_str())
            .copied()
            .ok_or_else(|| Error::graph(format!("nothing produces the output {name:?}")))
    };
    let outputs = stored.outputs.iter().map(output).collect::<Result<_>>()?;
    graph.set_outputs(outputs);
    graph.validate()?;
    let Some(prepared) = stored.prepared else { return Ok((graph, None)) };
    let packed = packs_of(prepared.packs, &values, &packed_tensors)?;
    will_read(first_packed..packed_end);
    Ok((graph, Some(Prepared { version: prepared.version, notes: prepared.notes, packed })))
}

/// Returns the packs with their tensors, which are checked when their layers are made: see
/// [`PackedTensors`].
fn packs_of(
    stored: Vec<StoredPack>,
    values: &HashMap<&str, ValueId>,
    tensors: &HashMap<String, Tensor>,
) -> Result<PackedTensors> {
    let mut packs = PackedTensors::default();
    for StoredPack { value, kind, parts } in stored {
        let damaged = |what: String| {
            Error::format(format!("the packed weights of {value:?} ({kind}) {what}"))
        };
        let &id = values
            .get(value.as_str())
            .ok_or_else(|| damaged("belong to no value of the network".into()))?;
        let tensor = |part: &String| {
            let missing = || damaged(format!("want a tensor {part:?}, which is not there"));
            tensors.get(part).cloned().ok_or_else(missing)
        };
        let parts = parts.iter().map(tensor).collect::<Result<_>>()?;
        if !packs.insert(id, kind.as_str(), parts) {
            return Err(damaged("are there twice".into()));
        }
    }
    Ok(packs)
}

/// Returns the element type of a tensor in the file.
fn from_safetensors(dtype: safetensors::Dtype) -> Result<DType> {
    use safetensors::Dtype;
    Ok(match dtype {
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::I16 => DType::I16,
        Dtype::I8 => DType::I8,
        Dtype::U8 => DType::U8,
        Dtype::BOOL => DType::Bool,
        other => return Err(Error::unsupported(format!("elements of type {other:?}"))),
    })
}

/// Returns the network as it would be read from a file with its weights stored so, and the number of
/// weights that became zero.
///
/// # Errors
///
/// As [`write()`].
#[cfg(any(test, feature = "write"))]
pub fn stored(graph: &Graph, weights: WeightStorage) -> Result<(Graph, usize)> {
    let (bytes, flushed) = writer::encode(graph, None, weights)?;
    let (graph, _) = read_storage(&Storage::from_vec(bytes), |_| {})?;
    Ok((graph, flushed))
}

/// Returns the values of `names`, and creates those that are mentioned for the first time.
fn lookup<'n>(
    graph: &mut Graph,
    values: &mut HashMap<&'n str, ValueId>,
    names: &'n [Option<String>],
) -> Vec<Option<ValueId>> {
    let mut find = |name: &'n String| {
        *values.entry(name.as_str()).or_insert_with(|| graph.add_value(name.as_str()))
    };
    names.iter().map(|name| name.as_ref().map(&mut find)).collect()
}

#[cfg(test)]
mod tests;
