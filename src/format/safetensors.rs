//! The native weight file: safetensors, with the graph as JSON in its metadata.
//!
//! `docs/format.md` describes it. Tensor data begins on 64-byte boundaries, so that kernels read the
//! tensors of a file where they lie, by aligned vector loads.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use half::f16;
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use super::contents::Contents;
use super::{PackedTensors, Prepared, Replacement};
use crate::error::{Error, Result};
use crate::graph::{Dim, Graph, Node, Op, TensorType, ValueId};
use crate::tensor::{ALIGNMENT, DType, Storage, Tensor};

/// The version of the format that this crate writes, and the newest that it reads.
pub const VERSION: u32 = 1;

const VERSION_KEY: &str = "dyrelu.version";
const GRAPH_KEY: &str = "dyrelu.graph";
/// The prefix of the names of tensors that fill the space up to the next boundary.
const PADDING: &str = "__padding";
/// The prefix of the names of tensors that hold packed weights.
const PACKED: &str = "__packed";

/// The storage of f32 weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WeightStorage {
    /// In f32.
    #[default]
    F32,
    /// Rounded to half precision. Tensors with numbers beyond 65504 stay in f32.
    F16,
}

/// What [`write()`] reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Written {
    /// The size of the file in bytes.
    pub bytes: usize,
    /// The number of weights that were stored as zero because they are subnormal: arithmetic with
    /// subnormal numbers is many times slower.
    pub flushed: usize,
}

#[derive(Serialize, Deserialize)]
struct StoredGraph {
    name: String,
    inputs: Vec<StoredInput>,
    outputs: Vec<String>,
    nodes: Vec<StoredNode>,
    /// The element types of tensors that are stored in another one.
    #[serde(default)]
    stored_as: BTreeMap<String, DType>,
    /// Present if the network has been compiled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prepared: Option<StoredPreparation>,
}

#[derive(Serialize, Deserialize)]
struct StoredPreparation {
    version: u32,
    #[serde(rename = "unrecognised")]
    notes: serde_json::Value,
    packs: Vec<StoredPack>,
}

