//! Recognises activations with a slope for negative inputs that are written as a sum.
//!
//! The sum `relu(x) + s * min(x, 0)` has slope 1 above zero and slope `s` below. It is equal to
//! `max(x, s * x)` if `s` is at most 1. Adaptively parametric ReLU (Zhao et al., 2020) is written this
//! way, with `s` from a hyperfunction that ends in a sigmoid.

use super::coefficients::{Axes, Piece};
use super::found::{Match, pooled_maps, rewrite};
use super::hyperfunction;
use super::paths::{Coefficient, Labels};
use super::scope::Scope;
use crate::error::Result;
use crate::graph::predicates::is_one;
use crate::graph::{Binary, Node, NodeId, Op, Rewriter, Unary, ValueId, Variadic};

/// Replaces such sums if a hyperfunction computes the slope below zero.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub(super) fn recognise(graph: &mut Rewriter) -> Result<()> {
    let scope = Scope::of(graph);
    let mut matches = Vec::new();
    for id in graph.node_ids() {
        if let Some(activation) = match_sum(&scope, id)
            && let Match { axes, channels, pieces, .. } = &activation
            && let Ok(hyper) = hyperfunction::find(&scope, *axes, *channels, pieces)
            && hyper.never_exceeds(1, 1.0)
        {
            matches.push((activation, Some(hyper)));
        }
    }
    let pooled = pooled_maps(&scope, matches.iter().filter_map(|(_, h)| h.as_ref()));
    rewrite(graph, matches, &pooled)
}

fn match_sum(scope: &Scope, id: NodeId) -> Option<Match> {
    let node = scope.graph.node(id);
    if node.op != Op::Binary(Binary::Add) {
        return None;
    }
    let (left, right) = (node.input(0)?, node.input(1)?);
    let (map, slope) =
        scaled_negative(scope, left, right).or_else(|| scaled_negative(scope, right, left))?;
    let ty = scope.types.get(map)?;
    let rank = ty.dims.len();
    let slope_dims = &scope.types.get(slope)?.dims;
    if rank < 3 || slope_dims.len() != rank || scope.types.get(node.output())?.dims != ty.dims {
        return None;
    }
    let mut labels = Labels::default();
    let axes = Axes { batch: Some(labels.fresh()), channel: Some(labels.fresh()) };
    let label = |i: usize| match i {
        _ if is_one(&slope_dims[i]) => Some(None),
        0 => Some(axes.batch),
        1 => Some(axes.channel),
        // A coefficient does not depend on the position.
        _ => None,
    };
    let slope_labels = (0..rank).map(label).collect::<Option<_>>()?;
    let zero = || Coefficient::Number(0.0);
    let piece = |a| Piece { a, b: zero(), selected: Vec::new() };
    Some(Match {
        anchor: id,
        map,
        perm: (0..rank).collect(),
        axes,
        channels: ty.dims[1].as_size().filter(|&channels| channels > 0)?,
        pieces: vec![
            piece(Coefficient::Number(1.0)),
            piece(Coefficient::Value(slope, slope_labels)),
        ],
    })
}

/// Returns `x` and `slope` if `positive` is `max(x, 0)` and `product` is `slope * min(x, 0)`.
fn scaled_negative(
    scope: &Scope,
    positive: ValueId,
    product: ValueId,
) -> Option<(ValueId, ValueId)> {
    let producer = |value| Some(scope.graph.node(scope.links.producer(value)?));
    let map = positive_part(scope, producer(positive)?)?;
    let product = producer(product).filter(|n| n.op == Op::Binary(Binary::Mul))?;
    let (a, b) = (product.input(0)?, product.input(1)?);
    let is_negative = |value| producer(value).and_then(|n| negative_part(scope, n)) == Some(map);
    match (is_negative(a), is_negative(b)) {
        (true, false) => Some((map, b)),
        (false, true) => Some((map, a)),
        _ => None,
    }
}

/// Whether all elements of input `at` of a node are zero, as a number or as a map that
/// `torch.zeros_like` has made.
fn is_zero(scope: &Scope, node: &Node, at: usize) -> bool {
    let zero = node.input(at).and_then(|value| scope.uniform(value));
    zero == Some(0.0)
}

/// Returns the map that a maximum or minimum compares with zero, if the result has the map's shape.
fn compared_with_zero(scope: &Scope, node: &Node) -> Option<ValueId> {
    let &[Some(a), Some(b)] = node.inputs.as_slice() else { return None };
    let map = match (is_zero(scope, node, 0), is_zero(scope, node, 1)) {
        (false, true) => a,
        (true, false) => b,
        _ => return None,
    };
    let dims = |value| scope.types.get(value).map(|ty| ty.dims.as_slice());
    (dims(map)? == dims(node.output())?).then_some(map)
}

/// Returns `x` if the node computes `max(x, 0)`.
fn positive_part(scope: &Scope, node: &Node) -> Option<ValueId> {
    match &node.op {
        Op::Unary(Unary::Relu) => node.input(0),
        Op::Clip if is_zero(scope, node, 1) && node.input(2).is_none() => node.input(0),
        Op::Variadic(Variadic::Max) => compared_with_zero(scope, node),
        _ => None,
    }
}

/// Returns `x` if the node computes `min(x, 0)`.
fn negative_part(scope: &Scope, node: &Node) -> Option<ValueId> {
    let producer = |value| Some(scope.graph.node(scope.links.producer(value)?));
    match &node.op {
        Op::Clip if node.input(1).is_none() && is_zero(scope, node, 2) => node.input(0),
        Op::Variadic(Variadic::Min) => compared_with_zero(scope, node),
        // -relu(-x)
        Op::Unary(Unary::Neg) => {
            let relu = producer(node.input(0)?)?;
            let minus = producer(positive_part(scope, relu)?)?;
            if minus.op == Op::Unary(Unary::Neg) { minus.input(0) } else { None }
        }
        // x - relu(x)
        Op::Binary(Binary::Sub) => {
            let x = node.input(0)?;
            (positive_part(scope, producer(node.input(1)?)?)? == x).then_some(x)
        }
        _ => None,
    }
}
