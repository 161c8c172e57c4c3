//! Reads ONNX files, opsets 6 to the newest, with weights borrowed from the mapped file.

mod attributes;
mod contributed;
mod legacy;
mod names;
mod operators;
mod proto;
mod tensors;
#[cfg(test)]
mod tests;
mod training;

use std::collections::HashMap;
use std::path::Path;

use bytes::Bytes;
use prost::Message;

use super::mapped::Mapped;
use crate::error::{Error, Result};
use crate::graph::{Dim, Graph, TensorType, ValueId};
use operators::NodeReader;
use tensors::TensorReader;

/// The oldest opset whose operators are known.
const OLDEST_OPSET: i64 = 6;

/// Reads the network in the file at `path`.
///
/// # Errors
/// `Io` where the file cannot be read, `Format` where it is damaged or not ONNX, `Unsupported`,
/// naming node, operator and opset, where it asks for something that this version does not have,
/// `Graph` where the network contradicts itself.
pub fn read(path: impl AsRef<Path>) -> Result<Graph> {
    let path = path.as_ref();
    let bytes = Bytes::from_owner(Mapped::open(path)?);
    // The folder of a file without one is the current folder.
    let directory = path.parent().unwrap_or(Path::new(""));
    read_bytes(bytes, Some(directory)).map_err(|e| e.in_file(path))
}

/// Reads the network in `bytes`; `directory` is where the files of external tensors lie.
///
/// # Errors
/// As [`read`].
pub fn read_bytes(bytes: Bytes, directory: Option<&Path>) -> Result<Graph> {
    if bytes.is_empty() {
        return Err(Error::format("the file is empty"));
    }
    let model = proto::Model::decode(bytes).map_err(|e| {
        Error::format(format!("this is no ONNX file, or a damaged one: {e}")).because(e)
    })?;
    let Some(graph) = &model.graph else {
        return Err(Error::format("this is no ONNX file: it holds no network"));
    };
    Reader::new(&model, directory)?.read(graph)
}

struct Reader<'m> {
    opsets: HashMap<&'m str, i64>,
    functions: Vec<(&'m str, &'m str)>,
    tensors: TensorReader<'m>,
    graph: Graph,
    values: HashMap<&'m str, ValueId>,
}

impl<'m> Reader<'m> {
    fn new(model: &'m proto::Model, directory: Option<&'m Path>) -> Result<Self> {
        let mut opsets = HashMap::new();
        for set in &model.opset_import {
            let domain = if set.domain == "ai.onnx" { "" } else { set.domain.as_str() };
            opsets.insert(domain, set.version);
        }
        // A file without an opset is from before there were any.
        let opset = opsets.get("").copied().unwrap_or(1);
        if opset < OLDEST_OPSET && !opsets.is_empty() {
            return Err(Error::unsupported(format!(
                "opset {opset} is too old; convert the file to opset {OLDEST_OPSET} or newer"
            )));
        }
        let mut graph = Graph::new(model.graph.as_ref().map_or("", |g| g.name.as_str()));
        for entry in &model.metadata_props {
            let key = match entry.key.as_str() {
                "dyrelu.preprocess" => "preprocess".to_string(),
                "dyrelu.labels" => "labels".to_string(),
                other => format!("onnx.{other}"),
            };
            graph.metadata.insert(key, entry.value.clone());
        }
        let producer = format!("{} {}", model.producer_name, model.producer_version);
        if !producer.trim().is_empty() {
            graph.metadata.insert("producer".into(), producer.trim().into());
        }
        let function = |f: &'m proto::Function| (f.domain.as_str(), f.name.as_str());
        Ok(Reader {
            opsets,
            functions: model.functions.iter().map(function).collect(),
            tensors: TensorReader::new(directory),
            graph,
            values: HashMap::new(),
        })
    }

    fn read(mut self, graph: &'m proto::Graph) -> Result<Graph> {
        if !graph.sparse_initializer.is_empty() {
            return Err(Error::unsupported("sparse initializers; store the weights densely"));
        }
        for tensor in &graph.initializer {
            let constant = self.tensors.read(tensor)?;
            let id = self.graph.add_constant(&tensor.name, constant);
            if self.values.insert(&tensor.name, id).is_some() {
                return Err(Error::graph(format!("two tensors are named {:?}", tensor.name)));
            }
        }
        for input in &graph.input {
            // Before IR version 4, initializers were listed among the inputs.
            if !self.values.contains_key(input.name.as_str()) {
                let ty = input_type(input)?;
                let id = self.graph.add_input(&input.name, ty);
                self.values.insert(&input.name, id);
            }
        }
        for (i, node) in graph.node.iter().enumerate() {
            let name = match node.name.as_str() {
                "" => format!("{}_{i}", node.op_type),
                name => name.to_string(),
            };
            self.node(node, name.clone()).map_err(|e| e.at_node(&name, &node.op_type))?;
        }
        let outputs = graph.output.iter().map(|output| {
            self.values.get(output.name.as_str()).copied().ok_or_else(|| {
                Error::graph(format!("nothing produces the output {:?}", output.name))
            })
        });
        let outputs = outputs.collect::<Result<Vec<_>>>()?;
        self.graph.set_outputs(outputs);
        self.graph.validate()?;
        Ok(self.graph)
    }

    fn node(&mut self, node: &'m proto::Node, name: String) -> Result<()> {
        let domain = if node.domain == "ai.onnx" { "" } else { node.domain.as_str() };
        if self.functions.contains(&(domain, node.op_type.as_str())) {
            return Err(Error::unsupported(format!(
                "{} is a function defined in the file; inline it with onnx.inliner",
                node.op_type
            )));
        }
        let inputs = node.input.iter().map(|name| self.value(name)).collect();
        let outputs = node.output.iter().map(|name| self.value(name)).collect();
        let opset = self.opsets.get(domain).copied().unwrap_or(1);
        let (graph, tensors) = (&mut self.graph, &mut self.tensors);
        NodeReader { graph, tensors, node, name, opset, inputs, outputs }.read()
    }

    /// The value of a name, made at its first mention; an empty name stands for none.
    fn value(&mut self, name: &'m str) -> Option<ValueId> {
        if name.is_empty() {
            return None;
        }
        Some(*self.values.entry(name).or_insert_with(|| self.graph.add_value(name)))
    }
}

fn input_type(input: &proto::ValueInfo) -> Result<TensorType> {
    let named = |message: String| Error::unsupported(format!("input {:?}: {message}", input.name));
    let Some(ty) = input.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()) else {
        return Err(named("it is no tensor".into()));
    };
    let dtype = tensors::dtype(ty.elem_type).map_err(|e| named(e.message().into()))?;
    let Some(shape) = &ty.shape else {
        return Err(named("its number of axes is not stated".into()));
    };
    let dim = |(axis, dim): (usize, &proto::Dimension)| match &dim.value {
        Some(proto::DimensionValue::Size(size)) if *size >= 0 => Ok(Dim::from(*size)),
        Some(proto::DimensionValue::Size(size)) => {
            Err(Error::format(format!("input {:?} has a size of {size}", input.name)))
        }
        Some(proto::DimensionValue::Symbol(name)) if !name.is_empty() => Ok(Dim::symbol(name)),
        _ => Ok(Dim::symbol(&format!("{}_{axis}", input.name))),
    };
    let dims = shape.dim.iter().enumerate().map(dim).collect::<Result<_>>()?;
    Ok(TensorType { dtype, dims })
}
