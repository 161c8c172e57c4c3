//! The coefficients of a recognised activation, as elements or as nodes of the graph.

use super::elements::{Element, Elements, Executor};
use super::paths::{Coefficient, Label};
use super::scope::Scope;
use crate::graph::predicates::is_one;
use crate::graph::{Binary, Dim, Op, Rewriter, ValueId};
use crate::tensor::Tensor;

/// Which labels are the batch and the channel of the feature map.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axes {
    pub batch: Option<Label>,
    pub channel: Option<Label>,
}

/// One piece, `a * x + b`, and the entries that it selects along axes other than those of the map.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub a: Coefficient,
    pub b: Coefficient,
    pub selected: Vec<(Label, usize)>,
}

impl Piece {
    fn entry(&self, label: Label) -> Option<usize> {
        self.selected.iter().find(|(l, _)| *l == label).map(|(_, entry)| *entry)
    }
}

/// The coefficients `a_1..a_K, b_1..b_K` of `pieces`, each with the piece that it belongs to.
pub(super) fn in_order(pieces: &[Piece]) -> impl Iterator<Item = (&Piece, &Coefficient)> {
    pieces.iter().map(|p| (p, &p.a)).chain(pieces.iter().map(|p| (p, &p.b)))
}

/// Returns `value` as a coefficient of a map of sizes `map`, if it is broadcast along all positions.
pub(super) fn per_channel(
    scope: &Scope,
    axes: Axes,
    map: &[Dim],
    value: ValueId,
) -> Option<Coefficient> {
    if let Some(number) = scope.number(value) {
        return Some(Coefficient::Number(number));
    }
    let value = scope.before_expansion(value);
    let dims = &scope.types.get(value)?.dims;
    let offset = map.len().checked_sub(dims.len())?;
    let label = |(i, dim): (usize, &Dim)| match offset + i {
        _ if is_one(dim) => Some(None),
        0 if *dim == map[0] => Some(axes.batch),
        1 if *dim == map[1] => Some(axes.channel),
        _ => None,
    };
    let labels = dims.iter().enumerate().map(label).collect::<Option<_>>()?;
    Some(Coefficient::Value(value, labels))
}

/// Whether the coefficients of all pieces are constants.
pub(super) fn are_constant(scope: &Scope, pieces: &[Piece]) -> bool {
    let is_constant = |value| scope.graph.constant(value).is_some();
    in_order(pieces).all(|(_, coefficient)| coefficient.all_values(&is_constant))
}

/// Returns a coefficient as elements `[batch or 1, channel or 1]`.
pub(super) fn as_elements(
    executor: &mut Executor,
    axes: Axes,
    piece: &Piece,
    coefficient: &Coefficient,
) -> Option<Elements> {
    match coefficient {
        Coefficient::Number(number) => Elements::scalar(*number).reshaped(vec![1, 1]),
        Coefficient::Value(value, labels) => {
            let mut elements = executor.evaluate(*value)?;
            for (axis, label) in labels.iter().enumerate() {
                if let Some(entry) = label.and_then(|l| piece.entry(l)) {
                    let index = Tensor::vector(vec![i64::try_from(entry).ok()?]);
                    let axis = i64::try_from(axis).ok()?;
                    elements = elements.moved(&Op::Gather { axis }, &[&index])?;
                }
            }
            let (perm, batch, channel) = to_batch_and_channel(axes, labels);
            let size = |axis: Option<usize>| axis.map_or(1, |i| elements.shape[i]);
            let shape = vec![size(batch), size(channel)];
            if !perm.is_sorted() {
                elements = elements.moved(&Op::Transpose { perm }, &[])?;
            }
            elements.reshaped(shape)
        }
        Coefficient::Mul(a, b) => {
            let a = as_elements(executor, axes, piece, a)?;
            a.zip(&as_elements(executor, axes, piece, b)?, Element::mul)
        }
        Coefficient::Add(a, b) => {
            let a = as_elements(executor, axes, piece, a)?;
            a.zip(&as_elements(executor, axes, piece, b)?, Element::add)
        }
        Coefficient::Recip(a) => {
            let a = as_elements(executor, axes, piece, a)?;
            a.zip(&Elements::scalar(1.0), |a, _| a.recip())
        }
    }
}

