//! Activations that an exporter spelled out as arithmetic, as the one operator that each is.
//!
//! A product `c * x * g(p(x))`, where `p` is a polynomial, is an activation times a number:
//!
//! | `g(p(x))` | activation |
//! |---|---|
//! | `sigmoid(alpha x)` | Swish (SiLU) |
//! | `clip(x + 3, 0, 6) / 6`, `hard_sigmoid(x; 1/6, 1/2)` | HardSwish |
//! | `(1 + erf(x / sqrt 2)) / 2` | Gelu |
//! | `(1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2` | Gelu, approximated |
//! | `tanh(softplus(x))` | Mish |

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI};

use crate::error::Result;
use crate::graph::{Binary, Node, NodeId, Op, Rewriter, Unary, ValueId, Variadic};
use crate::tensor::{DType, Tensor};

/// Rewrites every product that is an activation.
///
/// # Errors
/// `Graph` or `Shape` where the graph contradicts itself.
pub fn spelled_activations(graph: &mut Rewriter) -> Result<()> {
    // A product may be a factor of another: the outer one is tried first.
    let nodes: Vec<NodeId> = graph.node_ids().collect();
    for &id in nodes.iter().rev() {
        if let Some(found) = Spelled::find(graph, id) {
            found.rewrite(graph, id);
        }
    }
    graph.commit().map(|_| ())
}

/// `scale * activation(x)`.
struct Spelled {
    scale: f64,
    activation: Unary,
    x: ValueId,
}

impl Spelled {
    fn find(graph: &Rewriter, id: NodeId) -> Option<Self> {
        let output = graph.node(id).output();
        let mut product = Product { scale: 1.0, factors: Vec::new() };
        product.take_apart(graph, graph.node(id))?;
        let &[a, b] = product.factors.as_slice() else { return None };
        let (x, (activation, scale)) = gate(graph, b, a)
            .map(|gate| (a, gate))
            .or_else(|| gate(graph, a, b).map(|gate| (b, gate)))?;
        let same_type = graph.types().get(x)? == graph.types().get(output)?;
        same_type.then_some(Spelled { scale: product.scale * scale, activation, x })
    }

    fn rewrite(self, graph: &mut Rewriter, id: NodeId) {
        if close(self.scale, 1.0) {
            graph.edit(id, |node| {
                node.op = Op::Unary(self.activation);
                node.inputs = vec![Some(self.x)];
            });
            return;
        }
        let name = graph.node(id).name.clone();
        let activation =
            graph.apply(format!("{name}.activation"), Op::Unary(self.activation), &[self.x]);
        let scale = graph.add_constant(format!("{name}.scale"), Tensor::scalar(self.scale as f32));
        graph.edit(id, |node| {
            node.op = Op::Binary(Binary::Mul);
            node.inputs = vec![Some(activation), Some(scale)];
        });
    }
}

/// A product of a number and values.
struct Product {
    scale: f64,
    factors: Vec<ValueId>,
}

impl Product {
    /// Collects the factors of a product; `None` where `node` is none, or has more than two.
    fn take_apart(&mut self, graph: &Rewriter, node: &Node) -> Option<()> {
        let (a, b) = (node.input(0)?, node.input(1)?);
        match node.op {
            Op::Binary(Binary::Mul) => {
                self.factor(graph, a)?;
                self.factor(graph, b)
            }
            Op::Binary(Binary::Div) => {
                self.scale /= number(graph, b)?;
                self.factor(graph, a)
            }
            _ => None,
        }
    }

    fn factor(&mut self, graph: &Rewriter, value: ValueId) -> Option<()> {
        if let Some(number) = number(graph, value) {
            self.scale *= number;
            return Some(());
        }
        if let Some(node) = produced_by(graph, value) {
            let before = (self.scale, self.factors.len());
            if self.take_apart(graph, node).is_some() {
                return Some(());
            }
            self.scale = before.0;
            self.factors.truncate(before.1);
        }
        self.factors.push(value);
        (self.factors.len() <= 2).then_some(())
    }
}

