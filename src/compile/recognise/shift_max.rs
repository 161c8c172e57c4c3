//! Recognises Dynamic Shift-Max: `max_k (a_k x + s_k u)`, where `u` has the channels of `x` in another
//! order (Li et al., *MicroNet*, ICCV 2021). With one piece there is no maximum.

use std::collections::HashSet;

use super::coefficients::{Piece, are_constant};
use super::found::{Match, accept, pooled_maps, rewrite};
use super::hyperfunction;
use super::paths::{self, Coefficient, Labels, Path, Visit};
use super::scope::Scope;
use crate::error::Result;
use crate::graph::predicates::axis_from_front;
use crate::graph::{Binary, NodeId, Op, Rewriter, ShiftMax, ValueId, Variadic};

/// Replaces such activations.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub(super) fn recognise(graph: &mut Rewriter) -> Result<()> {
    let scope = Scope::of(graph);
    let found: Vec<Match> = graph.node_ids().filter_map(|id| match_shift_max(&scope, id)).collect();
    // The sums in a maximum are pieces of it.
    let of_maxima = found.iter().map(|m| graph.node(m.anchor));
    let maxima = of_maxima.filter(|node| node.op == Op::Variadic(Variadic::Max));
    let inner: HashSet<ValueId> =
        maxima.flat_map(|node| node.inputs.iter().flatten().copied()).collect();
    let mut matches = Vec::new();
    for activation in found {
        if inner.contains(&graph.node(activation.anchor).output()) {
            continue;
        }
        let Match { axes, channels, pieces, .. } = &activation;
        let hyper = hyperfunction::find(&scope, *axes, *channels, pieces).ok();
        matches.push((activation, hyper));
    }
    let pooled = pooled_maps(&scope, matches.iter().filter_map(|(_, h)| h.as_ref()));
    rewrite(graph, matches, &pooled)
}

fn match_shift_max(scope: &Scope, id: NodeId) -> Option<Match> {
    let node = scope.graph.node(id);
    let sums: Vec<ValueId> = match node.op {
        Op::Variadic(Variadic::Max) => node.inputs.iter().flatten().copied().collect(),
        Op::Binary(Binary::Add) => vec![node.output()],
        _ => return None,
    };
    let dims = &scope.types.get(node.output())?.dims;
    if dims.len() != 4 || sums.len() > 8 {
        return None;
    }
    let mut labels = Labels::default();
    let own: Vec<_> = dims.iter().map(|_| Some(labels.fresh())).collect();
    let (mut of_map, mut of_other) = (Vec::new(), Vec::new());
    let mut read = None;
    for sum in sums {
        let add = scope.graph.node(scope.links.producer(sum)?);
        if add.op != Op::Binary(Binary::Add) {
            return None;
        }
        let mut ways = |value: ValueId| {
            let start = Visit {
                value,
                labels: own.clone(),
                a: Coefficient::Number(1.0),
                b: Coefficient::Number(0.0),
                selected: Vec::new(),
                by_movement: false,
            };
            let is_map = scope.types.get(value).is_some_and(|ty| ty.dims == *dims);
            is_map.then(|| paths::paths(scope, &mut labels, start))
        };
        let (left, right) = (ways(add.input(0)?)?, ways(add.input(1)?)?);
        let (visit, other, pair) =
            two_maps(scope, &left, &right).or_else(|| two_maps(scope, &right, &left))?;
        let is_linear = |visit: &Visit| matches!(visit.b, Coefficient::Number(0.0));
        let in_place = visit.labels == own && other.labels == own;
        if !in_place || !is_linear(&visit) || !is_linear(&other) {
            return None;
        }
        if *read.get_or_insert(pair) != pair {
            return None;
        }
        of_map.push(vec![visit]);
        of_other.push(vec![other]);
    }
    let (map, shifted) = read?;
    let source = source(scope, map, shifted)?;
    let mut found = accept(scope, id, &of_map).ok()?;
    let other = accept(scope, id, &of_other).ok()?;
    if found.factor.is_some() || other.factor.is_some() {
        return None;
    }
    let both = found.pieces.into_iter().zip(other.pieces);
    let joined =
        both.map(|(a, s)| Piece { a: a.a, b: s.a, selected: [a.selected, s.selected].concat() });
    found.pieces = joined.collect();
    found.op = Op::ShiftMax(ShiftMax { k: found.pieces.len(), source });
    (!are_constant(scope, &found.pieces)).then_some(found)
}

/// Returns visits of two maps, of which the second has the channels of the first in another order, and
/// the two maps.
fn two_maps(
    scope: &Scope,
    left: &[Path],
    right: &[Path],
) -> Option<(Visit, Visit, (ValueId, ValueId))> {
    right.iter().flatten().find_map(|other| {
        let gather = scope.graph.node(scope.links.producer(other.value)?);
        let Op::Gather { .. } = gather.op else { return None };
        let map = gather.input(0)?;
        source(scope, map, other.value)?;
        let visit = left.iter().flatten().find(|visit| visit.value == map)?;
        Some((visit.clone(), other.clone(), (map, other.value)))
    })
}

/// Returns for every channel of `shifted` the channel of `map` that it is.
fn source(scope: &Scope, map: ValueId, shifted: ValueId) -> Option<Vec<usize>> {
    let gather = scope.graph.node(scope.links.producer(shifted)?);
    let dims = &scope.types.get(map)?.dims;
    let Op::Gather { axis } = gather.op else { return None };
    let indices = scope.graph.constant(gather.input(1)?)?;
    let is_permuted = axis_from_front(axis, dims.len()) == Some(1)
        && indices.shape() == [dims[1].as_size()?]
        && gather.input(0) == Some(map);
    let channel = |&index: &i64| axis_from_front(index, indices.len());
    is_permuted.then(|| indices.to_i64s().ok()?.iter().map(channel).collect())?
}
