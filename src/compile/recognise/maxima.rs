//! Recognises maxima and minima over two or more pieces.

use super::found::{Match, Unrecognised, accept, pooled_maps, rewrite};
use super::hyperfunction;
use super::paths::{self, Labels, Path, Visit};
use super::pieces::{self, Extreme, Sums};
use super::scope::Scope;
use crate::error::Result;
use crate::graph::predicates::is_one;
use crate::graph::{Binary, ChannelActivation, NodeId, Op, Reduce, ReduceKind, Rewriter, Variadic};

/// Replaces maxima and minima that are dynamic activations. Returns the maxima that resemble one and
/// were not recognised.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub(super) fn recognise(graph: &mut Rewriter) -> Result<Vec<Unrecognised>> {
    let scope = Scope::of(graph);
    let mut matches = Vec::new();
    let mut unrecognised = Vec::new();
    for id in graph.node_ids() {
        let node = graph.node(id);
        let Some(extreme) = pieces::extreme(&scope, node) else { continue };
        if inside_another(&scope, id) {
            continue;
        }
        match match_extreme(&scope, id, extreme) {
            Outcome::Match(activation) => {
                let Match { axes, channels, pieces, .. } = activation.as_ref();
                let hyper = hyperfunction::find(&scope, *axes, *channels, pieces).ok();
                matches.push((*activation, hyper));
            }
            // Only what is spelled as a maximum is likely to be meant as an activation.
            Outcome::Refused(reason) if is_maximum(&node.op) && !is_funnel(&scope, id) => {
                unrecognised.push(Unrecognised { name: node.name.clone(), reason: reason.into() });
            }
            Outcome::Unlike | Outcome::Refused(_) => {}
        }
    }
    let pooled = pooled_maps(&scope, matches.iter().filter_map(|(_, h)| h.as_ref()));
    rewrite(graph, matches, &pooled)?;
    Ok(unrecognised)
}

