//! Recognises `min(max(x, low), high)` with bounds that the network computes for every channel.

use super::coefficients::{Axes, Piece, are_constant, per_channel};
use super::found::{Match, pooled_maps, rewrite};
use super::hyperfunction;
use super::paths::Labels;
use super::scope::Scope;
use crate::error::Result;
use crate::graph::{ChannelActivation, Node, NodeId, Op, Rewriter, ValueId, Variadic};

/// Replaces clips of which at least one bound is not a constant.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub(super) fn recognise(graph: &mut Rewriter) -> Result<()> {
    let scope = Scope::of(graph);
    let mut matches = Vec::new();
    for activation in graph.node_ids().filter_map(|id| match_clip(&scope, id)) {
        let Match { axes, channels, pieces, .. } = &activation;
        let hyper = hyperfunction::find(&scope, *axes, *channels, pieces).ok();
        matches.push((activation, hyper));
    }
    let pooled = pooled_maps(&scope, matches.iter().filter_map(|(_, h)| h.as_ref()));
    rewrite(graph, matches, &pooled)
}

fn match_clip(scope: &Scope, id: NodeId) -> Option<Match> {
    let node = scope.graph.node(id);
    let dims = &scope.types.get(node.output())?.dims;
    let channels = dims.get(1)?.as_size().filter(|&channels| channels > 0 && dims.len() > 2)?;
    let is_map = |value| scope.types.get(value).is_some_and(|ty| ty.dims == *dims);
    let operands = |node: &Node, op: Variadic| -> Option<[ValueId; 2]> {
        match *node.inputs.as_slice() {
            [Some(a), Some(b)] if node.op == Op::Variadic(op) => match (is_map(a), is_map(b)) {
                (true, false) => Some([a, b]),
                (false, true) => Some([b, a]),
                _ => None,
            },
            _ => None,
        }
    };
    let [raised, high] = operands(node, Variadic::Min)?;
    let maximum = scope.graph.node(scope.links.producer(raised)?);
    let [map, low] = operands(maximum, Variadic::Max)?;
    let mut labels = Labels::default();
    let axes = Axes { batch: Some(labels.fresh()), channel: Some(labels.fresh()) };
    let bound = |value| per_channel(scope, axes, dims, value);
    let pieces = vec![Piece { a: bound(low)?, b: bound(high)?, selected: Vec::new() }];
    let (perm, factor) = ((0..dims.len()).collect(), None);
    let op = Op::ChannelActivation(ChannelActivation::Clip);
    let is_dynamic = !are_constant(scope, &pieces);
    is_dynamic.then_some(Match { anchor: id, map, perm, axes, channels, pieces, op, factor })
}
