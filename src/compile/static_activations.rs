//! Max-affine activations whose coefficients are constants: ReLU and its relatives.

use serde::Serialize;

use crate::graph::infer::Types;
use crate::graph::{Conv, Graph, Links, Node, Op, Unary, ValueId, Variadic};
use crate::tensor::Tensor;

/// One activation with the same coefficients for every image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StaticActivation {
    /// The name of its node.
    pub name: String,
    /// `"ReLU"`, `"LeakyReLU"`, `"PReLU"`, `"Maxout"`, `"FReLU"`, or `"max-affine"` for other
    /// coefficients.
    pub form: &'static str,
    /// The number of affine pieces.
    pub k: usize,
    /// The number of channels of the feature map.
    pub channels: usize,
}

/// Lists the static activations of a graph in execution order. Works before the passes as well as
/// after them.
pub(super) fn find(graph: &Graph, types: &Types, links: &Links) -> Vec<StaticActivation> {
    let describe = |node: &Node| {
        let (form, k) = form(graph, links, node)?;
        let channels = types.get(node.output())?.dims.get(1)?.as_size()?;
        Some(StaticActivation { name: node.name.clone(), form, k, channels })
    };
    graph.nodes().iter().filter_map(describe).collect()
}

fn form(graph: &Graph, links: &Links, node: &Node) -> Option<(&'static str, usize)> {
    match &node.op {
        Op::Unary(Unary::Relu) => Some(("ReLU", 2)),
        Op::Unary(Unary::LeakyRelu { .. }) => Some(("LeakyReLU", 2)),
        Op::PRelu => graph.constant(node.input(1)?).map(|_| ("PReLU", 2)),
        // One piece is no activation: a normalisation or a scale.
        Op::MaxAffine(op) if op.k > 1 => {
            let coefficients = graph.constant(node.input(1)?)?;
            let form =
                if op.k == 2 && is_parametric(coefficients) { "PReLU" } else { "max-affine" };
            Some((form, op.k))
        }
        Op::Variadic(Variadic::Max) => of_maximum(graph, links, node),
        _ => None,
    }
}

/// Whether two pieces are `x` and `slope * x`.
fn is_parametric(coefficients: &Tensor) -> bool {
    let (Ok(values), &[1, 4, channels]) = (coefficients.as_f32(), coefficients.shape()) else {
        return false;
    };
    let (slopes, offsets) = values.split_at(2 * channels);
    slopes[..channels].iter().all(|&a| a == 1.0) && offsets.iter().all(|&b| b == 0.0)
}

/// The activation that a maximum is: Maxout if all operands are convolutions of one map, FReLU if one
/// operand is a map and the other a depthwise convolution of it.
fn of_maximum(graph: &Graph, links: &Links, node: &Node) -> Option<(&'static str, usize)> {
    if is_operand(graph, links, node) {
        return None;
    }
    let mut operands = Vec::new();
    collect(graph, links, node, &mut operands);
    let convolution = |value: &ValueId| {
        let node = graph.node(links.producer(*value)?);
        match &node.op {
            Op::Conv(conv) => Some((node.input(0)?, conv, graph.constant(node.input(1)?)?)),
            _ => None,
        }
    };
    if let &[a, b] = operands.as_slice() {
        let is_funnel = |x, y: &_| {
            let of_x = convolution(y).filter(|(from, ..)| *from == x);
            of_x.is_some_and(|(_, conv, weight)| Some(&conv.groups) == weight.shape().first())
        };
        if is_funnel(a, &b) || is_funnel(b, &a) {
            return Some(("FReLU", 2));
        }
    }
    let pieces: Vec<(ValueId, &Conv, &Tensor)> =
        operands.iter().map(convolution).collect::<Option<_>>()?;
    let (first, others) = pieces.split_first()?;
    let alike = |other: &(ValueId, &Conv, &Tensor)| {
        (other.0, other.1, other.2.shape()) == (first.0, first.1, first.2.shape())
    };
    let is_maxout = !others.is_empty() && others.iter().all(alike);
    is_maxout.then_some(("Maxout", pieces.len()))
}