/// The activation that `x * value` is, and the number that it is to be multiplied by.
fn gate(graph: &Rewriter, value: ValueId, x: ValueId) -> Option<(Unary, f64)> {
    let node = produced_by(graph, value)?;
    let polynomial = |of: ValueId| Polynomial::of(graph, of, x, MAX_DEPTH);
    match &node.op {
        Op::Unary(Unary::Sigmoid) => {
            let [offset, alpha, 0.0, 0.0] = polynomial(node.input(0)?)?.0 else { return None };
            (offset == 0.0).then_some((Unary::Swish { alpha: alpha as f32 }, 1.0))
        }
        &Op::Unary(Unary::HardSigmoid { alpha, beta }) => {
            let is_x = polynomial(node.input(0)?)?.is_close([0.0, 1.0, 0.0, 0.0]);
            let usual = close(alpha.into(), 1.0 / 6.0) && beta == 0.5;
            (is_x && usual).then_some((Unary::HardSwish, 1.0))
        }
        Op::Clip => {
            let high = number(graph, node.input(2)?)?;
            let from_zero = number(graph, node.input(1)?)? == 0.0 && high > 0.0;
            // Clipped to 0 and 6, `x + 3` is six times the hard sigmoid.
            let gate = polynomial(node.input(0)?)?.is_close([high / 2.0, high / 6.0, 0.0, 0.0]);
            (from_zero && gate).then_some((Unary::HardSwish, high))
        }
        Op::Unary(Unary::Tanh) => {
            let softplus = produced_by(graph, node.input(0)?)?;
            let is_mish = softplus.op == Op::Unary(Unary::Softplus) && softplus.input(0) == Some(x);
            is_mish.then_some((Unary::Mish, 1.0))
        }
        Op::Binary(Binary::Add) | Op::Variadic(Variadic::Sum) => {
            let &[Some(a), Some(b)] = node.inputs.as_slice() else { return None };
            let other = match (number(graph, a), number(graph, b)) {
                (Some(1.0), None) => b,
                (None, Some(1.0)) => a,
                _ => return None,
            };
            let inner = produced_by(graph, other)?;
            let polynomial = polynomial(inner.input(0)?)?;
            let root = FRAC_2_PI.sqrt();
            match inner.op {
                Op::Unary(Unary::Erf) => polynomial
                    .is_close([0.0, FRAC_1_SQRT_2, 0.0, 0.0])
                    .then_some((Unary::Gelu { tanh: false }, 2.0)),
                Op::Unary(Unary::Tanh) => polynomial
                    .is_close([0.0, root, 0.0, 0.044715 * root])
                    .then_some((Unary::Gelu { tanh: true }, 2.0)),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Longer than any spelling of an activation.
const MAX_DEPTH: usize = 8;

/// The coefficients of 1, x, x^2 and x^3.
struct Polynomial([f64; 4]);

impl Polynomial {
    /// `value` as a polynomial in `x`.
    fn of(graph: &Rewriter, value: ValueId, x: ValueId, depth: usize) -> Option<Self> {
        if value == x {
            return Some(Polynomial([0.0, 1.0, 0.0, 0.0]));
        }
        if let Some(number) = number(graph, value) {
            return Some(Polynomial([number, 0.0, 0.0, 0.0]));
        }
        let node = produced_by(graph, value)?;
        let depth = depth.checked_sub(1)?;
        let operand = |i: usize| Self::of(graph, node.input(i)?, x, depth);
        match node.op {
            Op::Binary(Binary::Add) => operand(0)?.add(&operand(1)?, 1.0),
            Op::Binary(Binary::Sub) => operand(0)?.add(&operand(1)?, -1.0),
            Op::Binary(Binary::Mul) => operand(0)?.mul(&operand(1)?),
            Op::Binary(Binary::Div) => {
                let divisor = number(graph, node.input(1)?)?;
                Some(Polynomial(operand(0)?.0.map(|coefficient| coefficient / divisor)))
            }
            Op::Binary(Binary::Pow) => {
                let base = operand(0)?;
                match number(graph, node.input(1)?)? {
                    2.0 => base.mul(&base),
                    3.0 => base.mul(&base)?.mul(&base),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn add(&self, other: &Self, sign: f64) -> Option<Self> {
        Some(Polynomial(std::array::from_fn(|i| self.0[i] + sign * other.0[i])))
    }

    fn mul(&self, other: &Self) -> Option<Self> {
        let mut product = [0.0; 4];
        for (i, a) in self.0.iter().enumerate().filter(|(_, a)| **a != 0.0) {
            for (j, b) in other.0.iter().enumerate().filter(|(_, b)| **b != 0.0) {
                *product.get_mut(i + j)? += a * b;
            }
        }
        Some(Polynomial(product))
    }

    fn is_close(&self, to: [f64; 4]) -> bool {
        self.0.iter().zip(to).all(|(&a, b)| close(a, b))
    }
}

/// Whether two numbers are the same but for their rounding to single precision and a few digits
/// that were not written.
fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * b.abs()
}

pub(super) fn produced_by<'g>(graph: &'g Rewriter, value: ValueId) -> Option<&'g Node> {
    graph.links().producer(value).map(|id| graph.node(id))
}

/// The number that a constant of one element holds.
pub(super) fn number(graph: &Rewriter, value: ValueId) -> Option<f64> {
    let constant = graph.constant(value).filter(|constant| constant.len() == 1)?;
    constant.cast(DType::F64).ok()?.as_slice::<f64>().ok().map(|numbers| numbers[0])
}

#[cfg(test)]
mod tests {
    use super::super::testing::Net;
    use super::*;

    impl Net {
        fn number(&mut self, number: f32) -> ValueId {
            self.constant(Tensor::scalar(number))
        }

        fn binary(&mut self, op: Binary, a: ValueId, b: ValueId) -> ValueId {
            self.apply(Op::Binary(op), &[a, b])
        }

        fn unary(&mut self, op: Unary, a: ValueId) -> ValueId {
            self.apply(Op::Unary(op), &[a])
        }
    }

    #[test]
    fn swish_with_and_without_factors() {
        let mut net = Net::new();
        let gate = net.unary(Unary::Sigmoid, net.x);
        let y = net.binary(Binary::Mul, gate, net.x);
        assert_eq!(net.rewritten(y, spelled_activations), [Op::Unary(Unary::Swish { alpha: 1.0 })]);

        let mut net = Net::new();
        let (alpha, factor) = (net.number(1.75), net.number(1.5));
        let inner = net.binary(Binary::Mul, net.x, alpha);
        let gate = net.unary(Unary::Sigmoid, inner);
        let y = net.binary(Binary::Mul, net.x, gate);
        let y = net.binary(Binary::Mul, y, factor);
        let swish = Op::Unary(Unary::Swish { alpha: 1.75 });
        assert_eq!(net.rewritten(y, spelled_activations), [swish, Op::Binary(Binary::Mul)]);
    }

    #[test]
    fn hard_swish_as_people_write_it() {
        let relu6 = |net: &mut Net| {
            let (zero, three, six) = (net.number(0.0), net.number(3.0), net.number(6.0));
            let moved = net.binary(Binary::Add, net.x, three);
            let clipped = net.apply(Op::Clip, &[moved, zero, six]);
            (clipped, six)
        };
        let mut net = Net::new();
        let (clipped, six) = relu6(&mut net);
        let gate = net.binary(Binary::Div, clipped, six);
        let y = net.binary(Binary::Mul, net.x, gate);
        assert_eq!(net.rewritten(y, spelled_activations), [Op::Unary(Unary::HardSwish)]);

        let mut net = Net::new();
        let (clipped, six) = relu6(&mut net);
        let product = net.binary(Binary::Mul, net.x, clipped);
        let y = net.binary(Binary::Div, product, six);
        assert_eq!(net.rewritten(y, spelled_activations), [Op::Unary(Unary::HardSwish)]);

        let mut net = Net::new();
        let (alpha, beta) = (1.0 / 6.0, 0.5);
        let gate = net.unary(Unary::HardSigmoid { alpha, beta }, net.x);
        let y = net.binary(Binary::Mul, net.x, gate);
        assert_eq!(net.rewritten(y, spelled_activations), [Op::Unary(Unary::HardSwish)]);
    }

    #[test]
    fn gelu_by_erf_and_by_tanh() {
        let mut net = Net::new();
        let (root, one, half) = (net.number(2f32.sqrt()), net.number(1.0), net.number(0.5));
        let inner = net.binary(Binary::Div, net.x, root);
        let erf = net.unary(Unary::Erf, inner);
        let sum = net.binary(Binary::Add, erf, one);
        let y = net.binary(Binary::Mul, net.x, sum);
        let y = net.binary(Binary::Mul, y, half);
        assert_eq!(net.rewritten(y, spelled_activations), [Op::Unary(Unary::Gelu { tanh: false })]);

        let mut net = Net::new();
        let (three, one, half) = (net.number(3.0), net.number(1.0), net.number(0.5));
        let (small, root) = (net.number(0.044715), net.number(0.797_884_6));
        let cube = net.binary(Binary::Pow, net.x, three);
        let cube = net.binary(Binary::Mul, cube, small);
        let inner = net.binary(Binary::Add, net.x, cube);
        let inner = net.binary(Binary::Mul, inner, root);
        let tanh = net.unary(Unary::Tanh, inner);
        let sum = net.binary(Binary::Add, one, tanh);
        let halved = net.binary(Binary::Mul, half, net.x);
        let y = net.binary(Binary::Mul, halved, sum);
        assert_eq!(net.rewritten(y, spelled_activations), [Op::Unary(Unary::Gelu { tanh: true })]);
    }

    #[test]
    fn mish() {
        let mut net = Net::new();
        let inner = net.unary(Unary::Softplus, net.x);
        let gate = net.unary(Unary::Tanh, inner);
        let y = net.binary(Binary::Mul, net.x, gate);
        assert_eq!(net.rewritten(y, spelled_activations), [Op::Unary(Unary::Mish)]);
    }

    #[test]
    fn products_that_only_look_alike_stay() {
        let mut net = Net::new();
        let one = net.number(1.0);
        let moved = net.binary(Binary::Add, net.x, one);
        let gate = net.unary(Unary::Sigmoid, moved);
        let y = net.binary(Binary::Mul, net.x, gate);
        assert_eq!(net.rewritten(y, spelled_activations).len(), 3);

        let mut net = Net::new();
        let erf = net.unary(Unary::Erf, net.x);
        let one = net.number(1.0);
        let sum = net.binary(Binary::Add, erf, one);
        let y = net.binary(Binary::Mul, net.x, sum);
        assert_eq!(net.rewritten(y, spelled_activations).len(), 3);
    }
}
