//! Takes a factor for every position out of the coefficients of an activation.
//!
//! The attention of DY-ReLU-C may stand inside the maximum: at every piece, at the coefficients, or at
//! the map and the intercepts. As it is not negative, `max(pi p, pi q) = pi max(p, q)`.

use super::attention;
use super::coefficients::Piece;
use super::paths::{Coefficient, Label, Visit, broadcast_labels};
use super::scope::Scope;
use crate::graph::predicates::is_one;
use crate::graph::{Binary, Op, Unary, ValueId};

/// Maximum number of products between a coefficient and its factor.
const MAX_DEPTH: usize = 8;

/// Returns the factor `[N,1,..]` of all pieces of a map, and the pieces without it. `visit` is one of the
/// map.
pub(super) fn take_out(
    scope: &Scope,
    visit: &Visit,
    pieces: &[Piece],
) -> Option<(ValueId, Vec<Piece>)> {
    let in_order = visit.labels.iter().flatten().is_sorted();
    let unfolded = |piece: &Piece| Piece {
        a: unfold(scope, &piece.a),
        b: unfold(scope, &piece.b),
        selected: piece.selected.clone(),
    };
    let pieces: Vec<Piece> = pieces.iter().map(unfolded).collect();
    let (pi, labels) = pieces.iter().find_map(|piece| positional(scope, visit, &piece.a))?;
    let is_aligned = in_order && labels.len() == visit.labels.len();
    if !is_aligned || !is_never_negative(scope, pi) {
        return None;
    }
    let without = |piece: &Piece| {
        Some(Piece {
            a: divided(&piece.a, pi)?,
            b: divided(&piece.b, pi)?,
            selected: piece.selected.clone(),
        })
    };
    Some((pi, pieces.iter().map(without).collect::<Option<_>>()?))
}

/// Writes values that are products as the products that they are.
fn unfold(scope: &Scope, coefficient: &Coefficient) -> Coefficient {
    match coefficient {
        Coefficient::Value(value, labels) => {
            let unfolded = unfold_value(scope, *value, labels, MAX_DEPTH);
            unfolded.unwrap_or_else(|| coefficient.clone())
        }
        Coefficient::Mul(a, b) => unfold(scope, a).mul(unfold(scope, b)),
        Coefficient::Add(a, b) => unfold(scope, a).add(unfold(scope, b)),
        Coefficient::Number(_) | Coefficient::Recip(_) => coefficient.clone(),
    }
}

fn unfold_value(
    scope: &Scope,
    value: ValueId,
    labels: &[Option<Label>],
    depth: usize,
) -> Option<Coefficient> {
    let node = scope.graph.node(scope.links.producer(value)?);
    if node.op != Op::Binary(Binary::Mul) || depth == 0 {
        return None;
    }
    let operand = |i: usize| {
        let value = scope.before_expansion(node.input(i)?);
        let labels = broadcast_labels(scope, value, labels)?;
        let whole = || Coefficient::Value(value, labels.clone());
        Some(unfold_value(scope, value, &labels, depth - 1).unwrap_or_else(whole))
    };
    Some(operand(0)?.mul(operand(1)?))
}

/// Returns a value in the expression that has the positions of the map and one channel.
fn positional(
    scope: &Scope,
    visit: &Visit,
    coefficient: &Coefficient,
) -> Option<(ValueId, Vec<Option<Label>>)> {
    match coefficient {
        Coefficient::Value(value, labels) => {
            let (pi, map) = (scope.types.get(*value)?, scope.types.get(visit.value)?);
            let fits = labels.len() == visit.labels.len()
                && is_one(&pi.dims[1])
                && pi.dims[0] == map.dims[0]
                && pi.dims[2..] == map.dims[2..]
                && labels.iter().zip(&visit.labels).all(|(l, of_map)| l.is_none() || l == of_map);
            fits.then(|| (*value, labels.clone()))
        }
        Coefficient::Mul(a, b) | Coefficient::Add(a, b) => {
            positional(scope, visit, a).or_else(|| positional(scope, visit, b))
        }
        Coefficient::Number(_) | Coefficient::Recip(_) => None,
    }
}

/// Returns the expression without its factor `pi`; `None` where it does not have it.
fn divided(coefficient: &Coefficient, pi: ValueId) -> Option<Coefficient> {
    match coefficient {
        Coefficient::Number(0.0) => Some(Coefficient::Number(0.0)),
        Coefficient::Value(value, _) => (*value == pi).then_some(Coefficient::Number(1.0)),
        Coefficient::Mul(a, b) => match divided(a, pi) {
            Some(a) => Some(a.mul((**b).clone())),
            None => Some((**a).clone().mul(divided(b, pi)?)),
        },
        Coefficient::Add(a, b) => Some(divided(a, pi)?.add(divided(b, pi)?)),
        Coefficient::Number(_) | Coefficient::Recip(_) => None,
    }
}

/// Whether no element of a value can be negative.
fn is_never_negative(scope: &Scope, value: ValueId) -> bool {
    if attention::find(scope, value).is_some() {
        return true;
    }
    let Some(id) = scope.links.producer(value) else { return false };
    let node = scope.graph.node(id);
    match &node.op {
        Op::Unary(Unary::Sigmoid | Unary::Relu | Unary::HardSigmoid { .. } | Unary::Abs) => true,
        Op::Softmax(_) => true,
        Op::Clip => node.input(1).and_then(|low| scope.uniform(low)).is_some_and(|low| low >= 0.0),
        Op::Reshape { .. } | Op::Unsqueeze | Op::Squeeze | Op::Identity => {
            node.input(0).is_some_and(|input| is_never_negative(scope, input))
        }
        _ => false,
    }
}
