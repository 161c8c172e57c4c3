//! A graph with the facts that the matchers ask for.

use crate::graph::infer::Types;
use crate::graph::predicates::{axis_from_front, is_one};
use crate::graph::{Binary, Bindings, Graph, Links, Node, Op, Rewriter, ValueId};
use crate::tensor::{DType, Tensor};

/// A graph with its types and links.
pub(super) struct Scope<'g> {
    pub graph: &'g Graph,
    pub types: &'g Types,
    pub links: &'g Links,
    bindings: Bindings,
}

/// Returns a size for every symbol of the inputs, for evaluation with numbers in place of symbols: two
/// images, so that coefficients of one image that are applied to another are noticed, and a map that
/// is large enough for the strides of most networks.
fn probe_sizes(graph: &Graph) -> Bindings {
    const IMAGES: usize = 2;
    const PIXELS: usize = 64;
    let mut bindings = Bindings::new();
    for &input in graph.inputs() {
        let Some(ty) = &graph.value(input).input else { continue };
        for (axis, dim) in ty.dims.iter().enumerate() {
            if let Some(symbol) = dim.as_symbol() {
                let size = if axis == 0 { IMAGES } else { PIXELS };
                bindings.entry(symbol.into()).or_insert(size);
            }
        }
    }
    bindings
}

impl<'g> Scope<'g> {
    /// A scope of the graph as it is now.
    pub(super) fn of(rewriter: &'g Rewriter) -> Self {
        let graph = rewriter.graph();
        let (types, links) = (rewriter.types(), rewriter.links());
        Scope { graph, types, links, bindings: probe_sizes(graph) }
    }
}

