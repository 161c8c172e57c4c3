//! Follows one piece of a maximum back to the values that it is an affine function of.
//!
//! A piece of a dynamic ReLU is `a * x + b`, but exported graphs have transposes, new axes and slices
//! between `x` and the piece, and their arithmetic comes in any order. A *path* leads from the piece
//! toward the inputs of the network. For every value `w` on it, a *visit* states coefficients such
//! that `piece = a * w + b`, and for every axis of `w` the axis of the piece that it becomes, which is
//! called its *label*.

use std::rc::Rc;

use super::scope::Scope;
use crate::graph::predicates::{axis_from_front, is_one};
use crate::graph::{Binary, Dim, NodeId, Op, Unary, ValueId};

/// Identifies an axis of a piece.
pub(super) type Label = usize;

/// An expression of small tensors that is a coefficient of a piece.
#[derive(Clone, Debug)]
pub(super) enum Coefficient {
    Number(f64),
    /// A value of the graph with the labels of its axes. An axis along which the value is broadcast
    /// has none.
    Value(ValueId, Vec<Option<Label>>),
    Mul(Rc<Coefficient>, Rc<Coefficient>),
    Add(Rc<Coefficient>, Rc<Coefficient>),
    Recip(Rc<Coefficient>),
}

impl Coefficient {
    pub(super) fn mul(self, other: Coefficient) -> Coefficient {
        match (self, other) {
            (Coefficient::Number(1.0), c) | (c, Coefficient::Number(1.0)) => c,
            (a, b) => Coefficient::Mul(Rc::new(a), Rc::new(b)),
        }
    }

    pub(super) fn add(self, other: Coefficient) -> Coefficient {
        match (self, other) {
            (Coefficient::Number(0.0), c) | (c, Coefficient::Number(0.0)) => c,
            (a, b) => Coefficient::Add(Rc::new(a), Rc::new(b)),
        }
    }

    /// Whether `allowed` returns true for every axis along which the coefficient varies. Its arguments
    /// are a value, an axis of it, and the label of the axis.
    pub(super) fn varies_only_along(
        &self,
        allowed: &dyn Fn(ValueId, usize, Label) -> bool,
    ) -> bool {
        match self {
            Coefficient::Number(_) => true,
            Coefficient::Value(value, labels) => {
                let labelled = labels.iter().enumerate();
                labelled.filter_map(|(i, l)| Some((i, (*l)?))).all(|(i, l)| allowed(*value, i, l))
            }
            Coefficient::Mul(a, b) | Coefficient::Add(a, b) => {
                a.varies_only_along(allowed) && b.varies_only_along(allowed)
            }
            Coefficient::Recip(a) => a.varies_only_along(allowed),
        }
    }

    /// Whether `holds` returns true for every value in the expression.
    pub(super) fn all_values(&self, holds: &dyn Fn(ValueId) -> bool) -> bool {
        match self {
            Coefficient::Number(_) => true,
            Coefficient::Value(value, _) => holds(*value),
            Coefficient::Mul(a, b) | Coefficient::Add(a, b) => {
                a.all_values(holds) && b.all_values(holds)
            }
            Coefficient::Recip(a) => a.all_values(holds),
        }
    }
}

/// A value on a path, with `piece = a * value + b`.
#[derive(Clone, Debug)]
pub(super) struct Visit {
    pub value: ValueId,
    pub labels: Vec<Option<Label>>,
    pub a: Coefficient,
    pub b: Coefficient,
    /// The entries that the piece selects along axes of the value that the piece does not have.
    pub selected: Vec<(Label, usize)>,
    /// Whether the step from the visit before only moved elements.
    pub by_movement: bool,
}

/// The visits on one path from a piece toward the inputs. The piece itself comes first.
pub(super) type Path = Vec<Visit>;

/// A source of new labels.
#[derive(Default)]
pub(super) struct Labels(Label);

