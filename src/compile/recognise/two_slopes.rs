//! Recognises activations with a slope on either side of zero that are written as a sum or a selection.
//!
//! The sum `p * max(x, 0) + n * min(x, 0)` has slope `p` above zero and slope `n` below, as has the selection
//! `x > 0 ? p * x : n * x`. With `p = 1` they are equal to `max(x, n * x)` if `n` is at most 1. Adaptively parametric ReLU (Zhao et al., 2020) is
//! written this way, with `n` from a hyperfunction that ends in a sigmoid.

use super::coefficients::{Axes, Piece, are_constant, per_channel};
use super::found::{Match, pooled_maps, rewrite};
use super::hyperfunction;
use super::paths::{Coefficient, Labels};
use super::scope::Scope;
use crate::error::Result;
use crate::graph::{
    Binary, ChannelActivation, MaxAffine, Node, NodeId, Op, Rewriter, Unary, ValueId, Variadic,
};

/// Replaces such sums and selections if the network computes at least one of the slopes.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub(super) fn recognise(graph: &mut Rewriter) -> Result<()> {
    let scope = Scope::of(graph);
    let mut matches = Vec::new();
    for id in graph.node_ids() {
        let Some((activation, [positive, negative])) = match_node(&scope, id) else { continue };
        let find = |pieces: &[Piece]| {
            hyperfunction::find(&scope, activation.axes, activation.channels, pieces)
        };
        if let Coefficient::Number(1.0) = positive {
            let piece = |a| Piece { a, b: Coefficient::Number(0.0), selected: Vec::new() };
            let pieces = vec![piece(positive), piece(negative)];
            if let Ok(hyper) = find(&pieces)
                && hyper.never_exceeds(1, 1.0)
            {
                let op = Op::MaxAffine(MaxAffine { k: 2 });
                matches.push((Match { pieces, op, ..activation }, Some(hyper)));
                continue;
            }
        }
        let hyper = find(&activation.pieces).ok();
        matches.push((activation, hyper));
    }
    let pooled = pooled_maps(&scope, matches.iter().filter_map(|(_, h)| h.as_ref()));
    rewrite(graph, matches, &pooled)
}

/// Returns the activation that a node computes, and its slopes above and below zero.
fn match_node(scope: &Scope, id: NodeId) -> Option<(Match, [Coefficient; 2])> {
    let node = scope.graph.node(id);
    let [first, second] = match node.op {
        Op::Binary(op @ (Binary::Add | Binary::Sub)) => {
            let (first, mut second) = (half(scope, node.input(0)?)?, half(scope, node.input(1)?)?);
            second.minus ^= op == Binary::Sub;
            [first, second]
        }
        Op::Where => selected(scope, node)?,
        _ => return None,
    };
    if first.map != second.map || first.above == second.above {
        return None;
    }
    let ty = scope.types.get(first.map)?;
    let rank = ty.dims.len();
    if rank < 3 || scope.types.get(node.output())?.dims != ty.dims {
        return None;
    }
    let mut labels = Labels::default();
    let axes = Axes { batch: Some(labels.fresh()), channel: Some(labels.fresh()) };
    let slope = |half: &Half| {
        let sign = Coefficient::Number(if half.minus { -1.0 } else { 1.0 });
        match half.slope {
            Some(slope) => Some(sign.mul(per_channel(scope, axes, &ty.dims, slope)?)),
            None => Some(sign),
        }
    };
    let (above, below) = if first.above { (first, second) } else { (second, first) };
    let slopes = [slope(&above)?, slope(&below)?];
    let [a, b] = slopes.clone();
    let pieces = vec![Piece { a, b, selected: Vec::new() }];
    let activation = Match {
        anchor: id,
        map: above.map,
        perm: (0..rank).collect(),
        axes,
        channels: ty.dims[1].as_size().filter(|&channels| channels > 0)?,
        op: Op::ChannelActivation(ChannelActivation::TwoSlopes),
        factor: None,
        pieces,
    };
    (!are_constant(scope, &activation.pieces)).then_some((activation, slopes))
}

/// `slope * max(x, 0)` if `above`, otherwise `slope * min(x, 0)`, with the sign reversed if `minus`.
struct Half {
    map: ValueId,
    above: bool,
    minus: bool,
    slope: Option<ValueId>,
}

/// Returns the halves of `x > 0 ? p * x : n * x`.
fn selected(scope: &Scope, node: &Node) -> Option<[Half; 2]> {
    let comparison = scope.graph.node(scope.links.producer(node.input(0)?)?);
    let Op::Binary(op) = comparison.op else { return None };
    let is_greater = match op {
        Binary::Greater | Binary::GreaterOrEqual => true,
        Binary::Less | Binary::LessOrEqual => false,
        _ => return None,
    };
    // Whether the first value is selected above zero.
    let (map, above) = match (is_zero(scope, comparison, 0), is_zero(scope, comparison, 1)) {
        (false, true) => (comparison.input(0)?, is_greater),
        (true, false) => (comparison.input(1)?, !is_greater),
        _ => return None,
    };
    let half = |i: usize, above: bool| {
        let value = node.input(i)?;
        let half = Half { map, above, minus: false, slope: None };
        if value == map {
            return Some(half);
        }
        let product = scope.graph.node(scope.links.producer(value)?);
        let is_map = |i: usize| product.input(i) == Some(map);
        match product.op {
            Op::Unary(Unary::Neg) if is_map(0) => Some(Half { minus: true, ..half }),
            Op::Binary(Binary::Mul) if is_map(0) => Some(Half { slope: product.input(1), ..half }),
            Op::Binary(Binary::Mul) if is_map(1) => Some(Half { slope: product.input(0), ..half }),
            _ => None,
        }
    };
    Some([half(1, above)?, half(2, !above)?])
}

fn half(scope: &Scope, value: ValueId) -> Option<Half> {
    let node = scope.graph.node(scope.links.producer(value)?);
    if node.op != Op::Binary(Binary::Mul) {
        return part(scope, value);
    }
    let (a, b) = (node.input(0)?, node.input(1)?);
    match (part(scope, a), part(scope, b)) {
        (Some(half), None) => Some(Half { slope: Some(b), ..half }),
        (None, Some(half)) => Some(Half { slope: Some(a), ..half }),
        _ => None,
    }
}

/// Returns the half that a value is without a slope.
fn part(scope: &Scope, value: ValueId) -> Option<Half> {
    let node = scope.graph.node(scope.links.producer(value)?);
    let half = |map, above| Half { map, above, minus: false, slope: None };
    if let Some(map) = negative_part(scope, node) {
        return Some(half(map, false));
    }
    let map = positive_part(scope, node)?;
    // relu(-x) is -min(x, 0).
    let inner = scope.links.producer(map).map(|id| scope.graph.node(id));
    match inner {
        Some(Node { op: Op::Unary(Unary::Neg), inputs, .. }) => {
            Some(Half { minus: true, ..half((*inputs.first()?)?, false) })
        }
        _ => Some(half(map, true)),
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
