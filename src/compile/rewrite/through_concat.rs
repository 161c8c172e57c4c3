//! Moves functions of single channels from a concatenation to its operands.
//!
//! `f(concat(a, b))` is `concat(f(a), f(b))` for an activation and for an affine function of every
//! channel. Behind convolutions, the functions are then folded into weights or applied to results in
//! registers.

use super::channel_affine::{coefficients, constant_piece};
use super::fold_batch_norm::{ChannelAffine, into_layer};
use crate::error::Result;
use crate::graph::predicates::axis_from_front;
use crate::graph::{NodeId, Op, Rewriter, ValueId};

/// Moves every function whose operands behind the concatenation are results of convolutions that
/// nothing else reads.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub fn through_concat(graph: &mut Rewriter) -> Result<()> {
    for id in graph.node_ids() {
        let _ = affine(graph, id).or_else(|| activation(graph, id));
    }
    graph.commit().map(|_| ())
}

/// The operands of the concatenation of channels that alone gives `value`, each with its number of
/// channels.
fn operands(graph: &Rewriter, value: ValueId) -> Option<(NodeId, Vec<(ValueId, usize)>)> {
    graph.links().only_reader(value)?;
    let id = graph.links().producer(value)?;
    let node = graph.node(id);
    let Op::Concat { axis } = node.op else { return None };
    let operand = |input: &Option<ValueId>| {
        let dims = &graph.types().get((*input)?)?.dims;
        let channels = dims.get(1)?.as_size().filter(|_| dims.len() == 4);
        graph.links().only_reader((*input)?)?;
        Some(((*input)?, channels?))
    };
    let operands: Vec<_> = node.inputs.iter().map(operand).collect::<Option<_>>()?;
    (axis_from_front(axis, 4) == Some(1)).then_some((id, operands))
}

/// Whether a convolution gives `value`, perhaps through functions that were moved before.
fn is_convolved(graph: &Rewriter, value: ValueId) -> bool {
    let producer = |value| Some(graph.node(graph.links().producer(value)?));
    match producer(value) {
        Some(node) if matches!(node.op, Op::Conv(_)) => true,
        _ => false,
    }
}

/// Folds an affine function of constants into the convolutions.
fn affine(graph: &mut Rewriter, id: NodeId) -> Option<()> {
    let output = graph.node(id).output();
    let (x, whole) = constant_piece(graph, output)?;
    let (concat, operands) = operands(graph, x)?;
    let count: usize = operands.iter().map(|operand| operand.1).sum();
    let are_convolved = operands.iter().all(|operand| is_convolved(graph, operand.0));
    if !are_convolved || count != whole.slopes.len() {
        return None;
    }
    let mut first = 0;
    for (place, (operand, channels)) in operands.into_iter().enumerate() {
        let range = first..first + channels;
        first = range.end;
        let part = ChannelAffine {
            slopes: whole.slopes[range.clone()].to_vec(),
            offsets: whole.offsets[range].to_vec(),
        };
        // A function that the convolution cannot take becomes a node of its own.
        let name = format!("{}.{place}", graph.node(id).name);
        let numbers = coefficients(graph, id, &part)?;
        let op = graph.node(id).op.clone();
        let moved = graph.apply(name, op, &[operand, numbers]);
        graph.edit(concat, |node| node.inputs[place] = Some(moved));
        let _ = into_layer(graph, operand, moved, &part);
    }
    graph.take_over(output, x);
    Some(())
}

/// Applies an activation to the operands.
fn activation(graph: &mut Rewriter, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let bounds = node.inputs.iter().skip(1).flatten();
    let is_alike = bounds.clone().all(|&bound| graph.constant(bound).is_some_and(|b| b.len() == 1));
    if !matches!(node.op, Op::Unary(_) | Op::Clip) || !is_alike {
        return None;
    }
    let (x, output, op) = (node.input(0)?, node.output(), node.op.clone());
    let (inputs, name) = (node.inputs.clone(), node.name.clone());
    let (concat, operands) = operands(graph, x)?;
    if !operands.iter().all(|operand| is_convolved(graph, operand.0)) {
        return None;
    }
    for (place, (operand, _)) in operands.into_iter().enumerate() {
        let mut inputs = inputs.clone();
        inputs[0] = Some(operand);
        let moved = graph.apply_to(format!("{name}.{place}"), op.clone(), inputs);
        graph.edit(concat, |node| node.inputs[place] = Some(moved));
    }
    graph.take_over(output, x);
    Some(())
}