impl Labels {
    pub(super) fn fresh(&mut self) -> Label {
        self.0 += 1;
        self.0
    }
}

/// Maximum length of a path. The longest in published code, permutes included, has eleven steps.
const MAX_STEPS: usize = 24;
/// Maximum number of paths per piece. There are several because either operand of a product can be
/// the map.
const MAX_PATHS: usize = 32;

/// Returns all paths from `start`.
pub(super) fn paths(scope: &Scope, labels: &mut Labels, start: Visit) -> Vec<Path> {
    let mut finished = Vec::new();
    let mut open = vec![vec![start]];
    while let Some(path) = open.pop() {
        let last = &path[path.len() - 1];
        let next = if path.len() < MAX_STEPS { step(scope, labels, last) } else { Vec::new() };
        if next.is_empty() || finished.len() + open.len() >= MAX_PATHS {
            finished.push(path);
            continue;
        }
        open.extend(next.into_iter().map(|visit| {
            let mut longer = path.clone();
            longer.push(visit);
            longer
        }));
    }
    finished
}

/// Returns the visits that can follow `at`: the operands of its node, if the node moves elements or
/// computes an affine function.
fn step(scope: &Scope, labels: &mut Labels, at: &Visit) -> Vec<Visit> {
    let Some(id) = scope.links.producer(at.value) else { return Vec::new() };
    let node = scope.graph.node(id);
    match &node.op {
        Op::Binary(op @ (Binary::Add | Binary::Sub | Binary::Mul | Binary::Div)) => {
            let (Some(left), Some(right)) = (node.input(0), node.input(1)) else {
                return Vec::new();
            };
            let mut next = Vec::new();
            next.extend(arithmetic(scope, at, *op, left, right, false));
            next.extend(arithmetic(scope, at, *op, right, left, true));
            next
        }
        Op::Unary(Unary::Neg) => {
            let Some(input) = node.input(0) else { return Vec::new() };
            let minus = Coefficient::Number(-1.0).mul(at.a.clone());
            vec![Visit { value: input, a: minus, by_movement: false, ..at.clone() }]
        }
        _ => movement(scope, labels, at, id).into_iter().collect(),
    }
}

/// Returns the visit of operand `map` of an arithmetic node, whose operand `other` is a coefficient.
fn arithmetic(
    scope: &Scope,
    at: &Visit,
    op: Binary,
    map: ValueId,
    other: ValueId,
    swapped: bool,
) -> Option<Visit> {
    if scope.graph.constant(map).is_some() {
        return None;
    }
    let coefficient = match scope.number(other) {
        Some(number) => Coefficient::Number(number),
        None => {
            let value = scope.before_expansion(other);
            Coefficient::Value(value, broadcast_labels(scope, value, &at.labels)?)
        }
    };
    let (a, b) = (at.a.clone(), at.b.clone());
    let minus = Coefficient::Number(-1.0);
    let (a, b) = match (op, swapped) {
        (Binary::Mul, _) => (a.mul(coefficient), b),
        (Binary::Add, _) => (a.clone(), b.add(a.mul(coefficient))),
        (Binary::Sub, false) => (a.clone(), b.add(minus.mul(a.mul(coefficient)))),
        (Binary::Sub, true) => (minus.mul(a.clone()), b.add(a.mul(coefficient))),
        (Binary::Div, false) => (a.mul(Coefficient::Recip(Rc::new(coefficient))), b),
        _ => return None,
    };
    let labels = broadcast_labels(scope, map, &at.labels)?;
    Some(Visit { value: map, labels, a, b, selected: at.selected.clone(), by_movement: false })
}

/// Returns the labels of an operand that is broadcast to a result with `labels`.
pub(super) fn broadcast_labels(
    scope: &Scope,
    operand: ValueId,
    labels: &[Option<Label>],
) -> Option<Vec<Option<Label>>> {
    let dims = &scope.types.get(operand)?.dims;
    let offset = labels.len().checked_sub(dims.len())?;
    let label = |(i, dim): (usize, &Dim)| if is_one(dim) { None } else { labels[offset + i] };
    Some(dims.iter().enumerate().map(label).collect())
}

