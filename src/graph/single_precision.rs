//! Conversion of networks in half and double precision to single precision.
//!
//! Inputs and outputs keep the element types that the file declares. Everything between them is
//! computed in f32: inputs and outputs get `Cast` nodes, constants are converted, and casts between
//! floating-point types vanish. Networks in half precision thereby gain digits, as in every engine
//! that sums in f32, and do not overflow at 65,504. Networks in double precision lose digits, and
//! numbers above 3.4e38 become infinite.
//!
//! Two kinds of calculations in double precision stay as they are:
//!
//! - a network that consists of elementwise arithmetic in double precision alone: there are no
//!   kernels for it, and the reference executor computes it exactly;
//! - calculations with nothing but sizes and constants: their results are sizes, which must not
//!   depend on rounding.

use std::collections::{HashMap, HashSet};

use super::infer::infer;
use super::{Graph, Node, NodeId, Op, Value, ValueId};
use crate::error::Result;
use crate::tensor::DType;

/// Converts a validated graph: all floating-point types between its inputs and its outputs become
/// f32. Returns `None` if there is nothing to convert.
///
/// # Errors
/// [`Shape`](crate::ErrorKind::Shape) if inputs of a node do not fit together, for example in their
/// element types.
pub fn in_single_precision(graph: &Graph) -> Result<Option<Graph>> {
    let conversion = Conversion::new(graph);
    if conversion.is_empty(graph) {
        return Ok(None);
    }
    infer(graph)?;
    let mut converted = graph.clone();
    conversion.apply(&mut converted)?;
    Ok(Some(converted))
}

fn is_other_float(dtype: DType) -> bool {
    dtype.is_float() && dtype != DType::F32
}

/// Returns whether an operator accepts every element type, so that its inputs need no conversion.
fn reads_any_type(op: &Op) -> bool {
    matches!(op, Op::Cast { .. } | Op::Shape { .. } | Op::Size | Op::NonZero)
}

/// Returns whether all floating-point values are in double precision and all nodes are elementwise
/// arithmetic.
fn stays_double(graph: &Graph, types: &[Option<DType>]) -> bool {
    let is_elementwise = |op: &Op| {
        matches!(
            op,
            Op::Unary(_) | Op::Binary(_) | Op::Variadic(_) | Op::Where | Op::Clip | Op::Identity
        )
    };
    let is_double = |ty: &Option<DType>| ty.is_none_or(|ty| !ty.is_float() || ty == DType::F64);
    graph.nodes().iter().all(|node| is_elementwise(&node.op)) && types.iter().all(is_double)
}

/// Returns the element type of output `i` of a node whose inputs have the types `input`.
fn output_type(node: &Node, i: usize, input: impl Fn(usize) -> Option<DType>) -> Option<DType> {
    use super::Binary::*;
    match &node.op {
        Op::Cast { to } => Some(*to),
        Op::ConstantOfShape { value } => Some(value.dtype),
        Op::Shape { .. } | Op::Size | Op::ArgMax(_) => Some(DType::I64),
        Op::Binary(Equal | Less | LessOrEqual | Greater | GreaterOrEqual | And | Or | Xor) => {
            Some(DType::Bool)
        }
        Op::NonZero | Op::NonMaxSuppression(_) => Some(DType::I64),
        Op::Pool(_) | Op::TopK(_) if i > 0 => Some(DType::I64),
        Op::Dropout if i > 0 => Some(DType::Bool),
        Op::Where => input(1),
        _ => input(0),
    }
}

/// Returns the element type of every value, if it follows from those of the graph's inputs and
/// constants.
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

/// Which values are to be converted.
struct Conversion {
    /// The element type that each value has in the file.
    types: Vec<Option<DType>>,
    /// Whether each value becomes f32 from another floating-point type.
    converted: Vec<bool>,
}

impl Conversion {
    fn new(graph: &Graph) -> Self {
        let count = graph.values().len();
        let types = element_types(graph);
        if stays_double(graph, &types) {
            return Conversion { types, converted: vec![false; count] };
        }
        // Whether each value depends on constants and sizes alone, and not on data.
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
                // A cast to an output gives the type that the file declares.
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

    /// Returns whether a node that the file has in another type is computed in f32.
    fn computes_single(&self, node: &Node) -> bool {
        let values = node.inputs.iter().chain(&node.outputs).flatten();
        !reads_any_type(&node.op) && { values }.any(|&id| self.is_converted(id))
    }

    /// Returns whether nothing needs to be converted.
    fn is_empty(&self, graph: &Graph) -> bool {
        graph.nodes().iter().all(|node| {
            !self.computes_single(node)
                && !node.outputs.iter().flatten().any(|&id| self.is_converted(id))
        }) && !graph.outputs().iter().any(|&id| self.needs_cast_back(graph, id))
    }

    /// Returns whether an output of the graph has been converted, so that it needs a cast to its
    /// type.
    fn needs_cast_back(&self, graph: &Graph, output: ValueId) -> bool {
        let is_given = graph.value(output).input.is_some() || graph.constant(output).is_some();
        self.is_converted(output) && !is_given
    }

    fn apply(&self, graph: &mut Graph) -> Result<()> {
        let mut singles = Singles::new(self, graph);
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

/// The f32 copies of values of other floating-point types.
struct Singles {
    copies: HashMap<ValueId, ValueId>,
    /// The values that some node or output needs in the type of the file.
    needed: HashSet<ValueId>,
}

impl Singles {
    fn new(conversion: &Conversion, graph: &Graph) -> Self {
        let unconverted = graph.nodes().iter().filter(|node| !conversion.computes_single(node));
        let read = unconverted.flat_map(|node| node.inputs.iter().flatten());
        let needed = read.chain(graph.outputs()).copied().collect();
        Singles { copies: HashMap::new(), needed }
    }

    /// Makes a node read the f32 copies of those of its inputs that stay in another type.
    fn redirect(&mut self, conversion: &Conversion, graph: &mut Graph, node: NodeId) {
        for i in 0..graph.node(node).inputs.len() {
            let Some(input) = graph.node(node).inputs[i] else { continue };
            let value = graph.value(input);
            // The converted output of a node is f32 itself.
            let is_given = value.constant.is_some() || value.input.is_some();
            let stays = is_given || !conversion.is_converted(input);
            if conversion.is_other_float(input) && stays {
                let single = self.single(graph, input);
                graph.node_mut(node).inputs[i] = Some(single);
            }
        }
    }

    fn single(&mut self, graph: &mut Graph, value: ValueId) -> ValueId {
        if let Some(&single) = self.copies.get(&value) {
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
        self.copies.insert(value, single);
        single
    }
}

#[cfg(test)]
mod tests;
