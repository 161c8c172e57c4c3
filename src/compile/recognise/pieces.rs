//! Splits a maximum into its pieces.

use super::paths::{Coefficient, Labels, Visit};
use super::scope::Scope;
use crate::graph::predicates::{axis_from_front, is_one};
use crate::graph::{NodeId, Op, Reduce, ReduceKind, ValueId, Variadic};

/// Maximum number of pieces; no known dynamic ReLU has as many.
const MAX_PIECES: usize = 64;

/// Whether an operator computes a maximum, of operands or along axes.
pub(super) fn is_maximum(op: &Op) -> bool {
    matches!(op, Op::Variadic(Variadic::Max) | Op::Reduce(Reduce { kind: ReduceKind::Max, .. }))
}

/// Returns the pieces of the maximum at `anchor`, those of nested maxima and those that are stacked
/// along an axis included; `None` if it cannot be split.
pub(super) fn pieces(scope: &Scope, labels: &mut Labels, anchor: NodeId) -> Option<Vec<Visit>> {
    let output = scope.graph.node(anchor).output();
    let rank = scope.types.get(output)?.dims.len();
    let start = Visit {
        value: output,
        labels: (0..rank).map(|_| Some(labels.fresh())).collect(),
        a: Coefficient::Number(1.0),
        b: Coefficient::Number(0.0),
        selected: Vec::new(),
        by_movement: false,
    };
    let mut leaves = Vec::new();
    let mut open = vec![start];
    while let Some(piece) = open.pop() {
        match expand(scope, labels, &piece, output) {
            Expansion::Pieces(inner) => open.extend(inner.into_iter().rev()),
            Expansion::Leaf => leaves.push(piece),
            Expansion::Unknown => return None,
        }
        if open.len() + leaves.len() > MAX_PIECES {
            return None;
        }
    }
    Some(leaves)
}

enum Expansion {
    Pieces(Vec<Visit>),
    Leaf,
    Unknown,
}

fn expand(scope: &Scope, labels: &mut Labels, piece: &Visit, anchor: ValueId) -> Expansion {
    let Some(id) = scope.links.producer(piece.value) else { return Expansion::Leaf };
    let node = scope.graph.node(id);
    if piece.value != anchor && scope.links.consumers(piece.value).len() != 1 {
        return Expansion::Leaf;
    }
    let pieces = match &node.op {
        Op::Variadic(Variadic::Max) => maximum(scope, piece, &node.inputs),
        Op::Reduce(Reduce { kind: ReduceKind::Max, keep_dims, .. }) => {
            stacked(scope, labels, piece, id, *keep_dims)
        }
        _ => return Expansion::Leaf,
    };
    match pieces {
        Some(pieces) => Expansion::Pieces(pieces),
        None if piece.value == anchor => Expansion::Unknown,
        None => Expansion::Leaf,
    }
}

fn maximum(scope: &Scope, piece: &Visit, inputs: &[Option<ValueId>]) -> Option<Vec<Visit>> {
    let operand = |input: &Option<ValueId>| {
        let value = (*input)?;
        let dims = &scope.types.get(value)?.dims;
        // The feature map has the rank of the result.
        (dims.len() == piece.labels.len()).then(|| Visit { value, ..piece.clone() })
    };
    inputs.iter().map(operand).collect()
}

/// Returns the pieces that are stacked along the only axis of a `ReduceMax`.
fn stacked(
    scope: &Scope,
    labels: &mut Labels,
    piece: &Visit,
    id: NodeId,
    keep_dims: bool,
) -> Option<Vec<Visit>> {
    let node = scope.graph.node(id);
    let input = node.input(0)?;
    let dims = &scope.types.get(input)?.dims;
    let axes = scope.integers(node.input(1)?)?;
    let &[axis] = axes.as_slice() else { return None };
    let axis = axis_from_front(axis, dims.len())?;
    let count = dims[axis].as_size()?;
    let label = labels.fresh();
    let mut inner = piece.labels.clone();
    if keep_dims {
        inner[axis] = Some(label);
    } else {
        inner.insert(axis, Some(label));
    }

    if let Some(concat) = scope.links.producer(input).map(|id| scope.graph.node(id))
        && let Op::Concat { axis: along } = concat.op
        && axis_from_front(along, dims.len()) == Some(axis)
    {
        inner[axis] = None;
        let part = |value: &Option<ValueId>| {
            let value = (*value)?;
            let is_one = is_one(&scope.types.get(value)?.dims[axis]);
            is_one.then(|| Visit { value, labels: inner.clone(), ..piece.clone() })
        };
        return concat.inputs.iter().map(part).collect();
    }

    let entry = |k| {
        let mut selected = piece.selected.clone();
        selected.push((label, k));
        Visit { value: input, labels: inner.clone(), selected, ..piece.clone() }
    };
    (count <= MAX_PIECES).then(|| (0..count).map(entry).collect())
}
