//! Small tensors whose elements are functions of the outputs of a fully connected layer.
//!
//! Between the second fully connected layer and the coefficients, published code slices, interleaves,
//! permutes, scales, squashes and shifts in any order. This module executes that part of the graph
//! symbolically. Each element is a number or `shift + scale * squash(inner_scale * z[i] +
//! inner_shift)`, which states the output `z[i]` of the layer that the coefficient is computed from.
//!
//! Operators that only move elements are not implemented here. The reference executor runs them on
//! tensors of element numbers, and the results tell where each element goes.

use std::collections::HashMap;
use std::rc::Rc;

use super::scope::{Scope, as_written};
use crate::graph::predicates::axis_from_front;
use crate::graph::{Binary, Op, ScatterReduction, Squash, Unary, ValueId, Variadic};
use crate::reference;
use crate::tensor::{DType, Tensor, num_elements};

/// The function `shift + scale * squash(inner_scale * source[index] + inner_shift)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Term {
    pub source: ValueId,
    pub index: usize,
    pub inner_scale: f64,
    pub inner_shift: f64,
    pub squash: Squash,
    pub scale: f64,
    pub shift: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Element {
    Number(f64),
    Term(Term),
}

impl Element {
    /// Returns `scale * self + shift`.
    fn affine(self, scale: f64, shift: f64) -> Element {
        match self {
            Element::Number(x) => Element::Number(scale * x + shift),
            Element::Term(t) if t.squash == Squash::None => Element::Term(Term {
                inner_scale: scale * t.inner_scale,
                inner_shift: scale * t.inner_shift + shift,
                ..t
            }),
            Element::Term(t) => {
                Element::Term(Term { scale: scale * t.scale, shift: scale * t.shift + shift, ..t })
            }
        }
    }

    fn sigmoid(self) -> Option<Element> {
        match self {
            Element::Number(x) => Some(Element::Number(1.0 / (1.0 + (-x).exp()))),
            Element::Term(t) if t.squash == Squash::None => {
                let squash = Squash::Sigmoid;
                Some(Element::Term(Term { squash, scale: 0.5, shift: 0.5, ..t }))
            }
            Element::Term(_) => None,
        }
    }

    fn tanh(self) -> Option<Element> {
        Some(self.affine(2.0, 0.0).sigmoid()?.affine(2.0, -1.0))
    }

    /// Returns `min(max(self, low), high)`, which is a hard sigmoid of another scale.
    fn clip(self, low: f64, high: f64) -> Option<Element> {
        let (middle, half) = ((low + high) / 2.0, (high - low) / 2.0);
        match self {
            Element::Number(x) => Some(Element::Number(x.max(low).min(high))),
            Element::Term(t) if t.squash == Squash::None && half > 0.0 && half.is_finite() => {
                Some(Element::Term(Term {
                    inner_scale: t.inner_scale * 3.0 / half,
                    inner_shift: (t.inner_shift - middle) * 3.0 / half,
                    squash: Squash::HardSigmoid,
                    scale: half,
                    shift: middle,
                    ..t
                }))
            }
            Element::Term(_) => None,
        }
    }

    pub(super) fn add(self, other: Element) -> Option<Element> {
        match (self, other) {
            (Element::Number(x), e) | (e, Element::Number(x)) => Some(e.affine(1.0, x)),
            _ => None,
        }
    }

    pub(super) fn mul(self, other: Element) -> Option<Element> {
        match (self, other) {
            // A squashed number is finite.
            (Element::Number(0.0), Element::Term(t)) | (Element::Term(t), Element::Number(0.0))
                if t.squash != Squash::None =>
            {
                Some(Element::Number(0.0))
            }
            (Element::Number(x), e) | (e, Element::Number(x)) => Some(e.affine(x, 0.0)),
            _ => None,
        }
    }

    pub(super) fn recip(self) -> Option<Element> {
        match self {
            Element::Number(x) => Some(Element::Number(1.0 / x)),
            Element::Term(_) => None,
        }
    }
}

/// A small tensor of elements. Cloning and reshaping share the elements.
#[derive(Clone, Debug)]
pub(super) struct Elements {
    pub shape: Vec<usize>,
    pub elements: Rc<Vec<Element>>,
}

