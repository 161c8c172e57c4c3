//! The network of a file, node by node.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use prost::Message;

use super::external::ExternalFiles;
use super::inputs::InputTypes;
use super::live::live;
use super::operators::NodeReader;
use super::proto;
use super::random_numbers::RandomNumbers;
use super::schema::{self, domain, opsets};
use super::scope::{Functions, MAX_INLINED, Scope};
use super::tensors::TensorReader;
use crate::error::{Error, Result};
use crate::format::SourceFiles;
use crate::format::contents::{Contents, Place};
use crate::graph::{Graph, ValueId};
use crate::tensor::Tensor;

/// Reads the network in the contents of a file. Returns it with the files that its tensors borrow from.
/// A model without a place has no external data.
///
/// External data lies in the folder of the model, or where links in that folder lead: to the folder of
/// the model's target if the model is a link itself, or to the root that the user allows.
///
/// # Errors
///
/// - [`Io`](crate::ErrorKind::Io) if external data cannot be read.
/// - [`Format`](crate::ErrorKind::Format) if the contents are damaged or not ONNX.
/// - [`Unsupported`](crate::ErrorKind::Unsupported), naming node, operator and opset, if the network
///   asks for something that this version does not have.
/// - [`Graph`](crate::ErrorKind::Graph) if the network contradicts itself.
/// - [`Input`](crate::ErrorKind::Input) if a file of external data is none of the model's own.
pub(in crate::format) fn read(
    contents: Contents,
    place: Option<Place>,
) -> Result<(Graph, SourceFiles)> {
    let external = place.map(ExternalFiles::of_model).transpose()?;
    let (graph, external) = read_model(Bytes::from_owner(contents.clone()), external)?;
    let external = external.into_iter().flat_map(ExternalFiles::into_contents);
    Ok((graph, SourceFiles::new(external.chain([contents]).collect())))
}

pub(super) fn read_model(
    bytes: Bytes,
    files: Option<ExternalFiles>,
) -> Result<(Graph, Option<ExternalFiles>)> {
    if bytes.is_empty() {
        return Err(Error::format("the file is empty"));
    }
    let model = proto::Model::decode(bytes).map_err(|e| {
        Error::format(format!("this is no ONNX file, or a damaged one: {e}")).because(e)
    })?;
    let Some(graph) = &model.graph else {
        return Err(Error::format("this is no ONNX file: it holds no network"));
    };
    Reader::new(&model, files)?.read(graph)
}

/// Reads one file.
pub(super) struct Reader<'m> {
    functions: Functions<'m>,
    pub(super) scopes: Vec<Scope<'m>>,
    /// The number of nodes of functions and branches that may still be read.
    pub(super) budget: usize,
    tensors: TensorReader,
    pub(super) graph: Graph,
    random: HashMap<ValueId, RandomNumbers>,
}

impl<'m> Reader<'m> {
    fn new(model: &'m proto::Model, files: Option<ExternalFiles>) -> Result<Self> {
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
            budget: MAX_INLINED,
            tensors: TensorReader::new(files),
            graph,
            random: HashMap::new(),
        })
    }

    fn read(mut self, graph: &'m proto::Graph) -> Result<(Graph, Option<ExternalFiles>)> {
        self.scope().live = live(&graph.node, graph.output.iter().map(|o| o.name.as_str()));
        let initialised = self.initializers(graph)?;
        let mut types = InputTypes::of(graph);
        let mut named = HashSet::new();
        for input in &graph.input {
            if !named.insert(input.name.as_str()) {
                return Err(Error::graph(format!("two inputs are named {:?}", input.name)));
            }
            // Before IR version 4, initializers were listed among the inputs.
            if initialised.contains(input.name.as_str()) {
                continue;
            }
            match types.read(input) {
                Ok(ty) => {
                    let id = self.graph.add_input(&input.name, ty);
                    self.scope().define(&input.name, Some(id));
                }
                // An input that no output needs may be of any type.
                Err(_) if !self.scope().live.contains(input.name.as_str()) => {}
                Err(e) => return Err(e),
            }
        }
        self.nodes(&graph.node, "")?;
        let outputs = graph.output.iter().map(|output| {
            self.known(&output.name).ok_or_else(|| {
                Error::graph(format!("nothing produces the output {:?}", output.name))
            })
        });
        let outputs = outputs.collect::<Result<Vec<_>>>()?;
        if let Some(numbers) = outputs.iter().find_map(|id| self.random.get(id)) {
            return Err(numbers.refused());
        }
        self.graph.set_outputs(outputs);
        self.graph.validate()?;
        Ok((self.graph, self.tensors.into_files()))
    }

    /// Reads the constants that the outputs need, and returns the names of all constants.
    pub(super) fn initializers(&mut self, graph: &'m proto::Graph) -> Result<HashSet<&'m str>> {
        let mut names = HashSet::new();
        let mut is_live = |reader: &mut Self, name: &'m str| match names.insert(name) {
            true => Ok(reader.scope().live.contains(name)),
            false => Err(Error::graph(format!("two tensors are named {name:?}"))),
        };
        for tensor in &graph.initializer {
            if is_live(self, &tensor.name)? {
                let constant = self.tensors.read(tensor)?;
                self.initializer(&tensor.name, constant);
            }
        }
        for tensor in &graph.sparse_initializer {
            let name = tensor.values.as_ref().map_or("", |values| values.name.as_str());
            if is_live(self, name)? {
                let constant = self.tensors.read_sparse(tensor)?;
                self.initializer(name, constant);
            }
        }
        Ok(names)
    }

    fn initializer(&mut self, name: &'m str, constant: Tensor) {
        let full_name = self.scope().full_name(name);
        let id = self.graph.add_constant(full_name, constant);
        self.scope().define(name, Some(id));
    }

    /// Reads those of `nodes` that the outputs need. `prefix` precedes their names.
    pub(super) fn nodes(&mut self, nodes: &'m [proto::Node], prefix: &str) -> Result<()> {
        for (i, node) in nodes.iter().enumerate() {
            let name = match node.name.as_str() {
                "" => format!("{prefix}{}_{i}", node.op_type),
                name => format!("{prefix}{name}"),
            };
            if !node.output.iter().any(|output| self.scope().live.contains(output.as_str())) {
                continue;
            }
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
        let opset = match (domain, self.scope().opset(domain)) {
            ("", opset) => schema::stated(opset)?,
            (_, opset) => opset.unwrap_or(1),
        };
        let resolved;
        let node = match attributes {
            Cow::Borrowed(_) => node,
            Cow::Owned(attribute) => {
                resolved = proto::Node { attribute, ..node.clone() };
                &resolved
            }
        };
        let (graph, tensors, name) = (&mut self.graph, &mut self.tensors, name.to_string());
        let random = &mut self.random;
        NodeReader { graph, tensors, node, name, opset, inputs, outputs, random }.read()
    }
}
