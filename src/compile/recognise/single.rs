//! Recognises `a * x + b` and `a * x` with coefficients from a hyperfunction: activations of one piece
//! and squeeze-and-excite.

use std::collections::HashSet;

use super::found::{Match, accept, pooled_maps, rewrite};
use super::hyperfunction;
use super::paths::{self, Coefficient, Labels, Visit};
use super::scope::Scope;
use crate::error::Result;
use crate::graph::predicates::is_one;
use crate::graph::{Binary, NodeId, Op, Rewriter, ValueId};

/// Replaces activations of one piece.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub(super) fn recognise(graph: &mut Rewriter) -> Result<()> {
    let scope = Scope::of(graph);
    let mut matches = Vec::new();
    for id in graph.node_ids() {
        let Some(activation) = match_single(&scope, id) else { continue };
        let Match { axes, channels, pieces, .. } = &activation;
        match hyperfunction::find(&scope, *axes, *channels, pieces) {
            Ok(hyper) => matches.push((activation, Some(hyper))),
            Err(_) if is_gate(&scope, &activation) => matches.push((activation, None)),
            Err(_) => {}
        }
    }
    // If both a sum and the product that it reads match, the sum is the activation.
    let inner: HashSet<ValueId> = matches
        .iter()
        .filter(|(m, _)| graph.node(m.anchor).op != Op::Binary(Binary::Mul))
        .flat_map(|(m, _)| graph.node(m.anchor).inputs.iter().flatten().copied())
        .collect();
    matches.retain(|(m, _)| !inner.contains(&graph.node(m.anchor).output()));
    let pooled = pooled_maps(&scope, matches.iter().filter_map(|(_, h)| h.as_ref()));
    rewrite(graph, matches, &pooled)
}

fn match_single(scope: &Scope, id: NodeId) -> Option<Match> {
    let node = scope.graph.node(id);
    let depth = match node.op {
        Op::Binary(Binary::Add | Binary::Sub) => 2,
        Op::Binary(Binary::Mul) => 1,
        _ => return None,
    };
    let output = node.output();
    let dims = &scope.types.get(output)?.dims;
    if dims.len() < 3 || dims[2..].iter().all(is_one) {
        return None;
    }
    let mut labels = Labels::default();
    let start = Visit {
        value: output,
        labels: dims.iter().map(|_| Some(labels.fresh())).collect(),
        a: paths::Coefficient::Number(1.0),
        b: paths::Coefficient::Number(0.0),
        selected: Vec::new(),
        by_movement: false,
    };
    let ways = paths::paths(scope, &mut labels, start);
    ways.iter().find_map(|path| {
        let visit = path.get(depth)?;
        let is_map = scope.types.get(visit.value)?.dims == *dims && !visit.by_movement;
        let read_once = path[1..depth].iter().all(|v| scope.links.consumers(v.value).len() == 1);
        (is_map && read_once).then(|| accept(scope, id, &[vec![visit.clone()]]).ok())?
    })
}

/// Maximum number of nodes between a map and the factor of its channels.
const MAX_NODES: usize = 64;

/// Whether an activation is the product of the map and a factor for every channel that is computed from
/// the map in any way, such as from the norms of the channels.
fn is_gate(scope: &Scope, activation: &Match) -> bool {
    let [piece] = activation.pieces.as_slice() else { return false };
    let (Coefficient::Value(factor, labels), Coefficient::Number(0.0)) = (&piece.a, &piece.b)
    else {
        return false;
    };
    if !labels.contains(&activation.axes.channel) || activation.factor.is_some() {
        return false;
    }
    let mut open = vec![*factor];
    let mut seen = HashSet::new();
    while let Some(value) = open.pop() {
        if value == activation.map {
            return true;
        }
        let Some(id) = scope.links.producer(value) else { continue };
        if seen.insert(id) && seen.len() <= MAX_NODES {
            open.extend(scope.graph.node(id).inputs.iter().flatten());
        }
    }
    false
}
