//! The types of a network's inputs, including those whose shape the file does not state.

use std::collections::{HashMap, HashSet};

use super::schema::domain;
use super::{proto, tensors};
use crate::error::{Error, Result};
use crate::graph::{Dim, TensorType};

/// The types of the inputs of one network.
pub(super) struct InputTypes<'m> {
    graph: &'m proto::Graph,
    /// The names that symbols of sizes already have.
    symbols: HashSet<String>,
}

impl<'m> InputTypes<'m> {
    pub(super) fn of(graph: &'m proto::Graph) -> Self {
        let mut symbols = HashSet::new();
        for dim in graph.input.iter().filter_map(shape).flat_map(|shape| &shape.dim) {
            if let Some(proto::DimensionValue::Symbol(name)) = &dim.value {
                symbols.insert(name.clone());
            }
        }
        InputTypes { graph, symbols }
    }

    /// Reads the type of `input`. An unknown size becomes a symbol of its own. If the file does not state
    /// the number of axes, it follows from the first operator that demands one.
    pub(super) fn read(&mut self, input: &proto::ValueInfo) -> Result<TensorType> {
        let named =
            |message: &str| Error::unsupported(format!("input {:?}: {message}", input.name));
        let Some(ty) = input.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()) else {
            return Err(named("it is no tensor"));
        };
        let dtype = tensors::dtype(ty.elem_type).map_err(|e| named(e.message()))?;
        let stated =
            ty.shape.as_ref().map(|shape| shape.dim.iter().map(|dim| &dim.value).collect());
        let sizes: Vec<&Option<proto::DimensionValue>> = match stated {
            Some(sizes) => sizes,
            None => {
                let rank = rank_of(&input.name, self.graph).ok_or_else(|| {
                    named(
                        "its number of axes is not stated and does not follow from its use; state \
                         its shape in the file",
                    )
                })?;
                vec![&None; rank]
            }
        };
        let mut dims = Vec::with_capacity(sizes.len());
        for (axis, size) in sizes.into_iter().enumerate() {
            dims.push(match size {
                Some(proto::DimensionValue::Size(size)) if *size >= 0 => Dim::from(*size),
                Some(proto::DimensionValue::Symbol(name)) if !name.is_empty() => Dim::symbol(name),
                // Many programs write -1 for an unknown size.
                None
                | Some(proto::DimensionValue::Size(-1))
                | Some(proto::DimensionValue::Symbol(_)) => self.fresh(&input.name, axis),
                Some(proto::DimensionValue::Size(size)) => {
                    let message = format!("input {:?} has a size of {size}", input.name);
                    return Err(Error::format(message));
                }
            });
        }
        Ok(TensorType { dtype, dims })
    }

    /// Creates a symbol that no other size has.
    fn fresh(&mut self, input: &str, axis: usize) -> Dim {
        let mut name = format!("{input}_{axis}");
        while !self.symbols.insert(name.clone()) {
            name.push('_');
        }
        Dim::symbol(&name)
    }
}

fn shape(value: &proto::ValueInfo) -> Option<&proto::Shape> {
    value.r#type.as_ref()?.tensor_type.as_ref()?.shape.as_ref()
}

/// Returns the number of axes of the value `name`: what the first operator demands, or what the first
/// output of the network has that has as many axes and whose shape is stated.
fn rank_of(name: &str, graph: &proto::Graph) -> Option<usize> {
    let constants: HashMap<&str, &proto::Tensor> =
        graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let mut alike = HashSet::from([name]);
    let mut open = vec![name];
    while let Some(name) = open.pop() {
        let stated = graph.output.iter().find(|output| output.name == name).and_then(shape);
        if let Some(shape) = stated.filter(|shape| !shape.dim.is_empty()) {
            return Some(shape.dim.len());
        }
        for node in graph.node.iter().filter(|node| reads_map(node, name)) {
            if let Some(rank) = said_by(node, &constants) {
                return Some(rank);
            }
            if keeps_rank(&node.op_type) {
                let outputs = node.output.first().map(String::as_str);
                open.extend(outputs.filter(|output| alike.insert(output)));
            }
        }
    }
    None
}

/// Returns whether `name` is the data that an operator of ONNX computes with, not one of its parameters.
fn reads_map(node: &proto::Node, name: &str) -> bool {
    let place = node.input.iter().position(|input| input == name);
    domain(&node.domain).is_empty()
        && match node.op_type.as_str() {
            "Add" | "Sub" | "Mul" | "Div" | "Max" | "Min" | "Sum" | "Mean" | "Concat" => {
                place.is_some()
            }
            _ => place == Some(0),
        }
}

/// Returns the number of axes that an operator demands of its first input.
fn said_by(node: &proto::Node, constants: &HashMap<&str, &proto::Tensor>) -> Option<usize> {
    let ints = |name: &str| node.attribute.iter().find(|a| a.name == name).map(|a| a.ints.len());
    let constant = |place: usize| constants.get(node.input.get(place)?.as_str());
    match node.op_type.as_str() {
        "Conv" | "ConvTranspose" => {
            let kernel = || ints("kernel_shape").map(|sides| sides + 2);
            constant(1).map(|weight| weight.dims.len()).or_else(kernel)
        }
        "AveragePool" | "MaxPool" => ints("kernel_shape").map(|sides| sides + 2),
        "DepthToSpace" => Some(4),
        "Gemm" => Some(2),
        "Pad" => ints("pads").map(|sides| sides / 2),
        "Transpose" => ints("perm"),
        _ => None,
    }
}

/// Returns whether the first output has as many axes as the first input.
fn keeps_rank(operator: &str) -> bool {
    matches!(
        operator,
        "Abs"
            | "Add"
            | "BatchNormalization"
            | "Cast"
            | "Clip"
            | "Concat"
            | "Div"
            | "Dropout"
            | "Elu"
            | "Exp"
            | "GlobalAveragePool"
            | "HardSigmoid"
            | "HardSwish"
            | "Identity"
            | "InstanceNormalization"
            | "LeakyRelu"
            | "Log"
            | "Max"
            | "Mean"
            | "Min"
            | "Mul"
            | "Neg"
            | "PRelu"
            | "Pad"
            | "Pow"
            | "Relu"
            | "Resize"
            | "Sigmoid"
            | "Softmax"
            | "Sqrt"
            | "Sub"
            | "Sum"
            | "Tanh"
            | "Upsample"
    )
}
