//! Writing native files.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::Path;

use half::f16;

use super::super::{Prepared, Replacement};
use super::schema::{
    GRAPH_KEY, PADDING, StoredDim, StoredGraph, StoredInput, StoredNode, StoredPack,
    StoredPreparation, VERSION, VERSION_KEY,
};
use crate::error::{Error, Result};
use crate::graph::{Dim, Graph, ValueId};
use crate::tensor::{ALIGNMENT, DType, Tensor};

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

/// Returns the bytes of a file, and the number of weights that became zero.
pub(super) fn encode(
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