/// Returns the permutation that puts the batch first and the channel second, and the axes of the two.
fn to_batch_and_channel(
    axes: Axes,
    labels: &[Option<Label>],
) -> (Vec<usize>, Option<usize>, Option<usize>) {
    let find =
        |wanted: Option<Label>| labels.iter().position(|&label| label.is_some() && label == wanted);
    let (batch, channel) = (find(axes.batch), find(axes.channel));
    if batch.is_none() {
        // The axes other than the channel have size 1. The first one may be a batch of 1, and must
        // stay first for `free_batch` to recognise it.
        return ((0..labels.len()).collect(), batch, channel);
    }
    let first = batch.into_iter().chain(channel);
    let rest = (0..labels.len()).filter(|&i| Some(i) != batch && Some(i) != channel);
    (first.chain(rest).collect(), batch, channel)
}

/// Adds nodes that stack the first `rows` coefficients of `pieces` as `[N or 1, rows, C or 1]`. Returns
/// the result.
pub(super) fn emit(
    graph: &mut Rewriter,
    name: &str,
    axes: Axes,
    channels: usize,
    pieces: &[Piece],
    rows: usize,
) -> ValueId {
    let mut emitter = Emitter { graph, name, axes, channels, count: 0 };
    let coefficients = in_order(pieces).take(rows);
    let parts: Vec<ValueId> = coefficients
        .map(|(piece, c)| {
            let part = emitter.coefficient(piece, c);
            emitter.reshape(part, vec![0, 1, -1])
        })
        .collect();
    // Coefficients may or may not vary with the image and the channel. `Where` broadcasts them to
    // one size, which `Concat` would not.
    let mut stacked = parts[0];
    for (j, &part) in parts.iter().enumerate().skip(1) {
        let mask = Tensor::from_bools(&[1, parts.len(), 1], (0..parts.len()).map(|i| i == j));
        let mask = emitter.constant(mask);
        stacked = emitter.apply(Op::Where, &[mask, part, stacked]);
    }
    stacked
}

struct Emitter<'g, 'r> {
    graph: &'g mut Rewriter<'r>,
    name: &'g str,
    axes: Axes,
    channels: usize,
    count: usize,
}

impl Emitter<'_, '_> {
    fn apply(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        self.count += 1;
        let name = format!("{}.coefficients.{}", self.name, self.count);
        self.graph.apply(name, op, inputs)
    }

    fn constant(&mut self, tensor: crate::error::Result<Tensor>) -> ValueId {
        self.count += 1;
        let name = format!("{}.coefficients.{}", self.name, self.count);
        self.graph.add_constant(name, tensor.expect("the shape is that of the data"))
    }

    fn reshape(&mut self, value: ValueId, shape: Vec<i64>) -> ValueId {
        let shape = self.constant(Ok(Tensor::vector(shape)));
        self.apply(Op::Reshape { allow_zero: false }, &[value, shape])
    }

    /// Adds nodes that compute a coefficient as `[N or 1, C or 1, 1, 1]`, a map of one pixel, for which
    /// arithmetic has kernels. Returns the result.
    fn coefficient(&mut self, piece: &Piece, coefficient: &Coefficient) -> ValueId {
        match coefficient {
            Coefficient::Number(number) => {
                self.constant(Tensor::new(&[1, 1, 1, 1], vec![*number as f32]))
            }
            Coefficient::Value(value, labels) => self.value(piece, *value, labels),
            Coefficient::Mul(a, b) => {
                let (a, b) = (self.coefficient(piece, a), self.coefficient(piece, b));
                self.apply(Op::Binary(Binary::Mul), &[a, b])
            }
            Coefficient::Add(a, b) => {
                let (a, b) = (self.coefficient(piece, a), self.coefficient(piece, b));
                self.apply(Op::Binary(Binary::Add), &[a, b])
            }
            Coefficient::Recip(a) => {
                let a = self.coefficient(piece, a);
                let one = self.constant(Ok(Tensor::scalar(1f32)));
                self.apply(Op::Binary(Binary::Div), &[one, a])
            }
        }
    }

    fn value(&mut self, piece: &Piece, value: ValueId, labels: &[Option<Label>]) -> ValueId {
        let mut value = value;
        for (axis, label) in labels.iter().enumerate() {
            if let Some(entry) = label.and_then(|l| piece.entry(l)) {
                let index = self.constant(Ok(Tensor::vector(vec![entry as i64])));
                value = self.apply(Op::Gather { axis: axis as i64 }, &[value, index]);
            }
        }
        let (perm, batch, channel) = to_batch_and_channel(self.axes, labels);
        let width = if channel.is_some() { self.channels as i64 } else { 1 };
        let value = self.apply(Op::Transpose { perm }, &[value]);
        self.reshape(value, vec![if batch.is_some() { -1 } else { 1 }, width, 1, 1])
    }
}