/// Whether the only reader of a maximum is another maximum.
fn is_operand(graph: &Graph, links: &Links, node: &Node) -> bool {
    let maximum = Op::Variadic(Variadic::Max);
    match links.consumers(node.output()) {
        &[reader] => graph.node(reader).op == maximum && !graph.outputs().contains(&node.output()),
        _ => false,
    }
}

/// Collects the operands of a maximum, and in place of operands that are maxima theirs.
fn collect(graph: &Graph, links: &Links, node: &Node, operands: &mut Vec<ValueId>) {
    for &input in node.inputs.iter().flatten() {
        match links.producer(input).map(|id| graph.node(id)) {
            Some(inner)
                if inner.op == Op::Variadic(Variadic::Max) && is_operand(graph, links, inner) =>
            {
                collect(graph, links, inner, operands);
            }
            _ => operands.push(input),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::infer::infer;
    use crate::graph::{Dim, MaxAffine, Padding, TensorType};
    use crate::tensor::DType;

    fn convolution(g: &mut Graph, x: ValueId, groups: usize, stride: usize) -> ValueId {
        let weight = g.add_constant(
            "w",
            Tensor::new(&[4, 4 / groups, 1, 1], vec![0f32; 16 / groups]).unwrap(),
        );
        let padding = Padding::Explicit(vec![]);
        let strides = vec![stride; 2];
        let conv = Conv { padding, strides, dilations: vec![], groups };
        g.apply("conv", Op::Conv(conv), &[x, weight])
    }

    fn maximum(g: &mut Graph, name: &str, operands: &[ValueId]) -> ValueId {
        g.apply(name, Op::Variadic(Variadic::Max), operands)
    }

    fn found(
        build: impl FnOnce(&mut Graph, ValueId) -> ValueId,
    ) -> Vec<(String, &'static str, usize)> {
        let mut g = Graph::new("t");
        let dims = vec![Dim::symbol("N"), 4.into(), 1.into(), 1.into()];
        let x = g.add_input("x", TensorType { dtype: DType::F32, dims });
        let y = build(&mut g, x);
        g.set_outputs(vec![y]);
        let activations = find(&g, &infer(&g).unwrap(), &g.links());
        assert!(activations.iter().all(|a| a.channels == 4));
        activations.into_iter().map(|a| (a.name, a.form, a.k)).collect()
    }

    #[test]
    fn maxima_of_convolutions_are_one_maxout() {
        let maxout = found(|g, x| {
            let pieces: Vec<_> = (0..3).map(|_| convolution(g, x, 1, 1)).collect();
            let inner = maximum(g, "inner", &pieces[..2]);
            maximum(g, "outer", &[pieces[2], inner])
        });
        assert_eq!(maxout, [("outer".into(), "Maxout", 3)]);
    }

    #[test]
    fn convolutions_of_other_maps_or_strides_are_none() {
        let other_map = found(|g, x| {
            let (a, b) = (convolution(g, x, 1, 1), convolution(g, x, 1, 1));
            let c = convolution(g, a, 1, 1);
            maximum(g, "max", &[b, c])
        });
        let other_stride = found(|g, x| {
            let (a, b) = (convolution(g, x, 1, 1), convolution(g, x, 1, 2));
            maximum(g, "max", &[a, b])
        });
        assert_eq!((other_map, other_stride), (vec![], vec![]));
    }

    #[test]
    fn a_map_against_its_depthwise_convolution_is_frelu() {
        let against = |groups| {
            found(|g, x| {
                let y = convolution(g, x, groups, 1);
                maximum(g, "max", &[y, x])
            })
        };
        assert_eq!(against(4), [("max".into(), "FReLU", 2)]);
        assert_eq!(against(1), []);
    }

    #[test]
    fn constant_coefficients_are_told_apart() {
        let with = |values: [f32; 4]| {
            found(|g, x| {
                let rows: Vec<f32> = values.iter().flat_map(|&v| [v; 4]).collect();
                let theta = g.add_constant("theta", Tensor::new(&[1, 4, 4], rows).unwrap());
                g.apply("act", Op::MaxAffine(MaxAffine { k: 2 }), &[x, theta])
            })
        };
        assert_eq!(with([1.0, 0.25, 0.0, 0.0]), [("act".into(), "PReLU", 2)]);
        assert_eq!(with([1.0, 0.25, 0.0, 1.0]), [("act".into(), "max-affine", 2)]);
    }
}
