//! Layer normalisation that is written as arithmetic, as one operator.
//!
//! With `d = x - mean(x)`, it is `d / sqrt(mean(d d) + epsilon) * scale + bias`. The means are over the
//! last axis, or over the channels of feature maps `[N,C,H,W]`, which are then transposed before and
//! after: lowering makes nothing of these transpositions.

use super::spelled_activations::{number, produced_by};
use crate::error::Result;
use crate::graph::predicates::axis_from_front;
use crate::graph::{Binary, NodeId, Op, ReduceKind, Rewriter, Unary, ValueId, Variadic};
use crate::tensor::{DType, Tensor};

/// Rewrites every such normalisation.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub fn spelled_layer_norm(graph: &mut Rewriter) -> Result<()> {
    for id in graph.node_ids() {
        if let Some(found) = Spelled::find(graph, id) {
            found.rewrite(graph);
        }
    }
    graph.commit().map(|_| ())
}

struct Spelled {
    x: ValueId,
    is_last: bool,
    epsilon: f32,
    scale: Tensor,
    bias: Option<Tensor>,
    /// The node that computes the result.
    last: NodeId,
}

impl Spelled {
    /// Finds the normalisation whose quotient `id` is.
    fn find(graph: &Rewriter, id: NodeId) -> Option<Self> {
        let node = graph.node(id);
        if node.op != Op::Binary(Binary::Div) {
            return None;
        }
        let (x, axis) = deviation(graph, node.input(0)?)?;
        let root = produced_by(graph, node.input(1)?)?;
        let Op::Unary(Unary::Sqrt) = root.op else { return None };
        let (variance, epsilon) = sum(graph, root.input(0)?).and_then(|(a, b)| {
            Some((a, number(graph, b)?)).or_else(|| Some((b, number(graph, a)?)))
        })?;
        let (squares, same_axis) = mean(graph, variance)?;
        if same_axis != axis || deviation(graph, square(graph, squares)?)? != (x, axis) {
            return None;
        }
        let ty = graph.types().get(x).filter(|ty| ty.dtype == DType::F32)?;
        let is_last = axis + 1 == ty.dims.len();
        let channels = ty.dims[axis].as_size().filter(|&channels| channels > 0)?;
        let is_channels = axis == 1 && ty.dims.len() == 4;
        if !is_last && !is_channels {
            return None;
        }
        let mut found = Spelled {
            x,
            is_last,
            epsilon: epsilon as f32,
            scale: Tensor::vector(vec![1f32; channels]),
            bias: None,
            last: id,
        };
        if let Some((next, scale)) = found.next(graph, &[Op::Binary(Binary::Mul)]) {
            (found.last, found.scale) = (next, scale);
        }
        let sums = [Op::Binary(Binary::Add), Op::Variadic(Variadic::Sum)];
        if let Some((next, bias)) = found.next(graph, &sums) {
            (found.last, found.bias) = (next, Some(bias));
        }
        Some(found)
    }

    /// The only reader of the result, if it is one of `ops` with a number per channel, and the numbers.
    fn next(&self, graph: &Rewriter, ops: &[Op]) -> Option<(NodeId, Tensor)> {
        let result = graph.node(self.last).output();
        let id = graph.links().only_reader(result)?;
        let node = graph.node(id);
        let &[Some(a), Some(b)] = node.inputs.as_slice() else { return None };
        let constant = graph.constant(if a == result { b } else { a })?;
        let trailing = if self.is_last { 0 } else { 2 };
        let (shape, channels) = (constant.shape(), self.scale.len());
        let per_channel = shape.len() > trailing
            && shape[shape.len() - trailing - 1] == channels
            && constant.len() == channels
            && shape.len() <= graph.types().get(self.x)?.dims.len();
        let fits = per_channel && constant.dtype() == DType::F32 && ops.contains(&node.op);
        let numbers = constant.as_f32().ok().filter(|_| fits)?;
        Some((id, Tensor::vector(numbers.to_vec())))
    }

    fn rewrite(self, graph: &mut Rewriter) {
        let name = graph.node(self.last).name.clone();
        let scale = graph.add_constant(format!("{name}.scale"), self.scale);
        let mut parameters = vec![Some(scale)];
        if let Some(bias) = self.bias {
            parameters.push(Some(graph.add_constant(format!("{name}.bias"), bias)));
        }
        let op = Op::LayerNormalization { axis: -1, epsilon: self.epsilon };
        let with_parameters = |x| [vec![Some(x)], parameters].concat();
        if self.is_last {
            graph.edit(self.last, |node| (node.op, node.inputs) = (op, with_parameters(self.x)));
            return;
        }
        let transpose = |perm: [usize; 4]| Op::Transpose { perm: perm.to_vec() };
        let x = graph.apply(format!("{name}.pixels"), transpose([0, 2, 3, 1]), &[self.x]);
        let y = graph.apply_to(format!("{name}.normalised"), op, with_parameters(x));
        graph.edit(self.last, |node| {
            (node.op, node.inputs) = (transpose([0, 3, 1, 2]), vec![Some(y)]);
        });
    }
}

