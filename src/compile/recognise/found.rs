//! An activation that was found, and its replacement in the graph.

use std::collections::HashMap;

use super::coefficients::{self, Axes, Piece};
use super::paths::{Coefficient, Visit};
use super::scope::Scope;
use super::{context, factor, hyperfunction};
use crate::error::Result;
use crate::graph::infer::may_equal;
use crate::graph::predicates::is_one;
use crate::graph::{Binary, Dim, MaxAffine, NodeId, Op, PoolKind, Rewriter, ValueId};
use crate::tensor::DType;

/// A part of a network that resembles a dynamic activation and was not recognised as one.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Unrecognised {
    /// The name of the node.
    pub name: String,
    /// Why the part is run by the general operators.
    pub reason: String,
}

/// An activation: the maximum over pieces of one feature map, or a single piece.
pub(super) struct Match {
    /// The node whose output is that of the activation.
    pub anchor: NodeId,
    /// The feature map.
    pub map: ValueId,
    /// Axis `i` of the anchor's output is axis `perm[i]` of the map.
    pub perm: Vec<usize>,
    pub axes: Axes,
    pub channels: usize,
    pub pieces: Vec<Piece>,
    /// The operator that computes the activation from the map and the coefficients of the pieces.
    pub op: Op,
    /// A factor for every position `[N,1,..]` that the result is multiplied by.
    pub factor: Option<ValueId>,
}

/// The pooled feature map of each context that is the mean of one.
pub(super) fn pooled_maps<'a>(
    scope: &Scope,
    hyperfunctions: impl Iterator<Item = &'a hyperfunction::Found>,
) -> HashMap<ValueId, ValueId> {
    let context =
        |h: &hyperfunction::Found| Some((h.context(), context::pooled_map(scope, h.context())?));
    hyperfunctions.filter_map(context).collect()
}

/// Checks that the pieces, each a sum of visits of one value, are an activation of that value.
pub(super) fn accept(
    scope: &Scope,
    anchor: NodeId,
    pieces: &[Vec<Visit>],
) -> Result<Match, &'static str> {
    let none = "its pieces are not affine in one feature map";
    let first = pieces.iter().flatten().next().ok_or(none)?;
    let map = scope.types.get(first.value).ok_or(none)?;
    let output = scope.types.get(scope.graph.node(anchor).output()).ok_or(none)?;
    if map.dtype != DType::F32 || map.dims.len() < 3 {
        return Err(none);
    }
    let channels = map.dims[1].as_size().ok_or("the number of channels is not known")?;
    if channels == 0 {
        return Err("it has no channels");
    }
    let axes = Axes { batch: first.labels[0], channel: first.labels[1] };
    for visit in pieces.iter().flatten() {
        let taken = |label| visit.selected.iter().any(|(l, _)| *l == label);
        if visit.labels.iter().flatten().any(|&label| taken(label)) {
            return Err("it takes single entries of the feature map");
        }
    }
    let mut pieces: Vec<Piece> = pieces.iter().map(|sum| sum_of(sum)).collect();
    let mut factor = None;
    if !pieces.iter().all(|piece| is_uniform(scope, &map.dims, axes, piece)) {
        let taken_out = factor::take_out(scope, first, &pieces);
        let taken_out = taken_out.filter(|(_, pieces)| {
            pieces.iter().all(|piece| is_uniform(scope, &map.dims, axes, piece))
        });
        let (pi, others) = taken_out.ok_or("its coefficients depend on the position")?;
        (factor, pieces) = (Some(pi), others);
    }
    let perm = permutation(scope, &output.dims, first).ok_or(none)?;
    let op = Op::MaxAffine(MaxAffine { k: pieces.len() });
    Ok(Match { anchor, map: first.value, perm, axes, channels, pieces, op, factor })
}

/// Returns the piece that a sum of visits of one map is.
fn sum_of(visits: &[Visit]) -> Piece {
    let zero = || Coefficient::Number(0.0);
    Piece {
        a: visits.iter().fold(zero(), |sum, visit| sum.add(visit.a.clone())),
        b: visits.iter().fold(zero(), |sum, visit| sum.add(visit.b.clone())),
        selected: visits.iter().flat_map(|visit| visit.selected.clone()).collect(),
    }
}

