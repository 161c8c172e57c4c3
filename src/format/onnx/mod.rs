//! Reads ONNX files, opsets 6 to the newest, with weights borrowed from the mapped file.

mod attributes;
mod contributed;
mod legacy;
mod names;
mod operators;
mod proto;
mod scopes;
mod tensors;
#[cfg(test)]
mod tests;
mod training;

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use bytes::Bytes;
use prost::Message;

use super::mapped::Mapped;
use crate::error::{Error, Result};
use crate::graph::{Dim, Graph, TensorType};
use operators::NodeReader;
use scopes::{Functions, Scope};
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
    functions: Functions<'m>,
    scopes: Vec<Scope<'m>>,
    /// Nodes of functions and branches that may still be read.
    budget: usize,
    tensors: TensorReader<'m>,
    graph: Graph,
}

impl<'m> Reader<'m> {
    fn new(model: &'m proto::Model, directory: Option<&'m Path>) -> Result<Self> {
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
        Ok(Reader {
            functions: Functions::of(model),
            scopes: vec![Scope::of_network(opsets(&model.opset_import)?)],
            budget: scopes::MAX_INLINED,
            tensors: TensorReader::new(directory),
            graph,
        })
    }

    fn read(mut self, graph: &'m proto::Graph) -> Result<Graph> {
        self.initializers(graph)?;
        for input in &graph.input {
            // Before IR version 4, initializers were listed among the inputs.
            if !self.scope().defines(&input.name) {
                let ty = input_type(input)?;
                let id = self.graph.add_input(&input.name, ty);
                self.scope().define(&input.name, Some(id));
            }
        }
        self.nodes(&graph.node, "")?;
        let outputs = graph.output.iter().map(|output| {
            self.known(&output.name).ok_or_else(|| {
                Error::graph(format!("nothing produces the output {:?}", output.name))
            })
        });
        let outputs = outputs.collect::<Result<Vec<_>>>()?;
        self.graph.set_outputs(outputs);
        self.graph.validate()?;
        Ok(self.graph)
    }

    fn initializers(&mut self, graph: &'m proto::Graph) -> Result<()> {
        if !graph.sparse_initializer.is_empty() {
            return Err(Error::unsupported("sparse initializers; store the weights densely"));
        }
        for tensor in &graph.initializer {
            let constant = self.tensors.read(tensor)?;
            if self.scope().defines(&tensor.name) {
                return Err(Error::graph(format!("two tensors are named {:?}", tensor.name)));
            }
            let name = self.scope().full_name(&tensor.name);
            let id = self.graph.add_constant(name, constant);
            self.scope().define(&tensor.name, Some(id));
        }
        Ok(())
    }

    /// Reads `nodes`, whose names get `prefix` in front.
    fn nodes(&mut self, nodes: &'m [proto::Node], prefix: &str) -> Result<()> {
        for (i, node) in nodes.iter().enumerate() {
            let name = match node.name.as_str() {
                "" => format!("{prefix}{}_{i}", node.op_type),
                name => format!("{prefix}{name}"),
            };
            self.node(node, &name).map_err(|e| e.at_node(&name, &node.op_type))?;
        }
        Ok(())
    }

    fn node(&mut self, node: &'m proto::Node, name: &str) -> Result<()> {
        let attributes = self.resolved_attributes(node);
        if let Some(function) = self.functions.called_by(node) {
            return self.call(node, name, function, attributes.into_owned());
        }
        let domain = domain(&node.domain);
        if domain.is_empty() && node.op_type == "If" {
            return self.branch(node, name);
        }
        let inputs = node.input.iter().map(|name| self.value(name)).collect();
        let outputs = node.output.iter().map(|name| self.value(name)).collect();
        let opset = self.scope().opset(domain);
        let resolved;
        let node = match attributes {
            Cow::Borrowed(_) => node,
            Cow::Owned(attribute) => {
                resolved = proto::Node { attribute, ..node.clone() };
                &resolved
            }
        };
        let (graph, tensors, name) = (&mut self.graph, &mut self.tensors, name.to_string());
        NodeReader { graph, tensors, node, name, opset, inputs, outputs }.read()
    }
}

/// The name of an operator set: empty for ONNX's own.
fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}

/// The version of each operator set.
fn opsets(imports: &[proto::OperatorSet]) -> Result<HashMap<&str, i64>> {
    let opsets: HashMap<_, _> =
        imports.iter().map(|set| (domain(&set.domain), set.version)).collect();
    // A file without an opset is from before there were any.
    let opset = opsets.get("").copied().unwrap_or(1);
    if opset < OLDEST_OPSET && !opsets.is_empty() {
        return Err(Error::unsupported(format!(
            "opset {opset} is too old; convert the file to opset {OLDEST_OPSET} or newer"
        )));
    }
    Ok(opsets)
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
