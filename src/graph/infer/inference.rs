//! Inference node by node, also while a graph is being edited.

use std::collections::HashMap;
use std::ops::Range;

use super::context::{Answer, Context, Stop};
use super::fresh::Fresh;
use super::rules::types;
use super::{Types, contents, sizes};
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, TensorType, ValueId, geometry};

/// Infers the type of every value of a validated graph.
///
/// # Errors
/// [`Shape`](crate::ErrorKind::Shape), with the name of the node, if its inputs do not fit
/// together.
pub fn infer(graph: &Graph) -> Result<Types> {
    Ok(Inference::new(graph)?.types)
}

/// The types of a graph that is being edited.
#[derive(Clone, Debug)]
pub(crate) struct Inference {
    types: Types,
    fresh: Fresh,
    /// The numbers of the symbols for sizes that depend on data, by the first output of their node.
    names: HashMap<ValueId, Range<usize>>,
    /// The number of times that the types of a node were inferred.
    visits: usize,
}

impl Inference {
    /// Infers the types of all values of a validated graph.
    ///
    /// # Errors
    /// Those of [`infer`].
    pub fn new(graph: &Graph) -> Result<Self> {
        let types = Types { types: Vec::new(), elements: Vec::new() };
        let fresh = Fresh::new(graph);
        let mut inference = Inference { types, fresh, names: HashMap::new(), visits: 0 };
        for id in (0..graph.values().len()).map(ValueId) {
            inference.given(graph, id)?;
        }
        for node in graph.nodes() {
            inference.node(graph, node)?;
        }
        Ok(inference)
    }

    /// Returns the types.
    pub fn types(&self) -> &Types {
        &self.types
    }

    /// Returns the types and drops what is needed for updating them.
    pub fn into_types(self) -> Types {
        self.types
    }

    /// Returns the number of times that the types of a node were inferred.
    pub fn visits(&self) -> usize {
        self.visits
    }

    /// Records the type of an input or a constant.
    ///
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape) if no tensor can have the type.
    pub fn given(&mut self, graph: &Graph, id: ValueId) -> Result<()> {
        let Types { types, elements } = &mut self.types;
        let count = types.len().max(id.0 + 1);
        types.resize(count, None);
        elements.resize(count, None);
        let value = graph.value(id);
        let ty = match (&value.constant, &value.input) {
            (Some(tensor), _) => TensorType::from_tensor(tensor),
            (None, Some(ty)) => ty.clone(),
            (None, None) => return Ok(()),
        };
        check_given(&value.name, &ty)?;
        types[id.0] = Some(ty);
        elements[id.0] = value.constant.as_ref().and_then(contents::elements_of_constant);
        Ok(())
    }

    /// Infers the types of the outputs of `node`. Returns whether any of them has changed.
    ///
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape) if the inputs of the node do not fit together.
    pub fn node(&mut self, graph: &Graph, node: &Node) -> Result<bool> {
        self.visits += 1;
        let first_output = node.outputs.first().copied().flatten();
        let again = first_output.and_then(|output| self.names.get(&output)).cloned();
        let before = self.fresh.begin(again.unwrap_or_default());
        let cx = Context { graph, node, known: &self.types, fresh: &self.fresh };
        let answer = types(&cx).and_then(|types| checked(types, &self.fresh));
        let (types, elements) = match answer {
            Ok(types) => {
                let elements = contents::elements_of_outputs(&cx, &types);
                (types, elements)
            }
            Err(Stop::Unknown) => (Vec::new(), Vec::new()),
            Err(Stop::Contradiction(e)) => return Err(e.at_node(&node.name, node.op.name())),
        };
        if let Some(output) = first_output
            && self.fresh.last() > before
        {
            self.names.insert(output, before + 1..self.fresh.last() + 1);
        }
        let mut changed = false;
        let inferred = types.into_iter().map(Some).zip(elements);
        let inferred = inferred.chain(std::iter::repeat_with(|| (None, None)));
        for (output, (ty, elements)) in node.outputs.iter().zip(inferred) {
            let Some(ValueId(i)) = *output else { continue };
            changed |= self.types.types[i] != ty || self.types.elements[i] != elements;
            self.types.types[i] = ty;
            self.types.elements[i] = elements;
        }
        Ok(changed)
    }
}

/// Checks that a tensor can have the type of an input or a constant.
fn check_given(name: &str, ty: &TensorType) -> Result<()> {
    if let Some(dim) = ty.dims.iter().find(|dim| dim.as_const().is_some_and(|size| size < 0)) {
        return Err(Error::shape(format!("{name:?} has an axis of size {dim}")));
    }
    let too_large = |e: Error| Error::shape(format!("{name:?}: {}", e.message()));
    match ty.fixed_shape() {
        Some(shape) => geometry::element_count(&shape, ty.dtype).map(|_| ()).map_err(too_large),
        None => Ok(()),
    }
}

/// Checks that tensors can have `types`, and simplifies their sizes.
fn checked(mut types: Vec<TensorType>, fresh: &Fresh) -> Answer<Vec<TensorType>> {
    for ty in &mut types {
        sizes::simplify(ty, fresh);
        if let Some(dim) = ty.dims.iter().find(|dim| dim.bounds().1.is_some_and(|high| high < 0)) {
            return Err(Error::shape(format!("an axis of the result has size {dim}")).into());
        }
        if let Some(shape) = ty.fixed_shape() {
            geometry::element_count(&shape, ty.dtype)?;
        }
    }
    Ok(types)
}