/// Returns the visit of the input of an operator that only moves elements.
pub(super) fn movement(
    scope: &Scope,
    labels: &mut Labels,
    at: &Visit,
    id: NodeId,
) -> Option<Visit> {
    let node = scope.graph.node(id);
    let input = node.input(0)?;
    let dims = &scope.types.get(input)?.dims;
    let mut selected = at.selected.clone();
    let mut select = |entry: usize| {
        let label = labels.fresh();
        selected.push((label, entry));
        Some(label)
    };
    let inner: Vec<Option<Label>> = match &node.op {
        Op::Identity | Op::Dropout => at.labels.clone(),
        Op::Cast { to } if *to == scope.types.get(input)?.dtype => at.labels.clone(),
        Op::Transpose { perm } => {
            let mut inner = vec![None; dims.len()];
            for (i, &label) in at.labels.iter().enumerate() {
                let from = if perm.is_empty() { dims.len() - 1 - i } else { perm[i] };
                inner[from] = label;
            }
            inner
        }
        Op::Unsqueeze | Op::Squeeze | Op::Reshape { .. } | Op::Flatten { .. } => {
            let outer = &scope.types.get(at.value)?.dims;
            reshaped_labels(outer, &at.labels, dims)?
        }
        Op::Expand => {
            let offset = at.labels.len().checked_sub(dims.len())?;
            let label = |(i, dim)| if is_one(dim) { None } else { at.labels[offset + i] };
            dims.iter().enumerate().map(label).collect()
        }
        Op::Gather { axis } => {
            let indices = scope.graph.constant(node.input(1)?)?;
            let &[index] = indices.to_i64s().ok()?.as_slice() else { return None };
            let axis = axis_from_front(*axis, dims.len())?;
            let mut inner = at.labels.clone();
            if indices.shape().is_empty() {
                inner.insert(axis, select(entry(index, &dims[axis])?));
            } else {
                inner[axis] = select(entry(index, &dims[axis])?);
            }
            inner
        }
        Op::Slice => {
            let (axis, start) = scope.single_slice(node, at.value)?;
            let mut inner = at.labels.clone();
            inner[axis] = select(start);
            inner
        }
        Op::Split { axis } => {
            let axis = axis_from_front(*axis, dims.len())?;
            let mut start = 0;
            for output in node.outputs.iter().flatten() {
                if *output == at.value {
                    break;
                }
                start += scope.types.get(*output)?.dims[axis].as_size()?;
            }
            let outer = &scope.types.get(at.value)?.dims;
            if !is_one(&outer[axis]) {
                return None;
            }
            let mut inner = at.labels.clone();
            inner[axis] = select(start);
            inner
        }
        _ => return None,
    };
    let (a, b) = (at.a.clone(), at.b.clone());
    Some(Visit { value: input, labels: inner, a, b, selected, by_movement: true })
}

/// Returns the labels of the input of a reshape that only adds and removes axes of size one; `None` for
/// any other reshape.
fn reshaped_labels(
    outer: &[Dim],
    labels: &[Option<Label>],
    inner: &[Dim],
) -> Option<Vec<Option<Label>>> {
    let mut remaining = outer.iter().zip(labels).filter(|(dim, _)| !is_one(dim));
    let mut inner_labels = Vec::with_capacity(inner.len());
    for dim in inner {
        if is_one(dim) {
            inner_labels.push(None);
        } else {
            let (same, label) = remaining.next()?;
            if same != dim {
                return None;
            }
            inner_labels.push(*label);
        }
    }
    remaining.next().is_none().then_some(inner_labels)
}

fn entry(index: i64, dim: &Dim) -> Option<usize> {
    axis_from_front(index, dim.as_size()?)
}
