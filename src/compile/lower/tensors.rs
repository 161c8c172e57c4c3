//! Chooses how a node is computed that reads and writes tensors rather than maps.

use super::alone;
use super::group::activation;
use super::network::Network;
use crate::graph::{Binary, Node, Op, PadMode, Unary, ValueId, Variadic};
use crate::kernels::tensors::arithmetic::Operation;
use crate::kernels::tensors::function::Function;
use crate::plan::{
    Arithmetic, Elementwise, MatrixProduct, Movement, Normalisation, Reduction, StepKind,
    TensorOperation, View,
};
use crate::tensor::DType;

/// Returns what computes `node`: kernels if there are some and its elements are f32, otherwise the
/// reference.
pub(super) fn step(net: &Network, node: &Node) -> StepKind {
    if let Op::Shape { start, end } = node.op {
        return StepKind::Shape { start, end };
    }
    match operation(net, node) {
        Some(operation) => StepKind::Tensors(operation),
        None => StepKind::General(node.op.clone()),
    }
}

fn operation(net: &Network, node: &Node) -> Option<Box<dyn TensorOperation>> {
    if let Some(operation) = alone::operation(net, node) {
        return Some(Box::new(operation));
    }
    if is_view(node) {
        return Some(Box::new(View(node.op.clone())));
    }
    let is_f32 = |&id: &ValueId| net.types.get(id).is_some_and(|ty| ty.dtype == DType::F32);
    let writes_f32 = node.outputs.iter().flatten().all(is_f32);
    let reads_f32 = |count: usize| node.inputs.iter().take(count).flatten().all(is_f32);
    let reads_only_f32 = reads_f32(usize::MAX);
    // Most operators read further inputs of other types: sizes, axes, indices.
    if !writes_f32 || !reads_f32(1) {
        return None;
    }
    Some(match node.op {
        Op::MatMul if reads_only_f32 => Box::new(MatrixProduct::MatMul),
        Op::Gemm(op) if reads_only_f32 => Box::new(MatrixProduct::Gemm(op)),
        Op::Unary(_) | Op::Clip => Box::new(Elementwise(function(net, node)?)),
        Op::Binary(Binary::Pow) => match power(net, node) {
            Some(function) => Box::new(Elementwise(function)),
            None => Box::new(arithmetic(node).filter(|_| reads_only_f32)?),
        },
        Op::Binary(_) | Op::Variadic(_) | Op::PRelu if reads_only_f32 => {
            Box::new(arithmetic(node)?)
        }
        Op::Softmax(op) => Box::new(Normalisation::Softmax(op)),
        Op::LogSoftmax(op) => Box::new(Normalisation::LogSoftmax(op)),
        Op::LayerNormalization { axis, epsilon } if reads_only_f32 => {
            Box::new(Normalisation::Layer { axis, epsilon })
        }
        Op::InstanceNormalization { epsilon } if reads_only_f32 => {
            Box::new(Normalisation::Groups { count: None, epsilon })
        }
        Op::GroupNormalization { num_groups, epsilon } if reads_only_f32 => {
            Box::new(Normalisation::Groups { count: Some(num_groups), epsilon })
        }
        Op::Reduce(op) => Box::new(Reduction::new(op)?),
        _ => Box::new(movement(node, reads_only_f32)?),
    })
}

/// Whether the output of `node` shares the elements of its input.
fn is_view(node: &Node) -> bool {
    let has_one_output = node.outputs.len() == 1;
    match node.op {
        Op::Reshape { .. } | Op::Flatten { .. } | Op::Squeeze | Op::Unsqueeze | Op::Identity => {
            true
        }
        Op::Dropout => has_one_output,
        _ => false,
    }
}

/// Returns the function of one element that `node` is.
fn function(net: &Network, node: &Node) -> Option<Function> {
    if let Some(activation) = activation(net.graph, node) {
        return Some(Function::Activation(activation));
    }
    let Op::Unary(unary) = node.op else { return None };
    Some(match unary {
        Unary::ThresholdedRelu { alpha } => Function::Threshold { alpha },
        Unary::Softplus => Function::Softplus,
        Unary::Softsign => Function::Softsign,
        Unary::Exp => Function::Exponential,
        Unary::Log => Function::Logarithm,
        Unary::Sqrt => Function::SquareRoot,
        Unary::Reciprocal => Function::Reciprocal,
        Unary::Neg => Function::Negative,
        Unary::Abs => Function::Absolute,
        Unary::Sign => Function::Sign,
        Unary::Floor => Function::Floor,
        Unary::Ceil => Function::Ceiling,
        Unary::Round => Function::Round,
        Unary::Erf => Function::Error,
        Unary::Sin => Function::Sine,
        Unary::Cos => Function::Cosine,
        _ => return None,
    })
}

/// Returns the function that a power with a constant exponent is, if it is a simple one.
fn power(net: &Network, node: &Node) -> Option<Function> {
    let exponent = net.graph.constant(node.input(1)?).filter(|e| e.len() == 1)?;
    let keeps_shape = exponent.shape().len() <= net.types.get(node.input(0)?)?.dims.len();
    let exponent = exponent.cast(DType::F64).ok()?;
    match exponent.as_slice::<f64>().ok()? {
        [2.0] if keeps_shape => Some(Function::Square),
        [0.5] if keeps_shape => Some(Function::SquareRoot),
        _ => None,
    }
}

/// Returns the arithmetic that `node` is.
fn arithmetic(node: &Node) -> Option<Arithmetic> {
    let operation = match node.op {
        Op::Binary(Binary::Add) | Op::Variadic(Variadic::Sum | Variadic::Mean) => Operation::Sum,
        Op::Binary(Binary::Sub) => Operation::Difference,
        Op::Binary(Binary::Mul) => Operation::Product,
        Op::Binary(Binary::Div) => Operation::Quotient,
        Op::Binary(Binary::Pow) => Operation::Power,
        Op::Variadic(Variadic::Max) => Operation::Maximum,
        Op::Variadic(Variadic::Min) => Operation::Minimum,
        Op::PRelu => Operation::Slope,
        _ => return None,
    };
    Some(Arithmetic { operation, mean: node.op == Op::Variadic(Variadic::Mean) })
}

/// Returns the movement of elements that `node` is.
fn movement(node: &Node, reads_only_f32: bool) -> Option<Movement> {
    Some(match &node.op {
        Op::Concat { axis } if reads_only_f32 => Movement::Concat { axis: *axis },
        Op::Split { axis } => Movement::Split { axis: *axis },
        Op::Slice => Movement::Slice,
        Op::Gather { axis } => Movement::Gather { axis: *axis },
        Op::Expand => Movement::Expand,
        Op::Tile => Movement::Tile,
        Op::Transpose { perm } => Movement::Transpose { perm: perm.clone() },
        Op::DepthToSpace { block, order } => {
            Movement::DepthToSpace { block: *block, order: *order }
        }
        Op::Pad { mode: PadMode::Constant } => Movement::Pad,
        _ => return None,
    })
}