/// The packed weights of a layer, which are no values of the network.
#[derive(Serialize, Deserialize)]
struct StoredPack {
    /// The value that the layer produces.
    value: String,
    kind: String,
    parts: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct StoredInput {
    name: String,
    dtype: DType,
    dims: Vec<StoredDim>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum StoredDim {
    Size(usize),
    Symbol(String),
}

#[derive(Serialize, Deserialize)]
struct StoredNode {
    name: String,
    op: Op,
    inputs: Vec<Option<String>>,
    outputs: Vec<Option<String>>,
}

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
    let none = HashMap::new();
    let mut metadata = header.metadata().as_ref().unwrap_or(&none).clone();
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

fn to_safetensors(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "F32",
        DType::F64 => "F64",
        DType::F16 => "F16",
        DType::BF16 => "BF16",
        DType::I64 => "I64",
        DType::I32 => "I32",
        DType::I16 => "I16",
        DType::I8 => "I8",
        DType::U8 => "U8",
        DType::Bool => "BOOL",
    }
}

/// Writes a graph, and what is `prepared` for it, to the file at `path`.
///
/// The file is written beside `path` and renamed over it, so that a process that has mapped the old file
/// keeps it.
///
/// # Errors
///
/// [`Io`](crate::ErrorKind::Io) if the file cannot be written, [`Graph`](crate::ErrorKind::Graph) if the
/// size of an input is a formula.
pub fn write(
    graph: &Graph,
    prepared: Option<Prepared>,
    path: impl AsRef<Path>,
    weights: WeightStorage,
) -> Result<Written> {
    let path = path.as_ref();
    let (bytes, flushed) = encode(graph, prepared, weights).map_err(|e| e.in_file(path))?;
    let mut file = Replacement::of(path)?;
    file.write_all(&bytes).map_err(|e| Error::io(path, e))?;
    file.keep()?;
    Ok(Written { bytes: bytes.len(), flushed })
}

/// Returns the network as it would be read from a file with its weights stored so, and the number of
/// weights that became zero.
///
/// # Errors
///
/// As [`write()`].
pub fn stored(graph: &Graph, weights: WeightStorage) -> Result<(Graph, usize)> {
    let (bytes, flushed) = encode(graph, None, weights)?;
    let (graph, _) = read_storage(&Storage::from_vec(bytes), |_| {})?;
    Ok((graph, flushed))
}

fn encode(
    graph: &Graph,
    prepared: Option<Prepared>,
    weights: WeightStorage,
) -> Result<(Vec<u8>, usize)> {
    let names = unique_names(graph);
    let name = |id: ValueId| names[id.index()].clone();
    let mut stored = StoredGraph {
        name: graph.name.clone(),
        inputs: graph.inputs().iter().map(|&id| stored_input(graph, id)).collect::<Result<_>>()?,
        outputs: graph.outputs().iter().map(|&id| name(id)).collect(),
        nodes: graph
            .nodes()
            .iter()
            .map(|node| StoredNode {
                name: node.name.clone(),
                op: node.op.clone(),
                inputs: node.inputs.iter().map(|id| id.map(name)).collect(),
                outputs: node.outputs.iter().map(|id| id.map(name)).collect(),
            })
            .collect(),
        stored_as: BTreeMap::new(),
        prepared: None,
    };

    let mut header = serde_json::Map::new();
    let mut data: Vec<u8> = Vec::new();
    let mut flushed = 0;
    for (value, name) in graph.values().iter().zip(&names) {
        let Some(constant) = &value.constant else { continue };
        pad_to_boundary(&mut data, &mut header);
        let (tensor, zeroed) = to_stored(constant, weights)?;
        flushed += zeroed;
        if tensor.dtype() != constant.dtype() {
            stored.stored_as.insert(name.clone(), constant.dtype());
        }
        let start = data.len();
        data.extend_from_slice(tensor.bytes());
        header.insert(name.clone(), entry(tensor.dtype(), tensor.shape(), start, data.len()));
    }

    stored.prepared = prepared.map(|prepared| {
        let mut packs = Vec::new();
        for (value, kind, tensors) in prepared.packed.iter() {
            let mut parts = Vec::new();
            for tensor in tensors {
                pad_to_boundary(&mut data, &mut header);
                let start = data.len();
                data.extend_from_slice(tensor.bytes());
                // Names of values do not begin with two underscores: see `unique_names`.
                let part = format!("{PACKED}.{start}");
                let entry = entry(tensor.dtype(), tensor.shape(), start, data.len());
                header.insert(part.clone(), entry);
                parts.push(part);
            }
            packs.push(StoredPack { value: name(value), kind: kind.into(), parts });
        }
        let Prepared { version, notes, .. } = prepared;
        StoredPreparation { version, notes, packs }
    });

    let mut metadata: serde_json::Map<String, serde_json::Value> =
        graph.metadata.iter().map(|(k, v)| (k.clone(), v.clone().into())).collect();
    metadata.insert(VERSION_KEY.into(), VERSION.to_string().into());
    let json = |e: serde_json::Error| Error::format(format!("the network cannot be stored: {e}"));
    metadata.insert(GRAPH_KEY.into(), serde_json::to_string(&stored).map_err(json)?.into());
    header.insert("__metadata__".into(), metadata.into());
    let mut text = serde_json::to_string(&header).map_err(json)?;
    // Spaces after the header move the data to a boundary.
    let total = (8 + text.len()).next_multiple_of(ALIGNMENT) - 8;
    text.push_str(&" ".repeat(total - text.len()));

    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes.append(&mut data);
    Ok((bytes, flushed))
}

fn stored_input(graph: &Graph, id: ValueId) -> Result<StoredInput> {
    let value = graph.value(id);
    let ty = value.input.as_ref().ok_or_else(|| Error::graph("an input without a type"))?;
    let dim = |d: &Dim| match (d.as_size(), d.as_symbol()) {
        (Some(size), _) => Ok(StoredDim::Size(size)),
        (_, Some(symbol)) => Ok(StoredDim::Symbol(symbol.into())),
        _ => Err(Error::graph(format!("input {:?} has a size of {d}", value.name))),
    };
    let dims = ty.dims.iter().map(dim).collect::<Result<_>>()?;
    Ok(StoredInput { name: value.name.clone(), dtype: ty.dtype, dims })
}

/// Returns a unique name for each value: its own if that is unique.
fn unique_names(graph: &Graph) -> Vec<String> {
    let mut taken: HashMap<String, usize> = HashMap::new();
    let mut names = Vec::new();
    for value in graph.values() {
        // Names that begin with two underscores are reserved for the format.
        let own = value.name.trim_start_matches("__");
        let mut name = own.to_string();
        while name.is_empty() || taken.contains_key(&name) {
            let count = taken.entry(own.to_string()).or_insert(1);
            *count += 1;
            name = format!("{own}.{count}");
        }
        taken.insert(name.clone(), 1);
        names.push(name);
    }
    names
}

fn entry(dtype: DType, shape: &[usize], start: usize, end: usize) -> serde_json::Value {
    serde_json::json!({
        "dtype": to_safetensors(dtype), "shape": shape, "data_offsets": [start, end],
    })
}

/// Fills the space up to the next boundary with a tensor of zeros. The format allows no holes.
fn pad_to_boundary(data: &mut Vec<u8>, header: &mut serde_json::Map<String, serde_json::Value>) {
    let start = data.len();
    let end = start.next_multiple_of(ALIGNMENT);
    if end > start {
        data.resize(end, 0);
        header.insert(format!("{PADDING}.{start}"), entry(DType::U8, &[end - start], start, end));
    }
}

/// Returns a tensor as it is stored, and the number of its elements that became zero.
fn to_stored(tensor: &Tensor, weights: WeightStorage) -> Result<(Cow<'_, Tensor>, usize)> {
    if tensor.dtype() != DType::F32 {
        return Ok((Cow::Borrowed(tensor), 0));
    }
    let values = tensor.as_f32()?;
    let subnormal = |x: &&f32| x.is_subnormal();
    let flushed = values.iter().filter(subnormal).count();
    let flush = |&x: &f32| if x.is_subnormal() { 0.0 } else { x };
    let fits = |x: &f32| !x.is_finite() || x.abs() <= f16::MAX.to_f32();
    let single_number = values.len() == 1;
    let stored = if weights == WeightStorage::F16 && !single_number && values.iter().all(fits) {
        let halves: Vec<f16> = values.iter().map(|x| f16::from_f32(flush(x))).collect();
        Tensor::new(tensor.shape(), halves)?
    } else if flushed > 0 {
        Tensor::new(tensor.shape(), values.iter().map(flush).collect::<Vec<f32>>())?
    } else {
        return Ok((Cow::Borrowed(tensor), 0));
    };
    Ok((Cow::Owned(stored), flushed))
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