impl Elements {
    pub(super) fn scalar(number: f64) -> Self {
        Elements { shape: Vec::new(), elements: Rc::new(vec![Element::Number(number)]) }
    }

    fn try_map(&self, f: impl Fn(Element) -> Option<Element>) -> Option<Self> {
        let elements = known(self.elements.iter().map(|&e| f(e)))?;
        Some(Elements { shape: self.shape.clone(), elements })
    }

    /// Broadcasts both tensors and combines them element by element. Returns `None` if the shapes do
    /// not fit or if `f` does for any pair.
    pub(super) fn zip(
        &self,
        other: &Elements,
        f: impl Fn(Element, Element) -> Option<Element>,
    ) -> Option<Self> {
        let (a, b) = (&self.elements, &other.elements);
        // Nearly always one operand need only be repeated.
        if other.repeats_in(&self.shape) {
            let elements = known((0..a.len()).map(|i| f(a[i], b[i % b.len()])))?;
            return Some(Elements { shape: self.shape.clone(), elements });
        }
        if self.repeats_in(&other.shape) {
            let elements = known((0..b.len()).map(|i| f(a[i % a.len()], b[i])))?;
            return Some(Elements { shape: other.shape.clone(), elements });
        }
        let a = self.broadcast(&other.shape)?;
        let b = other.broadcast(&a.shape)?;
        let pairs = a.elements.iter().zip(b.elements.iter());
        let elements = known(pairs.map(|(&a, &b)| f(a, b)))?;
        Some(Elements { shape: a.shape, elements })
    }

    /// Whether broadcasting to `shape` repeats the elements in their order.
    fn repeats_in(&self, shape: &[usize]) -> bool {
        let leading_ones = self.shape.iter().take_while(|&&size| size == 1).count();
        self.shape.len() <= shape.len() && shape.ends_with(&self.shape[leading_ones..])
    }

    fn broadcast(&self, shape: &[usize]) -> Option<Self> {
        let shape: Vec<i64> =
            shape.iter().map(|&d| i64::try_from(d).ok()).collect::<Option<_>>()?;
        self.moved(&Op::Expand, &[&Tensor::vector(shape)])
    }

    /// Returns the result of an operator that only moves elements.
    pub(super) fn moved(&self, op: &Op, rest: &[&Tensor]) -> Option<Self> {
        let mut inputs = vec![self.numbers(0)?];
        inputs.extend(rest.iter().map(|&t| t.clone()));
        let inputs: Vec<Option<&Tensor>> = inputs.iter().map(Some).collect();
        let moved = reference::evaluate(op, &inputs, 1).ok()?;
        let moved = moved.first()?;
        match op {
            Op::Reshape { .. } | Op::Flatten { .. } | Op::Squeeze | Op::Unsqueeze => {
                self.clone().reshaped(moved.shape().to_vec())
            }
            _ => gather(&self.elements, moved),
        }
    }

    /// Returns the same elements in another shape; `None` if it has another number of elements.
    pub(super) fn reshaped(self, shape: Vec<usize>) -> Option<Self> {
        let fits = num_elements(&shape) == Some(self.elements.len());
        fits.then_some(Elements { shape, ..self })
    }

    /// Returns a tensor of this shape with the integers from `first` on.
    fn numbers(&self, first: usize) -> Option<Tensor> {
        let first = i64::try_from(first).ok()?;
        let count = i64::try_from(self.elements.len()).ok()?;
        Tensor::new(&self.shape, (first..first.checked_add(count)?).collect::<Vec<i64>>()).ok()
    }
}

fn gather(from: &[Element], numbers: &Tensor) -> Option<Elements> {
    let numbers_flat = numbers.as_slice::<i64>().ok()?;
    let pick = |&i: &i64| from.get(usize::try_from(i).ok()?).copied();
    let elements = known(numbers_flat.iter().map(pick))?;
    Some(Elements { shape: numbers.shape().to_vec(), elements })
}

/// Collects elements if all are known. Unlike `collect` into an `Option`, allocates once.
fn known(elements: impl ExactSizeIterator<Item = Option<Element>>) -> Option<Rc<Vec<Element>>> {
    let mut known = Vec::with_capacity(elements.len());
    for element in elements {
        known.push(element?);
    }
    Some(Rc::new(known))
}

