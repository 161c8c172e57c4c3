//! Recognises maxima over two or more pieces.

use super::found::{Match, Unrecognised, accept, pooled_maps, rewrite};
use super::paths::{self, Labels, Path, Visit};
use super::scope::Scope;
use super::{hyperfunction, pieces};
use crate::error::Result;
use crate::graph::predicates::is_one;
use crate::graph::{NodeId, Op, Rewriter, Variadic};

/// Replaces maxima that are dynamic activations. Returns the parts that resemble one and were not
/// recognised.
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
        if !pieces::is_maximum(&node.op) || inside_another(&scope, id) {
            continue;
        }
        match match_maximum(&scope, id) {
            Outcome::Match(activation) => {
                let Match { axes, channels, pieces, .. } = &activation;
                let hyper = hyperfunction::find(&scope, *axes, *channels, pieces);
                matches.push((activation, hyper.ok()));
            }
            Outcome::Unlike => {}
            Outcome::Refused(reason) => {
                unrecognised.push(Unrecognised { name: node.name.clone(), reason: reason.into() });
            }
        }
    }
    let pooled = pooled_maps(&scope, matches.iter().filter_map(|(_, h)| h.as_ref()));
    rewrite(graph, matches, &pooled)?;
    Ok(unrecognised)
}

enum Outcome {
    Match(Match),
    /// The maximum does not resemble a dynamic activation.
    Unlike,
    Refused(&'static str),
}

/// Whether the only reader of a maximum is another maximum.
fn inside_another(scope: &Scope, id: NodeId) -> bool {
    let output = scope.graph.node(id).output();
    let reader = scope.links.only_reader(output);
    reader.is_some_and(|reader| scope.graph.node(reader).op == Op::Variadic(Variadic::Max))
}

fn match_maximum(scope: &Scope, anchor: NodeId) -> Outcome {
    let mut labels = Labels::default();
    let Some(starts) = pieces::pieces(scope, &mut labels, anchor) else { return Outcome::Unlike };
    let first = starts.first().and_then(|start| scope.types.get(start.value));
    if first.is_none_or(|ty| ty.dims.len() < 3) {
        return Outcome::Unlike;
    }
    let mut ways: Vec<Vec<Path>> = Vec::with_capacity(starts.len());
    for start in starts {
        ways.push(paths::paths(scope, &mut labels, start));
    }
    // A maximum of pieces without any product or sum is one of feature maps, such as Maxout.
    let arithmetic = |path: &Path| path.iter().skip(1).any(|visit| !visit.by_movement);
    let scaled = ways.iter().flatten().any(arithmetic);
    let is_constant = |visit: &Visit| {
        visit.a.all_values(&|v| scope.graph.constant(v).is_some())
            && visit.b.all_values(&|v| scope.graph.constant(v).is_some())
    };
    if !scaled || ways.iter().flatten().flatten().all(is_constant) {
        return Outcome::Unlike;
    }
    if ways.len() > 8 {
        return Outcome::Refused("it has more than 8 pieces");
    }
    match common_map(scope, anchor, &ways) {
        Ok(activation) => Outcome::Match(activation),
        Err(reason) => Outcome::Refused(reason),
    }
}

/// Finds the nearest feature map of which all pieces are affine functions with coefficients that do not
/// depend on the position.
///
/// # Errors
/// The reason if there is none.
fn common_map(scope: &Scope, anchor: NodeId, ways: &[Vec<Path>]) -> Result<Match, &'static str> {
    let mut reason = "its pieces are not affine in one feature map";
    let mut best: Option<(usize, usize, Match)> = None;
    for path in &ways[0] {
        for (distance, visit) in path.iter().enumerate() {
            let others: Option<Vec<&Visit>> = ways[1..]
                .iter()
                .map(|paths| {
                    let visits = paths.iter().flatten();
                    visits.filter(|v| v.value == visit.value).find(|v| same_axes(scope, visit, v))
                })
                .collect();
            let Some(others) = others else { continue };
            let visits: Vec<&Visit> = std::iter::once(visit).chain(others).collect();
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