/// Returns `x` and the axis if `value` is `x - mean(x)`.
fn deviation(graph: &Rewriter, value: ValueId) -> Option<(ValueId, usize)> {
    let node = produced_by(graph, value).filter(|node| node.op == Op::Binary(Binary::Sub))?;
    let (x, axis) = mean(graph, node.input(1)?)?;
    (node.input(0) == Some(x)).then_some((x, axis))
}

/// Returns what `value` is the mean of, and the axis, which is kept.
fn mean(graph: &Rewriter, value: ValueId) -> Option<(ValueId, usize)> {
    let node = produced_by(graph, value)?;
    let Op::Reduce(reduce) = &node.op else { return None };
    let (x, axes) = (node.input(0)?, graph.types().contents(node.input(1)?)?);
    let ([axis], ReduceKind::Mean, true) = (axes, reduce.kind, reduce.keep_dims) else {
        return None;
    };
    let axis = axis_from_front(axis.as_const()?, graph.types().get(x)?.dims.len())?;
    Some((x, axis))
}

/// Returns what `value` is the square of.
fn square(graph: &Rewriter, value: ValueId) -> Option<ValueId> {
    let node = produced_by(graph, value)?;
    let (a, b) = (node.input(0)?, node.input(1)?);
    match node.op {
        Op::Binary(Binary::Pow) => (number(graph, b)? == 2.0).then_some(a),
        Op::Binary(Binary::Mul) => (a == b).then_some(a),
        _ => None,
    }
}

/// Returns the two values that `value` is the sum of.
fn sum(graph: &Rewriter, value: ValueId) -> Option<(ValueId, ValueId)> {
    let node = produced_by(graph, value)?;
    let is_sum = matches!(node.op, Op::Binary(Binary::Add) | Op::Variadic(Variadic::Sum));
    (is_sum && node.inputs.len() == 2).then_some((node.input(0)?, node.input(1)?))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{CHANNELS, Net};
    use super::*;
    use crate::graph::Reduce;

    const NORM: Op = Op::LayerNormalization { axis: -1, epsilon: 1e-3 };

    fn reduce() -> Op {
        Op::Reduce(Reduce { kind: ReduceKind::Mean, keep_dims: true, noop_with_empty_axes: false })
    }

    impl Net {
        /// The quotient of the deviations of `x` along `axis`, whose squares are averaged along
        /// `axis_of_squares`.
        fn normalised(&mut self, x: ValueId, axis: i64, axis_of_squares: i64) -> ValueId {
            let [axis, other] =
                [axis, axis_of_squares].map(|axis| self.constant(Tensor::vector(vec![axis])));
            let (two, epsilon) =
                (self.constant(Tensor::scalar(2f32)), self.constant(Tensor::scalar(1e-3f32)));
            let mean = self.apply(reduce(), &[x, axis]);
            let deviation = self.apply(Op::Binary(Binary::Sub), &[x, mean]);
            let squares = self.apply(Op::Binary(Binary::Pow), &[deviation, two]);
            let variance = self.apply(reduce(), &[squares, other]);
            let sum = self.apply(Op::Binary(Binary::Add), &[variance, epsilon]);
            let root = self.apply(Op::Unary(Unary::Sqrt), &[sum]);
            self.apply(Op::Binary(Binary::Div), &[deviation, root])
        }

        fn scaled(&mut self, x: ValueId, shape: &[usize]) -> ValueId {
            let count = shape.iter().product();
            let [scale, bias] = [0.7, 0.3].map(|step| {
                let numbers = (0..count).map(|i| 1.0 + (i as f32 * step).sin()).collect();
                self.constant(Tensor::new(shape, numbers).unwrap())
            });
            let product = self.apply(Op::Binary(Binary::Mul), &[x, scale]);
            self.apply(Op::Binary(Binary::Add), &[bias, product])
        }
    }

    #[test]
    fn over_the_last_axis() {
        let mut net = Net::new();
        let y = net.normalised(net.x, -1, 3);
        let y = net.scaled(y, &[5]);
        assert_eq!(net.rewritten(y, spelled_layer_norm), [NORM]);
    }

    #[test]
    fn over_the_channels_of_a_feature_map() {
        let mut net = Net::new();
        let y = net.normalised(net.x, 1, 1);
        let y = net.scaled(y, &[CHANNELS, 1, 1]);
        let transpose = |perm: [usize; 4]| Op::Transpose { perm: perm.to_vec() };
        let expected = [transpose([0, 2, 3, 1]), NORM, transpose([0, 3, 1, 2])];
        assert_eq!(net.rewritten(y, spelled_layer_norm), expected);
    }

    #[test]
    fn numbers_that_are_not_per_channel_stay() {
        let mut net = Net::new();
        let y = net.normalised(net.x, -1, -1);
        let y = net.scaled(y, &[2, 5]);
        let rest = [Op::Binary(Binary::Mul), Op::Binary(Binary::Add)];
        assert_eq!(net.rewritten(y, spelled_layer_norm), [&[NORM][..], &rest].concat());
    }

    #[test]
    fn means_over_other_axes_stay() {
        for (axis, axis_of_squares) in [(2, 2), (3, 1)] {
            let mut net = Net::new();
            let y = net.normalised(net.x, axis, axis_of_squares);
            assert!(!net.rewritten(y, spelled_layer_norm).contains(&NORM), "{axis}");
        }
    }
}
