//! Networks of half and double precision, computed in single precision.
//!
//! A network takes and gives the element types that its file declares. What is between is computed
//! in f32, whichever floating-point type the file states: `Cast` nodes stand at the inputs and
//! outputs, constants are converted, and casts between floating-point types vanish. Half precision
//! thereby gains digits, as it does in any engine that adds up in f32, and what would have
//! overflowed past 65,504 does not. Double precision loses digits, and numbers beyond 3.4e38 become
//! infinite.
//!
//! A network that is all double precision and has no layer, only arithmetic by elements, stays as it
//! is: no kernel is for it, and the plain executor computes it exactly.
//!
//! Calculations in double precision with nothing but sizes and constants stay as they are: their
//! results are sizes, which must not depend on rounding.

use std::collections::{HashMap, HashSet};

use super::infer::infer;
use super::{Graph, Node, NodeId, Op, Value, ValueId};
use crate::error::Result;
use crate::tensor::DType;

/// `graph`, which is validated, with the floating-point types between its inputs and its outputs
/// turned into f32; `None` where they are already.
///
/// # Errors
/// `Shape` where the graph contradicts itself, such as by mixing types.
pub fn in_single_precision(graph: &Graph) -> Result<Option<Graph>> {
    let plan = Conversion::of(graph);
    if plan.is_nothing_to_do(graph) {
        return Ok(None);
    }
    infer(graph)?;
    let mut converted = graph.clone();
    plan.apply(&mut converted)?;
    Ok(Some(converted))
}

fn is_other_float(dtype: DType) -> bool {
    dtype.is_float() && dtype != DType::F32
}

/// Whether a node reads any type as it is, so that what it reads needs no conversion.
fn reads_any_type(op: &Op) -> bool {
    matches!(op, Op::Cast { .. } | Op::Shape { .. } | Op::Size)
}

/// Whether all floating-point values are in double precision and nothing but arithmetic by elements
/// is done with them.
fn stays_double(graph: &Graph, types: &[Option<DType>]) -> bool {
    let by_elements = |op: &Op| {
        matches!(
            op,
            Op::Unary(_) | Op::Binary(_) | Op::Variadic(_) | Op::Where | Op::Clip | Op::Identity
        )
    };
    let is_double = |ty: &Option<DType>| ty.is_none_or(|ty| !ty.is_float() || ty == DType::F64);
    graph.nodes().iter().all(|node| by_elements(&node.op)) && types.iter().all(is_double)
}

/// The element type of output `i`, where it follows from the inputs alone.
fn output_type(node: &Node, i: usize, input: impl Fn(usize) -> Option<DType>) -> Option<DType> {
    use super::Binary::*;
    match &node.op {
        Op::Cast { to } => Some(*to),
        Op::ConstantOfShape { value } => Some(value.dtype),
        Op::Shape { .. } | Op::Size | Op::ArgMax(_) => Some(DType::I64),
        Op::Binary(Equal | Less | LessOrEqual | Greater | GreaterOrEqual | And | Or | Xor) => {
            Some(DType::Bool)
        }
        Op::Pool(_) if i > 0 => Some(DType::I64),
        Op::Dropout if i > 0 => Some(DType::Bool),
        Op::Where => input(1),
        _ => input(0),
    }
}

/// The element type of every value, as far as it follows from those of inputs and constants.
pub(crate) fn element_types(graph: &Graph) -> Vec<Option<DType>> {
    let given = |value: &Value| {
        let declared = value.input.as_ref().map(|ty| ty.dtype);
        value.constant.as_ref().map(|tensor| tensor.dtype()).or(declared)
    };
    let mut types: Vec<Option<DType>> = graph.values().iter().map(given).collect();
    for node in graph.nodes() {
        for (i, output) in node.outputs.iter().enumerate() {
            if let Some(output) = output {
                types[output.index()] = output_type(node, i, |i| types[node.input(i)?.index()]);
            }
        }
    }
    types
}

/// What is to be converted.
struct Conversion {
    /// The element type that each value has in the file.
    types: Vec<Option<DType>>,
    /// Which values become f32, of those that are another floating-point type.
    converted: Vec<bool>,
}

impl Conversion {
    fn of(graph: &Graph) -> Self {
        let count = graph.values().len();
        let types = element_types(graph);
        if stays_double(graph, &types) {
            return Conversion { types, converted: vec![false; count] };
        }
        // Which values do not depend on the data: constants, sizes, and what they make.
        let mut free = vec![false; count];
        let mut converted = vec![false; count];
        for (i, value) in graph.values().iter().enumerate() {
            free[i] = value.constant.is_some();
            converted[i] = types[i].is_some_and(|dtype| match value.constant {
                Some(_) => is_half(dtype),
                None => is_other_float(dtype),
            });
        }
        let links = graph.links();
        let is_last = |node: &Node, id: ValueId| {
            let is_cast = matches!(node.op, Op::Cast { .. });
            is_cast && graph.outputs().contains(&id) && links.consumers(id).is_empty()
        };
        for node in graph.nodes() {
            let inputs = || node.inputs.iter().flatten().map(|id| id.index());
            let is_size = matches!(node.op, Op::Shape { .. } | Op::Size);
            let is_free = is_size || inputs().all(|i| free[i]);
            let reads_converted = !reads_any_type(&node.op) && inputs().any(|i| converted[i]);
            for &output in node.outputs.iter().flatten() {
                let dtype = types[output.index()];
                free[output.index()] = is_free;
                // A cast at the end gives what the file declares.
                converted[output.index()] = !is_last(node, output)
                    && dtype.is_some_and(|dtype| {
                        is_half(dtype) || (dtype == DType::F64 && (!is_free || reads_converted))
                    });
            }
        }
        Conversion { types, converted }
    }

