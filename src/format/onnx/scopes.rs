//! Names in their scopes. Functions and branches are read in place of the nodes that call them.

use std::borrow::Cow;
use std::collections::HashMap;

use super::live::live;
use super::proto;
use super::reader::Reader;
use super::schema::opsets;
use super::scope::{MAX_INLINED, Scope};
use crate::error::{Error, Result};
use crate::graph::infer::{Types, infer};
use crate::graph::{Graph, Node, Op, ValueId};
use crate::reference;
use crate::tensor::{DType, Tensor, num_elements};

/// The most levels to which functions and branches may nest.
const MAX_DEPTH: usize = 64;

impl<'m> Reader<'m> {
    pub(super) fn scope(&mut self) -> &mut Scope<'m> {
        self.scopes.last_mut().expect("the scope of the network stays")
    }

    /// Returns the scopes whose names are visible, the innermost first.
    fn visible(&self) -> impl Iterator<Item = &Scope<'m>> {
        let closed = self.scopes.iter().rposition(Scope::is_closed).unwrap_or(0);
        self.scopes[closed..].iter().rev()
    }

    /// Returns the value of a name that is defined.
    pub(super) fn known(&self, name: &str) -> Option<ValueId> {
        self.visible().find_map(|scope| scope.values.get(name).copied()).flatten()
    }

    /// Returns the value of a name, and creates it at the first mention. An empty name has none.
    pub(super) fn value(&mut self, name: &'m str) -> Option<ValueId> {
        if name.is_empty() {
            return None;
        }
        if let Some(id) = self.visible().find_map(|scope| scope.values.get(name).copied()) {
            return id;
        }
        let full_name = self.scope().full_name(name);
        let id = Some(self.graph.add_value(full_name));
        self.scope().define(name, id);
        id
    }

    /// Returns the attributes of a node. Those that refer to the caller of the function have its values.
    pub(super) fn resolved_attributes(&self, node: &'m proto::Node) -> Cow<'m, [proto::Attribute]> {
        if node.attribute.iter().all(|a| a.ref_attr_name.is_empty()) {
            return Cow::Borrowed(&node.attribute);
        }
        let given = self.visible().find_map(|scope| scope.attributes.as_deref()).unwrap_or(&[]);
        let resolve = |a: &proto::Attribute| {
            if a.ref_attr_name.is_empty() {
                return Some(a.clone());
            }
            // An attribute for which neither the caller nor a default has a value is absent.
            let found = given.iter().find(|g| g.name == a.ref_attr_name)?;
            Some(proto::Attribute { name: a.name.clone(), ..found.clone() })
        };
        node.attribute.iter().filter_map(resolve).collect()
    }

    /// Reads the body of a function in place of a node that calls it.
    pub(super) fn call(
        &mut self,
        node: &'m proto::Node,
        name: &str,
        function: &'m proto::Function,
        mut attributes: Vec<proto::Attribute>,
    ) -> Result<()> {
        if node.input.len() > function.input.len() || node.output.len() > function.output.len() {
            return Err(Error::graph(format!(
                "its function has {} inputs and {} outputs, the node {} and {}",
                function.input.len(),
                function.output.len(),
                node.input.len(),
                node.output.len()
            )));
        }
        for default in &function.attribute_proto {
            if attributes.iter().all(|a| a.name != default.name) {
                attributes.push(default.clone());
            }
        }
        let given: Vec<_> = node.input.iter().map(|name| self.value(name)).collect();
        let absent = std::iter::repeat(None);
        let values = function.input.iter().map(String::as_str).zip(given.into_iter().chain(absent));
        let inner = Scope {
            values: values.collect(),
            opsets: opsets(&function.opset_import)?,
            attributes: Some(attributes),
            ..Scope::default()
        };
        if inner.values.len() < function.input.len() {
            return Err(Error::graph("two inputs of its function have one name"));
        }
        let outputs = function.output.iter().map(String::as_str);
        self.inline(node, name, inner, None, &function.node, outputs)
    }

    /// Reads the branch of an `If` that its condition selects.
    pub(super) fn branch(&mut self, node: &'m proto::Node, name: &str) -> Result<()> {
        let condition = node.input.first().and_then(|name| self.value(name));
        let condition = condition.ok_or_else(|| Error::graph("its condition is missing"))?;
        let key = match holds(&self.graph, condition)? {
            Some(true) => "then_branch",
            Some(false) => "else_branch",
            None => {
                return Err(Error::unsupported(
                    "a condition that depends on the input; export the network with fixed sizes",
                ));
            }
        };
        let graph = node.attribute.iter().find(|a| a.name == key).and_then(|a| a.g.as_deref());
        let graph =
            graph.ok_or_else(|| Error::format(format!("attribute {key:?} is no network")))?;
        if node.output.len() > graph.output.len() {
            let (wanted, found) = (node.output.len(), graph.output.len());
            let message = format!("expected {wanted} outputs of {key:?}, found {found}");
            return Err(Error::graph(message));
        }
        let inner = Scope { opsets: self.scope().opsets.clone(), ..Scope::default() };
        let outputs = graph.output.iter().map(|output| output.name.as_str());
        self.inline(node, name, inner, Some(graph), &graph.node, outputs)
    }

    /// Reads `nodes` in a new scope and gives their `outputs` to those of `node`.
    fn inline(
        &mut self,
        node: &'m proto::Node,
        name: &str,
        mut scope: Scope<'m>,
        graph: Option<&'m proto::Graph>,
        nodes: &'m [proto::Node],
        outputs: impl Iterator<Item = &'m str>,
    ) -> Result<()> {
        if self.scopes.len() > MAX_DEPTH {
            return Err(Error::graph(format!(
                "functions and branches nest deeper than {MAX_DEPTH}; does one call itself?"
            )));
        }
        self.budget = self.budget.checked_sub(nodes.len() + 1).ok_or_else(|| {
            Error::graph(format!("functions and branches come to more than {MAX_INLINED} nodes"))
        })?;
        let wanted = node.output.iter().zip(outputs).enumerate();
        let wanted: Vec<_> =
            wanted.filter(|(_, (output, _))| self.scope().live.contains(output.as_str())).collect();
        scope.prefix = format!("{name}/");
        scope.live = live(nodes, wanted.iter().map(|(_, (_, inner))| *inner));
        let prefix = scope.prefix.clone();
        self.scopes.push(scope);
        if let Some(graph) = graph {
            self.initializers(graph)?;
        }
        self.nodes(nodes, &prefix)?;
        let inner: Vec<_> = wanted.iter().map(|(_, (_, inner))| self.value(inner)).collect();
        self.scopes.pop();
        for ((i, (output, _)), inner) in wanted.into_iter().zip(inner) {
            let outputs = vec![self.value(output)];
            let (name, inputs) = (format!("{name}.{i}"), vec![inner]);
            self.graph.add_node(Node { name, op: Op::Identity, inputs, outputs });
        }
        Ok(())
    }
}