/// Maximum number of elements of a tensor; coefficients of known networks have far fewer.
const MAX_ELEMENTS: usize = 1 << 18;
/// Maximum number of nodes between a fully connected layer and the coefficients.
const MAX_DEPTH: usize = 64;

/// Executes parts of a graph symbolically, with free sizes set to small numbers.
pub(super) struct Executor<'s, 'g> {
    scope: &'s Scope<'g>,
    done: HashMap<ValueId, Option<Elements>>,
}

impl<'s, 'g> Executor<'s, 'g> {
    pub(super) fn new(scope: &'s Scope<'g>) -> Self {
        Executor { scope, done: HashMap::new() }
    }

    /// Returns the elements of `value`; `None` if its size is not known or too large.
    pub(super) fn evaluate(&mut self, value: ValueId) -> Option<Elements> {
        self.evaluate_within(value, MAX_DEPTH)
    }

    fn evaluate_within(&mut self, value: ValueId, depth: usize) -> Option<Elements> {
        if let Some(done) = self.done.get(&value) {
            return done.clone();
        }
        let derived = if depth == 0 { None } else { self.derive(value, depth - 1) };
        let elements = derived.or_else(|| self.source(value));
        self.done.insert(value, elements.clone());
        elements
    }

    /// Returns the elements of a value whose operator is not executed: each is its own source.
    fn source(&self, value: ValueId) -> Option<Elements> {
        let ty = self.scope.types.get(value)?;
        let shape = self.scope.probe_shape(value)?;
        let count = num_elements(&shape).filter(|&n| n <= MAX_ELEMENTS)?;
        let term = |index| {
            Element::Term(Term {
                source: value,
                index,
                inner_scale: 1.0,
                inner_shift: 0.0,
                squash: Squash::None,
                scale: 1.0,
                shift: 0.0,
            })
        };
        (ty.dtype == DType::F32)
            .then(|| Elements { shape, elements: Rc::new((0..count).map(term).collect()) })
    }

