//! Splits a maximum or a minimum into its pieces.
//!
//! A maximum may be written without one: `p > q ? p : q` selects the larger of two values, `|q|` is
//! `max(q, -q)`, and `relu(q)` is `max(q, 0)`. A sum with a maximum in it is a maximum of sums, so that
//! `p + |q|` is `max(p + q, p - q)`. A piece is therefore a sum of values. For a minimum the same holds
//! with the sign reversed.

use super::paths::{self, Coefficient, Labels, Visit};
use super::scope::Scope;
use crate::graph::predicates::{axis_from_front, is_one};
use crate::graph::{Binary, Node, NodeId, Op, Reduce, ReduceKind, Unary, ValueId, Variadic};

/// Maximum number of pieces; no known dynamic ReLU has as many.
const MAX_PIECES: usize = 64;

/// The larger or the smaller of several values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extreme {
    Maximum,
    Minimum,
}

/// Which sums of a piece are taken apart. Both operands of a sum are as large as the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sums {
    /// Those of which an operand is an extreme itself, or cancels out with another one.
    Bent,
    /// All, as in `a x + b u`, where `u` is a function of `x` as well.
    All,
}

/// The most values that are added to give a piece.
const MAX_TERMS: usize = 8;

/// The visits whose values are added to give a piece. Each has the slope 1 or -1.
pub(super) type Sum = Vec<Visit>;

/// Returns what `node` computes, if it is a maximum or a minimum in any spelling.
pub(super) fn extreme(scope: &Scope, node: &Node) -> Option<Extreme> {
    if let Some((extreme, _)) = selection(scope, node) {
        return Some(extreme);
    }
    match node.op {
        Op::Variadic(Variadic::Max) | Op::Reduce(Reduce { kind: ReduceKind::Max, .. }) => {
            Some(Extreme::Maximum)
        }
        Op::Variadic(Variadic::Min) | Op::Reduce(Reduce { kind: ReduceKind::Min, .. }) => {
            Some(Extreme::Minimum)
        }
        Op::Binary(Binary::Add | Binary::Sub) => {
            let is_bent = |i: usize| {
                let value = node.input(i).filter(|&v| scope.links.only_reader(v).is_some());
                let of = value.and_then(|v| scope.links.producer(v)).map(|id| scope.graph.node(id));
                of.is_some_and(|n| matches!(n.op, Op::Unary(Unary::Abs | Unary::Relu)))
            };
            match (is_bent(0), is_bent(1)) {
                (false, true) if node.op == Op::Binary(Binary::Sub) => Some(Extreme::Minimum),
                (false, false) => None,
                _ => Some(Extreme::Maximum),
            }
        }
        _ => None,
    }
}

/// Returns the pieces of the maximum or minimum that `inner` computes, those of nested ones and those
/// that are stacked along an axis included; `None` if it cannot be split. Only movements of elements
/// lie between `inner` and `anchor`, whose axes are labelled first.
pub(super) fn pieces(
    scope: &Scope,
    labels: &mut Labels,
    anchor: NodeId,
    inner: NodeId,
    extreme: Extreme,
    sums: Sums,
) -> Option<Vec<Sum>> {
    let output = scope.graph.node(anchor).output();
    let rank = scope.types.get(output)?.dims.len();
    let mut start = Visit {
        value: output,
        labels: (0..rank).map(|_| Some(labels.fresh())).collect(),
        a: Coefficient::Number(1.0),
        b: Coefficient::Number(0.0),
        selected: Vec::new(),
        by_movement: false,
    };
    let innermost = scope.graph.node(inner).output();
    while start.value != innermost {
        let id = scope.links.producer(start.value)?;
        start = paths::movement(scope, labels, &start, id)?;
    }
    start.by_movement = false;
    let splitter = Splitter { scope, outer: innermost, extreme, sums };
    let mut leaves = Vec::new();
    let mut open = vec![vec![start]];
    while let Some(sum) = open.pop() {
        match splitter.split(labels, &sum) {
            Some(pieces) => open.extend(pieces.into_iter().rev()),
            None if matches!(sum.as_slice(), [visit] if visit.value == innermost) => return None,
            None => leaves.push(sum),
        }
        if open.len() + leaves.len() > MAX_PIECES {
            return None;
        }
    }
    Some(leaves)
}

