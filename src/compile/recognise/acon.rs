//! Recognises ACON with a rate that the network computes: `scale x sigmoid(rate x) + slope x`.
//!
//! Meta-ACON (Ma et al., *Activate or Not*, CVPR 2021) is `d sigmoid(beta d) + p2 x` with `d = (p1 - p2) x`
//! and `beta` from a small network.

use super::coefficients::{Piece, are_constant};
use super::found::{Match, rewrite};
use super::maxima::common_map;
use super::paths::{self, Coefficient, Labels, Path, Visit};
use super::scope::Scope;
use crate::error::Result;
use crate::graph::{Binary, ChannelActivation, NodeId, Op, Rewriter, Unary, ValueId};
use std::collections::{HashMap, HashSet};

/// Replaces such activations.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub(super) fn recognise(graph: &mut Rewriter) -> Result<()> {
    let scope = Scope::of(graph);
    let mut inner = HashSet::new();
    let mut matches = Vec::new();
    // The sum comes after the product in it.
    let nodes: Vec<NodeId> = graph.node_ids().collect();
    for &id in nodes.iter().rev() {
        if !inner.contains(&id)
            && let Some((activation, product)) = match_acon(&scope, id)
        {
            inner.insert(product);
            matches.push((activation, None));
        }
    }
    matches.reverse();
    rewrite(graph, matches, &HashMap::new())
}

/// Returns the activation whose last node is `id`, and the node that multiplies by the sigmoid.
fn match_acon(scope: &Scope, id: NodeId) -> Option<(Match, NodeId)> {
    let node = scope.graph.node(id);
    let (product, other) = match node.op {
        Op::Binary(Binary::Mul) => (id, None),
        Op::Binary(Binary::Add) => {
            let (a, b) = (node.input(0)?, node.input(1)?);
            let gated = |value: ValueId| {
                let id = scope.links.producer(value)?;
                gated(scope, id).map(|_| id)
            };
            match (gated(a), gated(b)) {
                (Some(product), None) => (product, Some(b)),
                (None, Some(product)) => (product, Some(a)),
                _ => return None,
            }
        }
        _ => return None,
    };
    let [scaled, rated] = gated(scope, product)?;
    let dims = &scope.types.get(node.output())?.dims;
    let mut labels = Labels::default();
    let own: Vec<_> = dims.iter().map(|_| Some(labels.fresh())).collect();
    let mut ways = |value: ValueId| -> Option<Vec<Vec<Path>>> {
        let is_map = scope.types.get(value)?.dims == *dims && dims.len() > 2;
        let (a, b) = (Coefficient::Number(1.0), Coefficient::Number(0.0));
        let (labels_of_start, selected) = (own.clone(), Vec::new());
        let start = Visit { value, labels: labels_of_start, a, b, selected, by_movement: false };
        is_map.then(|| vec![paths::paths(scope, &mut labels, start)])
    };
    let mut all = vec![ways(scaled)?, ways(rated)?];
    if let Some(other) = other {
        all.push(ways(other)?);
    }
    let mut found = common_map(scope, id, &all).ok().filter(|found| found.factor.is_none())?;
    let linear = |piece: &Piece| matches!(piece.b, Coefficient::Number(0.0));
    let is_dynamic = !are_constant(scope, &found.pieces[1..2]);
    if !found.pieces.iter().all(linear) || !is_dynamic {
        return None;
    }
    let zero =
        || Piece { a: Coefficient::Number(0.0), b: Coefficient::Number(0.0), selected: vec![] };
    let slope = found.pieces.get(2).cloned().unwrap_or_else(zero);
    let [scale, rate] = [0, 1].map(|i| found.pieces[i].clone());
    // The rows are in the order of a_1, a_2, b_1.
    found.pieces = vec![
        Piece { b: rate.a, selected: [scale.selected, rate.selected].concat(), a: scale.a },
        slope,
    ];
    found.op = Op::ChannelActivation(ChannelActivation::Acon);
    Some((found, product))
}

/// Returns `u` and `v` if a node computes `u * sigmoid(v)`.
fn gated(scope: &Scope, id: NodeId) -> Option<[ValueId; 2]> {
    let node = scope.graph.node(id);
    if node.op != Op::Binary(Binary::Mul) {
        return None;
    }
    let argument = |value: ValueId| {
        let gate = scope.graph.node(scope.links.producer(value)?);
        gate.input(0).filter(|_| gate.op == Op::Unary(Unary::Sigmoid))
    };
    let (a, b) = (node.input(0)?, node.input(1)?);
    argument(b).map(|v| [a, v]).or_else(|| argument(a).map(|v| [b, v]))
}