enum Outcome {
    Match(Box<Match>),
    /// The node does not resemble a dynamic activation.
    Unlike,
    Refused(&'static str),
}

/// Whether an operator computes a maximum, of operands or along axes.
fn is_maximum(op: &Op) -> bool {
    matches!(op, Op::Variadic(Variadic::Max) | Op::Reduce(Reduce { kind: ReduceKind::Max, .. }))
}

/// Whether a maximum is FReLU: of a multiple of a map, and of a depthwise convolution of the map. The
/// multiple is an activation of one piece, which the convolution joins.
fn is_funnel(scope: &Scope, id: NodeId) -> bool {
    let &[Some(a), Some(b)] = scope.graph.node(id).inputs.as_slice() else { return false };
    let producer = |value| scope.links.producer(value).map(|id| scope.graph.node(id));
    let is_pair = |scaled, condition| {
        let (Some(scaled), Some(conv)) = (producer(scaled), producer(condition)) else {
            return false;
        };
        let map = conv.input(0);
        let channels = map.and_then(|x| scope.types.get(x)?.dims.get(1)?.as_size());
        let is_depthwise =
            matches!(&conv.op, Op::Conv(op) if Some(op.groups) == channels && op.groups > 1);
        let is_product = scaled.op == Op::Binary(Binary::Mul) && scaled.inputs.contains(&map);
        is_depthwise && is_product
    };
    is_pair(a, b) || is_pair(b, a)
}

/// Whether the only reader of a maximum or minimum is another one.
fn inside_another(scope: &Scope, id: NodeId) -> bool {
    let node = scope.graph.node(id);
    let outer = match node.op {
        Op::Variadic(Variadic::Min) | Op::Reduce(Reduce { kind: ReduceKind::Min, .. }) => {
            Variadic::Min
        }
        _ => Variadic::Max,
    };
    let reader = scope.links.only_reader(node.output());
    reader.is_some_and(|reader| scope.graph.node(reader).op == Op::Variadic(outer))
}

/// Matches an extreme, or the first of the movements of elements after it whose result has the shape
/// of the feature map.
fn match_extreme(scope: &Scope, inner: NodeId, extreme: Extreme) -> Outcome {
    let mut anchor = inner;
    let first = match_at(scope, anchor, inner, extreme);
    if let Outcome::Match(_) = first {
        return first;
    }
    while let Some(next) = scope.links.only_reader(scope.graph.node(anchor).output()) {
        if !matches!(scope.graph.node(next).op, Op::Squeeze | Op::Unsqueeze | Op::Reshape { .. }) {
            break;
        }
        anchor = next;
        if let Outcome::Match(found) = match_at(scope, anchor, inner, extreme) {
            return Outcome::Match(found);
        }
    }
    first
}

fn match_at(scope: &Scope, anchor: NodeId, inner: NodeId, extreme: Extreme) -> Outcome {
    match match_sums(scope, anchor, inner, extreme, Sums::Bent) {
        Outcome::Refused(reason) => match match_sums(scope, anchor, inner, extreme, Sums::All) {
            Outcome::Match(found) => Outcome::Match(found),
            Outcome::Unlike | Outcome::Refused(_) => Outcome::Refused(reason),
        },
        other => other,
    }
}

fn match_sums(
    scope: &Scope,
    anchor: NodeId,
    inner: NodeId,
    extreme: Extreme,
    sums: Sums,
) -> Outcome {
    let mut labels = Labels::default();
    let pieces = pieces::pieces(scope, &mut labels, anchor, inner, extreme, sums);
    let Some(pieces) = pieces else { return Outcome::Unlike };
    let first = pieces.iter().flatten().next().and_then(|start| scope.types.get(start.value));
    if first.is_none_or(|ty| ty.dims.len() < 3) {
        return Outcome::Unlike;
    }
    let is_sum = pieces.iter().any(|sum| sum.len() > 1);
    let mut ways: Vec<Vec<Vec<Path>>> = Vec::with_capacity(pieces.len());
    for sum in pieces {
        let terms = sum.into_iter().map(|start| paths::paths(scope, &mut labels, start));
        ways.push(terms.collect());
    }
    let visits = || ways.iter().flatten().flatten();
    // A maximum of pieces without any product or sum is one of feature maps, such as Maxout.
    let arithmetic = |path: &Path| path.iter().skip(1).any(|visit| !visit.by_movement);
    let scaled = is_sum || visits().any(arithmetic);
    let is_constant = |visit: &Visit| {
        visit.a.all_values(&|v| scope.graph.constant(v).is_some())
            && visit.b.all_values(&|v| scope.graph.constant(v).is_some())
    };
    if !scaled || visits().flatten().all(is_constant) {
        return Outcome::Unlike;
    }
    if ways.len() > 8 {
        return Outcome::Refused("it has more than 8 pieces");
    }
    match common_map(scope, anchor, &ways) {
        Ok(mut activation) => {
            if extreme == Extreme::Minimum {
                let k = activation.pieces.len();
                activation.op = Op::ChannelActivation(ChannelActivation::MinAffine { k });
            }
            Outcome::Match(Box::new(activation))
        }
        Err(reason) => Outcome::Refused(reason),
    }
}

/// Finds the nearest feature map of which all pieces are affine functions with coefficients that do not
/// depend on the position. A piece is a sum of terms, each of which has several paths.
///
/// # Errors
/// The reason if there is none.
pub(super) fn common_map(
    scope: &Scope,
    anchor: NodeId,
    ways: &[Vec<Vec<Path>>],
) -> Result<Match, &'static str> {
    let mut reason = "its pieces are not affine in one feature map";
    let mut best: Option<(usize, usize, Match)> = None;
    for path in ways.iter().flatten().next().into_iter().flatten() {
        for (distance, visit) in path.iter().enumerate() {
            let of_term = |paths: &Vec<Path>| {
                let visits = paths.iter().flatten();
                visits
                    .filter(|v| v.value == visit.value)
                    .find(|v| same_axes(scope, visit, v))
                    .cloned()
            };
            let of_piece = |terms: &Vec<Vec<Path>>| terms.iter().map(of_term).collect();
            let visits: Option<Vec<Vec<Visit>>> = ways.iter().map(of_piece).collect();
            let Some(mut visits) = visits else { continue };
            // The first term may reach the map on another path as well.
            if let Some(first) = visits.iter_mut().flatten().next() {
                *first = visit.clone();
            }
            // Steps that only move axes are not counted: the map before them is the one that a
            // layer produces.
            let steps = path[..=distance].iter().filter(|v| !v.by_movement).count();
            let nearer =
                best.as_ref().is_none_or(|(s, d, _)| steps < *s || (steps == *s && distance > *d));
            if !nearer {
                continue;
            }
            match accept(scope, anchor, &visits) {
                Ok(activation) => best = Some((steps, distance, activation)),
                Err(refusal) => reason = refusal,
            }
        }
    }
    best.map(|(_, _, activation)| activation).ok_or(reason)
}

/// Whether two visits of one value have the same labels, except on axes of size one.
fn same_axes(scope: &Scope, a: &Visit, b: &Visit) -> bool {
    let Some(ty) = scope.types.get(a.value) else { return false };
    let pairs = ty.dims.iter().zip(a.labels.iter().zip(&b.labels));
    a.labels.len() == b.labels.len() && { pairs }.all(|(d, (a, b))| is_one(d) || a == b)
}