struct Splitter<'s, 'g> {
    scope: &'s Scope<'g>,
    /// The output of the outermost maximum or minimum.
    outer: ValueId,
    extreme: Extreme,
    sums: Sums,
}

impl Splitter<'_, '_> {
    /// Returns the sums of which `sum` is the extreme; a single one where terms were added up or cancel
    /// out, `None` where nothing can be split.
    fn split(&self, labels: &mut Labels, sum: &Sum) -> Option<Vec<Sum>> {
        for (i, term) in sum.iter().enumerate() {
            let with = |parts: Sum| {
                let mut sum = sum.clone();
                sum.splice(i..=i, parts);
                sum
            };
            if let Some(pieces) = self.pieces_of(labels, term) {
                return Some(pieces.into_iter().map(with).collect());
            }
            if let Some(parts) = self.summands(term, sum) {
                return Some(vec![without_opposites(with(parts))]);
            }
        }
        None
    }

    /// Returns the node that computes a term, if nothing else reads its value.
    fn producer(&self, value: ValueId) -> Option<NodeId> {
        let id = self.scope.links.producer(value)?;
        (value == self.outer || self.scope.links.consumers(value).len() == 1).then_some(id)
    }

    /// Returns the pieces of a term that is an extreme itself.
    fn pieces_of(&self, labels: &mut Labels, term: &Visit) -> Option<Vec<Sum>> {
        let id = self.producer(term.value)?;
        let node = self.scope.graph.node(id);
        // What is subtracted from a minimum has to be a maximum.
        let wanted = match (self.extreme, is_negative(term)) {
            (Extreme::Maximum, false) | (Extreme::Minimum, true) => Extreme::Maximum,
            _ => Extreme::Minimum,
        };
        if let Some((extreme, pair)) = selection(self.scope, node) {
            let pieces = operands(self.scope, term, &pair.map(Some))?;
            return (extreme == wanted).then(|| alone(pieces));
        }
        match (&node.op, wanted) {
            (Op::Variadic(Variadic::Max), Extreme::Maximum)
            | (Op::Variadic(Variadic::Min), Extreme::Minimum) => {
                operands(self.scope, term, &node.inputs).map(alone)
            }
            (&Op::Reduce(Reduce { kind: ReduceKind::Max, keep_dims, .. }), Extreme::Maximum)
            | (&Op::Reduce(Reduce { kind: ReduceKind::Min, keep_dims, .. }), Extreme::Minimum) => {
                stacked(self.scope, labels, term, id, keep_dims).map(alone)
            }
            (Op::Unary(Unary::Abs), Extreme::Maximum) => {
                let x = Visit { value: node.input(0)?, ..term.clone() };
                Some(vec![vec![x.clone()], vec![negated(x)]])
            }
            (Op::Unary(Unary::Relu), Extreme::Maximum) => {
                let x = Visit { value: node.input(0)?, ..term.clone() };
                Some(vec![vec![x], Vec::new()])
            }
            _ => None,
        }
    }

    /// Returns the two terms that a term is the sum of, if it is one of the [`Sums`] that are taken apart.
    fn summands(&self, term: &Visit, sum: &Sum) -> Option<Sum> {
        let node = self.scope.graph.node(self.producer(term.value)?);
        let dims = |value| self.scope.types.get(value).map(|ty| &ty.dims);
        let (left, right) = (node.input(0)?, node.input(1)?);
        if dims(left) != dims(term.value) || dims(right) != dims(term.value) {
            return None;
        }
        let of = |value| Visit { value, ..term.clone() };
        let parts = match node.op {
            Op::Binary(Binary::Add) => vec![of(left), of(right)],
            Op::Binary(Binary::Sub) => vec![of(left), negated(of(right))],
            _ => return None,
        };
        let bends = |part: &Visit| {
            let node = self.producer(part.value).map(|id| self.scope.graph.node(id));
            node.is_some_and(|n| matches!(n.op, Op::Unary(Unary::Abs | Unary::Relu)))
        };
        let cancels = |part: &Visit| sum.iter().any(|other| are_opposite(part, other));
        if self.sums == Sums::All && sum.len() < MAX_TERMS {
            return Some(parts);
        }
        parts.iter().any(|part| bends(part) || cancels(part)).then_some(parts)
    }
}