impl Scope<'_> {
    /// Returns the element of a constant of one element.
    pub(super) fn number(&self, value: ValueId) -> Option<f64> {
        let constant = self.graph.constant(value).filter(|c| c.len() == 1)?;
        match constant.dtype() {
            DType::F32 => constant.as_f32().ok().map(|x| as_written(x[0])),
            DType::Bool => None,
            _ => constant.cast(DType::F64).ok()?.as_slice::<f64>().ok().map(|x| x[0]),
        }
    }

    /// Returns the number that all elements of `value` are equal to.
    pub(super) fn uniform(&self, value: ValueId) -> Option<f64> {
        if let Some(number) = self.number(value) {
            return Some(number);
        }
        if let Some(constant) = self.graph.constant(value) {
            let elements = constant.as_f32().ok()?;
            let (&first, others) = elements.split_first()?;
            return others.iter().all(|&x| x == first).then_some(first.into());
        }
        let node = self.graph.node(self.links.producer(value)?);
        match &node.op {
            Op::ConstantOfShape { value } => Some(value.value),
            Op::Expand => self.uniform(node.input(0)?),
            _ => None,
        }
    }

    /// Returns the elements of an integer tensor that do not depend on free sizes.
    pub(super) fn integers(&self, value: ValueId) -> Option<Vec<i64>> {
        match self.graph.constant(value) {
            Some(constant) => constant.to_i64s().ok(),
            None => self.types.contents(value)?.iter().map(|d| d.as_const()).collect(),
        }
    }

    /// Returns an integer tensor at the probe sizes.
    pub(super) fn probe_integers(&self, value: ValueId) -> Option<Tensor> {
        if let Some(constant) = self.graph.constant(value) {
            return Some(constant.clone());
        }
        let contents = self.types.contents(value)?;
        let numbers: Vec<i64> =
            contents.iter().map(|d| d.evaluate(&self.bindings).ok()).collect::<Option<_>>()?;
        Tensor::new(&self.probe_shape(value)?, numbers).ok()
    }

    /// Returns places at the probe sizes: as [`probe_integers`](Self::probe_integers), or all of them equal.
    pub(super) fn probe_places(&self, value: ValueId) -> Option<Tensor> {
        self.probe_integers(value).or_else(|| {
            let (place, shape) = (self.uniform(value)?, self.probe_shape(value)?);
            Tensor::new(&shape, vec![place as i64; shape.iter().product()]).ok()
        })
    }

    /// Returns the shape of a value at the probe sizes.
    pub(super) fn probe_shape(&self, value: ValueId) -> Option<Vec<usize>> {
        let dims = &self.types.get(value)?.dims;
        dims.iter().map(|d| usize::try_from(d.evaluate(&self.bindings).ok()?).ok()).collect()
    }

    /// Returns the axis and the entry of a slice that takes one entry along one axis.
    pub(super) fn single_slice(&self, node: &Node, output: ValueId) -> Option<(usize, usize)> {
        let starts = self.integers(node.input(1)?)?;
        let axes = match node.input(3) {
            Some(axes) => self.integers(axes)?,
            None => vec![0],
        };
        let (&[start], &[axis]) = (starts.as_slice(), axes.as_slice()) else { return None };
        let dims = &self.types.get(node.input(0)?)?.dims;
        let axis = axis_from_front(axis, dims.len())?;
        let start = axis_from_front(start, dims[axis].as_size()?)?;
        is_one(&self.types.get(output)?.dims[axis]).then_some((axis, start))
    }

    /// Follows `value` back through operators that only repeat it along axes of size one, a product with
    /// a map of ones included.
    pub(super) fn before_expansion(&self, value: ValueId) -> ValueId {
        let mut value = value;
        while let Some(node) = self.links.producer(value).map(|id| self.graph.node(id)) {
            let Some(mut input) = node.input(0) else { break };
            if node.op == Op::Binary(Binary::Mul)
                && let Some(other) = node.input(1)
                && self.uniform(input) == Some(1.0)
            {
                input = other;
            }
            let dims = |v| self.types.get(v).map(|ty| ty.dims.as_slice());
            let (Some(inner), Some(outer)) = (dims(input), dims(value)) else { break };
            let repeats = match node.op {
                Op::Identity | Op::Expand => true,
                Op::Binary(Binary::Mul) => {
                    let other = node.inputs.iter().flatten().find(|&&other| other != input);
                    inner.len() == outer.len() && other.and_then(|&v| self.uniform(v)) == Some(1.0)
                }
                Op::Tile => inner.iter().zip(outer).all(|(i, o)| i == o || is_one(i)),
                _ => false,
            };
            if !repeats {
                break;
            }
            value = input;
        }
        value
    }

    /// Follows `value` back through reshapes that only add or remove trailing axes of size one.
    pub(super) fn peel(&self, value: ValueId) -> ValueId {
        let features = |v| self.types.get(v).map(|ty| ty.dims.as_slice());
        let mut value = value;
        while let Some(node) = self.links.producer(value).map(|id| self.graph.node(id)) {
            let moves = matches!(
                node.op,
                Op::Identity
                    | Op::Dropout
                    | Op::Reshape { .. }
                    | Op::Flatten { .. }
                    | Op::Squeeze
                    | Op::Unsqueeze
            );
            let Some(input) = node.input(0).filter(|_| moves) else { break };
            let (Some(outer), Some(inner)) = (features(value), features(input)) else { break };
            let plain = |dims: &[_]| dims.len() >= 2 && dims[2..].iter().all(is_one);
            if !plain(outer) || !plain(inner) || outer[..2] != inner[..2] {
                break;
            }
            value = input;
        }
        value
    }
}

/// Returns the fraction that `x` is rounded from, if its denominator is a usual one: 1/6 for
/// 0.16666667.
pub(super) fn as_written(x: f32) -> f64 {
    for denominator in [1.0, 3.0, 6.0, 7.0, 9.0, 10.0, 12.0] {
        let fraction = (f64::from(x) * denominator).round() / denominator;
        if fraction as f32 == x {
            return fraction;
        }
    }
    f64::from(x)
}