    fn is_converted(&self, value: ValueId) -> bool {
        self.converted.get(value.index()) == Some(&true)
    }

    fn is_other_float(&self, value: ValueId) -> bool {
        self.types.get(value.index()).copied().flatten().is_some_and(is_other_float)
    }

    /// Whether a node computes in f32 what the file has it compute in another type.
    fn computes_single(&self, node: &Node) -> bool {
        let values = node.inputs.iter().chain(&node.outputs).flatten();
        !reads_any_type(&node.op) && { values }.any(|&id| self.is_converted(id))
    }

    fn is_nothing_to_do(&self, graph: &Graph) -> bool {
        graph.nodes().iter().all(|node| {
            !self.computes_single(node)
                && !node.outputs.iter().flatten().any(|&id| self.is_converted(id))
        }) && !graph.outputs().iter().any(|&id| self.needs_cast_back(graph, id))
    }

    /// Whether an output of the graph has become f32.
    fn needs_cast_back(&self, graph: &Graph, output: ValueId) -> bool {
        let is_given = graph.value(output).input.is_some() || graph.constant(output).is_some();
        self.is_converted(output) && !is_given
    }

    fn apply(&self, graph: &mut Graph) -> Result<()> {
        let mut singles = Singles::of(self, graph);
        for id in graph.node_ids() {
            let node = graph.node(id);
            if self.computes_single(node) {
                singles.redirect(self, graph, id);
            }
            let node = graph.node_mut(id);
            let becomes_single = node.outputs.first().copied().flatten();
            if becomes_single.is_some_and(|id| self.is_converted(id)) {
                match &mut node.op {
                    Op::Cast { to } => *to = DType::F32,
                    Op::ConstantOfShape { value } => value.dtype = DType::F32,
                    _ => {}
                }
            }
        }
        let mut back: HashMap<ValueId, ValueId> = HashMap::new();
        let mut outputs = graph.outputs().to_vec();
        for output in &mut outputs {
            let Some(dtype) = self.types[output.index()] else { continue };
            if self.needs_cast_back(graph, *output) {
                let from = *output;
                *output = *back.entry(from).or_insert_with(|| {
                    let name = graph.value(from).name.clone();
                    graph.value_mut(from).name = format!("{name}.f32");
                    graph.apply(name, Op::Cast { to: dtype }, &[from])
                });
            }
        }
        graph.set_outputs(outputs);
        graph.prune()
    }
}

fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}

/// The f32 values that stand for those of other types.
struct Singles {
    of: HashMap<ValueId, ValueId>,
    /// What somebody needs as the file has it.
    needed: HashSet<ValueId>,
}

impl Singles {
    fn of(conversion: &Conversion, graph: &Graph) -> Self {
        let as_they_are = graph.nodes().iter().filter(|node| !conversion.computes_single(node));
        let read = as_they_are.flat_map(|node| node.inputs.iter().flatten());
        let needed = read.chain(graph.outputs()).copied().collect();
        Singles { of: HashMap::new(), needed }
    }

    /// Has a node read f32 wherever it reads another floating-point type that stays.
    fn redirect(&mut self, conversion: &Conversion, graph: &mut Graph, node: NodeId) {
        for i in 0..graph.node(node).inputs.len() {
            let Some(input) = graph.node(node).inputs[i] else { continue };
            let value = graph.value(input);
            // What a node makes in f32 is read as it is.
            let is_given = value.constant.is_some() || value.input.is_some();
            let stays = is_given || !conversion.is_converted(input);
            if conversion.is_other_float(input) && stays {
                let single = self.single(graph, input);
                graph.node_mut(node).inputs[i] = Some(single);
            }
        }
    }

    fn single(&mut self, graph: &mut Graph, value: ValueId) -> ValueId {
        if let Some(&single) = self.of.get(&value) {
            return single;
        }
        let name = format!("{}.f32", graph.value(value).name);
        let constant = graph.constant(value).cloned().map(|tensor| match tensor.dtype() {
            DType::F16 => Ok(tensor.widened()),
            _ => tensor.cast(DType::F32),
        });
        let single = match constant {
            Some(Ok(tensor)) if !self.needed.contains(&value) => {
                graph.value_mut(value).constant = Some(tensor);
                value
            }
            Some(Ok(tensor)) => graph.add_constant(name, tensor),
            _ => graph.apply(name, Op::Cast { to: DType::F32 }, &[value]),
        };
        self.of.insert(value, single);
        single
    }
}

#[cfg(test)]
mod tests;