fn alone(visits: Vec<Visit>) -> Vec<Sum> {
    visits.into_iter().map(|visit| vec![visit]).collect()
}

fn is_negative(term: &Visit) -> bool {
    matches!(term.a, Coefficient::Number(number) if number < 0.0)
}

fn negated(term: Visit) -> Visit {
    let a = Coefficient::Number(if is_negative(&term) { 1.0 } else { -1.0 });
    Visit { a, ..term }
}

fn are_opposite(a: &Visit, b: &Visit) -> bool {
    a.value == b.value && a.labels == b.labels && is_negative(a) != is_negative(b)
}

fn without_opposites(mut sum: Sum) -> Sum {
    let pair = |sum: &Sum| {
        let pairs = (0..sum.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
        pairs.into_iter().find(|&(i, j)| are_opposite(&sum[i], &sum[j]))
    };
    while let Some((later, earlier)) = pair(&sum) {
        sum.remove(later);
        sum.remove(earlier);
    }
    sum
}

/// Returns the two values of which `node` selects the larger or the smaller one, element by element.
fn selection(scope: &Scope, node: &Node) -> Option<(Extreme, [ValueId; 2])> {
    let produced = |value| Some(scope.graph.node(scope.links.producer(value)?));
    match node.op {
        // p > q ? p : q
        Op::Where => {
            let pair = [node.input(1)?, node.input(2)?];
            Some((comparison(produced(node.input(0)?)?, pair)?, pair))
        }
        // p * mask + q * (1 - mask)
        Op::Binary(Binary::Add) => {
            let factors = |i: usize| {
                let product = produced(node.input(i)?)?;
                let is_product = product.op == Op::Binary(Binary::Mul);
                is_product.then_some([product.input(0)?, product.input(1)?])
            };
            let (left, right) = (factors(0)?, factors(1)?);
            let mask = |value: ValueId, pair| match &produced(value)?.op {
                Op::Cast { .. } => comparison(produced(produced(value)?.input(0)?)?, pair),
                Op::Binary(Binary::Sub) if scope.uniform(produced(value)?.input(0)?)? == 1.0 => {
                    let cast = produced(produced(value)?.input(1)?)?;
                    let is_cast = matches!(cast.op, Op::Cast { .. });
                    let compared = produced(cast.input(0)?).filter(|_| is_cast)?;
                    comparison(compared, pair).map(opposite)
                }
                _ => None,
            };
            let ways = [0, 1].into_iter().flat_map(|i| [0, 1].map(|j| (i, j)));
            ways.into_iter().find_map(|(i, j)| {
                let pair = [left[i], right[j]];
                let first = mask(left[1 - i], pair)?;
                let second = mask(right[1 - j], pair)?;
                (opposite(first) == second).then_some((first, pair))
            })
        }
        _ => None,
    }
}

fn opposite(extreme: Extreme) -> Extreme {
    match extreme {
        Extreme::Maximum => Extreme::Minimum,
        Extreme::Minimum => Extreme::Maximum,
    }
}

/// Returns the extreme that the first of `pair` is where `node`, a comparison of the two, holds.
fn comparison(node: &Node, pair: [ValueId; 2]) -> Option<Extreme> {
    let greater = match node.op {
        Op::Binary(Binary::Greater | Binary::GreaterOrEqual) => Extreme::Maximum,
        Op::Binary(Binary::Less | Binary::LessOrEqual) => Extreme::Minimum,
        _ => return None,
    };
    let compared = [node.input(0)?, node.input(1)?];
    if compared == pair {
        return Some(greater);
    }
    (compared == [pair[1], pair[0]]).then_some(opposite(greater))
}

fn operands(scope: &Scope, piece: &Visit, inputs: &[Option<ValueId>]) -> Option<Vec<Visit>> {
    let operand = |input: &Option<ValueId>| {
        let value = (*input)?;
        let dims = &scope.types.get(value)?.dims;
        // The feature map has the rank of the result.
        (dims.len() == piece.labels.len()).then(|| Visit { value, ..piece.clone() })
    };
    inputs.iter().map(operand).collect()
}

/// Returns the pieces that are stacked along the only axis of a reduction.
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
