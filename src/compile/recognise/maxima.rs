//! Recognises maxima over two or more pieces.

use super::paths::{self, Labels, Path, Visit};
use super::scope::Scope;
use super::{Match, Unrecognised, accept, hyperfunction, pieces, pooled_maps, rewrite};
use crate::error::Result;
use crate::graph::predicates::is_one;
use crate::graph::{NodeId, Op, Rewriter, Variadic};

/// Replaces them. Gives the places that look like one and were left alone.
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
            Outcome::Match(found) => {
                let hyper = hyperfunction::find(&scope, found.axes, found.channels, &found.pieces);
                matches.push((found, hyper.ok()));
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
    /// Nothing about it suggests a dynamic activation.
    Unlike,
    Refused(&'static str),
}

/// Whether a maximum is a piece of the maximum that reads it.
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
    // Without a product or a sum this is a maximum of feature maps.
    let arithmetic = |path: &Path| path.iter().skip(1).any(|visit| !visit.by_movement);
    let scaled = ways.iter().flatten().any(arithmetic);
    let dynamic = |visit: &Visit| {
        visit.a.all_values(&|v| scope.graph.constant(v).is_some())
            && visit.b.all_values(&|v| scope.graph.constant(v).is_some())
    };
    if !scaled || ways.iter().flatten().flatten().all(dynamic) {
        return Outcome::Unlike;
    }
    if ways.len() > 8 {
        return Outcome::Refused("it has more than 8 pieces");
    }
    match common_map(scope, anchor, &ways) {
        Ok(found) => Outcome::Match(found),
        Err(reason) => Outcome::Refused(reason),
    }
}

/// The nearest feature map that all pieces are affine in, with coefficients that do not depend on
/// the position.
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
            // Moving on over transposes costs nothing and reaches the map as it was produced.
            let steps = path[..=distance].iter().filter(|v| !v.by_movement).count();
            let nearer =
                best.as_ref().is_none_or(|(s, d, _)| steps < *s || (steps == *s && distance > *d));
            if !nearer {
                continue;
            }
            match accept(scope, anchor, &visits) {
                Ok(found) => best = Some((steps, distance, found)),
                Err(why) => reason = why,
            }
        }
    }
    best.map(|(_, _, found)| found).ok_or(reason)
}

/// Whether two visits of one value see its axes in the same way.
fn same_axes(scope: &Scope, a: &Visit, b: &Visit) -> bool {
    let Some(ty) = scope.types.get(a.value) else { return false };
    let pairs = ty.dims.iter().zip(a.labels.iter().zip(&b.labels));
    a.labels.len() == b.labels.len() && { pairs }.all(|(d, (a, b))| is_one(d) || a == b)
}