/// Whether the coefficients of a piece do not depend on the position.
fn is_uniform(scope: &Scope, map: &[Dim], axes: Axes, piece: &Piece) -> bool {
    // If a map of one image were repeated for the coefficients of several, the result would
    // have other sizes than the map.
    let like_map = |value, axis: usize, of_map: &Dim| {
        let ty = scope.types.get(value);
        ty.is_none_or(|ty| is_one(&ty.dims[axis]) || may_equal(&ty.dims[axis], of_map))
    };
    let own = |value, axis, label| {
        if Some(label) == axes.batch {
            return like_map(value, axis, &map[0]);
        }
        if Some(label) == axes.channel {
            // A free size may turn out to be 1.
            let ty = scope.types.get(value);
            return ty.is_some_and(|ty| ty.dims[axis] == map[1]);
        }
        piece.selected.iter().any(|(l, _)| *l == label)
    };
    piece.a.varies_only_along(&own) && piece.b.varies_only_along(&own)
}

/// Returns the axis of the visited map for each axis of the anchor's output.
fn permutation(scope: &Scope, output: &[Dim], visit: &Visit) -> Option<Vec<usize>> {
    let map = &scope.types.get(visit.value)?.dims;
    if output.len() != map.len() {
        return None;
    }
    // The axes of the output have the labels 1, 2 and so on.
    let first = 1;
    let mut perm: Vec<Option<usize>> = (0..output.len())
        .map(|i| visit.labels.iter().position(|&label| label == Some(first + i)))
        .collect();
    // Axes without a label have size one on both sides, so that their order does not matter.
    let mut free: Vec<usize> =
        (0..map.len()).filter(|axis| !perm.contains(&Some(*axis))).rev().collect();
    for (axis, from) in perm.iter_mut().enumerate() {
        if from.is_none() {
            let candidate = free.pop()?;
            if !is_one(&output[axis]) || !is_one(&map[candidate]) {
                return None;
            }
            *from = Some(candidate);
        }
    }
    let perm: Vec<usize> = perm.into_iter().collect::<Option<_>>()?;
    let fits = perm.iter().zip(output).all(|(&from, dim)| map[from] == *dim);
    fits.then_some(perm)
}

pub(super) fn rewrite(
    graph: &mut Rewriter,
    matches: Vec<(Match, Option<hyperfunction::Found>)>,
    pooled: &HashMap<ValueId, ValueId>,
) -> Result<()> {
    let mut contexts: HashMap<ValueId, ValueId> = HashMap::new();
    for (activation, hyper) in matches {
        let name = graph.node(activation.anchor).name.clone();
        let output = graph.node(activation.anchor).output();
        let coefficients = match hyper {
            Some(hyper) => {
                let context = match pooled.get(&hyper.context()) {
                    Some(&map) => *contexts.entry(map).or_insert_with(|| {
                        let name = format!("{name}.context");
                        graph.apply(name, Op::GlobalPool(PoolKind::Average), &[map])
                    }),
                    None => hyper.context(),
                };
                hyper.emit(graph, &name, context)
            }
            None => {
                let Match { axes, channels, pieces, op, .. } = &activation;
                let rows = match op {
                    Op::ChannelActivation(activation) => activation.rows(),
                    _ => 2 * pieces.len(),
                };
                coefficients::emit(graph, &name, *axes, *channels, pieces, rows)
            }
        };
        let inputs = [activation.map, coefficients];
        let mut value = graph.apply(name.clone(), activation.op, &inputs);
        if let Some(pi) = activation.factor {
            let product = Op::Binary(Binary::Mul);
            value = graph.apply(format!("{name}.product"), product, &[value, pi]);
        }
        if !activation.perm.is_sorted() {
            let op = Op::Transpose { perm: activation.perm };
            value = graph.apply(format!("{name}.transpose"), op, &[value]);
        }
        graph.take_over(output, value);
    }
    graph.commit().map(|_| ())
}