    /// Returns the elements of a constant, or of a value whose operator can be executed.
    fn derive(&mut self, value: ValueId, depth: usize) -> Option<Elements> {
        let scope = self.scope;
        if let Some(constant) = scope.graph.constant(value) {
            if constant.len() > MAX_ELEMENTS {
                return None;
            }
            if let Some(number) = scope.number(value) {
                return Elements::scalar(number).reshaped(constant.shape().to_vec());
            }
            let numbers = constant.cast(DType::F64).ok()?;
            let numbers = numbers.as_slice::<f64>().ok()?;
            let elements = known(numbers.iter().map(|&x| Some(Element::Number(x))))?;
            return Some(Elements { shape: constant.shape().to_vec(), elements });
        }
        let node = scope.graph.node(scope.links.producer(value)?);
        let mut input = |i: usize| self.evaluate_within(node.input(i)?, depth);
        match &node.op {
            Op::Identity | Op::Dropout | Op::Cast { to: DType::F32 } => input(0),
            Op::Unary(Unary::Neg) => input(0)?.try_map(|e| Some(e.affine(-1.0, 0.0))),
            Op::Unary(Unary::Sigmoid) => input(0)?.try_map(Element::sigmoid),
            Op::Unary(Unary::Tanh) => input(0)?.try_map(Element::tanh),
            Op::Unary(Unary::HardSigmoid { alpha, beta }) => {
                let (alpha, beta) = (as_written(*alpha), as_written(*beta));
                input(0)?.try_map(|e| e.affine(alpha, beta).clip(0.0, 1.0))
            }
            Op::Clip => {
                let low = scope.number(node.input(1)?)?;
                let high = scope.number(node.input(2)?)?;
                input(0)?.try_map(|e| e.clip(low, high))
            }
            Op::Binary(Binary::Add) => input(0)?.zip(&input(1)?, Element::add),
            Op::Variadic(Variadic::Sum) if node.inputs.len() == 2 => {
                input(0)?.zip(&input(1)?, Element::add)
            }
            Op::Binary(Binary::Sub) => input(0)?.zip(&input(1)?, |a, b| a.add(b.affine(-1.0, 0.0))),
            Op::Binary(Binary::Mul) => input(0)?.zip(&input(1)?, Element::mul),
            Op::Binary(Binary::Div) => input(0)?.zip(&input(1)?, |a, b| a.mul(b.recip()?)),
            Op::BatchNormalization { epsilon } => {
                let x = input(0)?;
                let [scale, bias, mean, variance] = [1, 2, 3, 4].map(&mut input);
                let (scale, bias, mean, variance) = (scale?, bias?, mean?, variance?);
                batch_norm(&x, &scale, &bias, &mean, &variance, f64::from(*epsilon))
            }
            Op::Concat { .. } => {
                let parts: Vec<_> = (0..node.inputs.len()).map(input).collect::<Option<_>>()?;
                concat(&node.op, &parts)
            }
            // An assignment to a part, as in `theta[:, 0] += 1`.
            Op::ScatterNd { reduction: ScatterReduction::None }
            | Op::ScatterElements { reduction: ScatterReduction::None, .. } => {
                let (x, updates) = (input(0)?, input(2)?);
                scatter(&node.op, &x, &scope.probe_places(node.input(1)?)?, &updates)
            }
            Op::Split { .. } => {
                let part = node.outputs.iter().position(|o| *o == Some(value))?;
                let x = input(0)?;
                let sizes = node.outputs.iter().map(|o| scope.probe_shape((*o)?));
                let axis = match node.op {
                    Op::Split { axis } => axis_from_front(axis, x.shape.len())?,
                    _ => return None,
                };
                let sizes: Vec<i64> =
                    sizes.map(|shape| i64::try_from(shape?[axis]).ok()).collect::<Option<_>>()?;
                let numbers = x.numbers(0)?;
                let split = Tensor::vector(sizes);
                let inputs = [Some(&numbers), Some(&split)];
                let parts = reference::evaluate(&node.op, &inputs, node.outputs.len()).ok()?;
                gather(&x.elements, parts.get(part)?)
            }
            Op::Reshape { .. }
            | Op::Flatten { .. }
            | Op::Squeeze
            | Op::Unsqueeze
            | Op::Expand
            | Op::Tile
            | Op::Transpose { .. }
            | Op::Slice
            | Op::Gather { .. } => {
                let x = input(0)?;
                let rest: Vec<Tensor> = node.inputs[1..]
                    .iter()
                    .map(|i| scope.probe_integers((*i)?))
                    .collect::<Option<_>>()?;
                x.moved(&node.op, &rest.iter().collect::<Vec<_>>())
            }
            _ => None,
        }
    }
}

fn scatter(op: &Op, x: &Elements, places: &Tensor, updates: &Elements) -> Option<Elements> {
    let numbers = [x.numbers(0)?, updates.numbers(x.elements.len())?];
    let inputs = [Some(&numbers[0]), Some(places), Some(&numbers[1])];
    let elements: Vec<Element> =
        x.elements.iter().chain(updates.elements.iter()).copied().collect();
    gather(&elements, reference::evaluate(op, &inputs, 1).ok()?.first()?)
}

fn concat(op: &Op, parts: &[Elements]) -> Option<Elements> {
    let mut elements = Vec::new();
    let mut numbers = Vec::new();
    for part in parts {
        numbers.push(part.numbers(elements.len())?);
        elements.extend_from_slice(&part.elements);
    }
    let inputs: Vec<Option<&Tensor>> = numbers.iter().map(Some).collect();
    gather(&elements, reference::evaluate(op, &inputs, 1).ok()?.first()?)
}

fn batch_norm(
    x: &Elements,
    scale: &Elements,
    bias: &Elements,
    mean: &Elements,
    variance: &Elements,
    epsilon: f64,
) -> Option<Elements> {
    let number = |e: &Elements, c: usize| match e.elements.get(c) {
        Some(Element::Number(x)) => Some(*x),
        _ => None,
    };
    let channels = *x.shape.get(1)?;
    let inner: usize = x.shape[2..].iter().product();
    let normalise = |(i, e): (usize, &Element)| {
        let c = (i / inner) % channels;
        let factor = number(scale, c)? / (number(variance, c)? + epsilon).sqrt();
        Some(e.affine(factor, number(bias, c)? - factor * number(mean, c)?))
    };
    let elements = known(x.elements.iter().enumerate().map(normalise))?;
    Some(Elements { shape: x.shape.clone(), elements })
}