/// Returns whether a condition is true, if that follows from constants and sizes alone.
fn holds(graph: &Graph, condition: ValueId) -> Result<Option<bool>> {
    let mut part = graph.clone();
    // Inference computes the contents of integer tensors, but not of truth values.
    let number = part.apply("condition", Op::Cast { to: DType::I64 }, &[condition]);
    part.set_outputs(vec![number]);
    part.validate()?;
    let types = infer(&part)?;
    match types.contents(number) {
        Some([value]) => Ok(value.as_const().map(|number| number != 0)),
        _ => executed(&part, &types, number),
    }
}

/// The most elements of a value that is computed for a condition.
const MAX_ELEMENTS: usize = 4096;

/// Executes a graph whose nodes read nothing but constants and small values, and returns whether `wanted`
/// is not 0.
fn executed(part: &Graph, types: &Types, wanted: ValueId) -> Result<Option<bool>> {
    let mut values: HashMap<ValueId, Tensor> = HashMap::new();
    for node in part.nodes() {
        let is_small = |id: &ValueId| {
            let shape = types.get(*id).and_then(|ty| ty.fixed_shape());
            shape.and_then(|shape| num_elements(&shape)).is_some_and(|count| count <= MAX_ELEMENTS)
        };
        let is_known = |id: &ValueId| part.constant(*id).is_some() || values.contains_key(id);
        let mut outputs = node.outputs.iter().flatten();
        if !outputs.all(is_small) || !node.inputs.iter().flatten().all(is_known) {
            return Ok(None);
        }
        let read = |id: &Option<ValueId>| id.and_then(|id| values.get(&id).or(part.constant(id)));
        let inputs: Vec<Option<&Tensor>> = node.inputs.iter().map(read).collect();
        let results = reference::evaluate(&node.op, &inputs, node.outputs.len())?;
        for (id, tensor) in node.outputs.iter().zip(results) {
            values.extend(id.map(|id| (id, tensor)));
        }
    }
    let Some(condition) = values.get(&wanted) else { return Ok(None) };
    Ok(match condition.to_i64s()?.as_slice() {
        [number] => Some(*number != 0),
        _ => None,
    })
}
