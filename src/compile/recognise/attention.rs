//! The spatial attention of DY-ReLU-C: `pi = min(gamma * softmax(z / tau), 1)`.
//!
//! Published code limits it by a clip or by a minimum, before or after scaling, and has gamma = HW/3
//! as a constant or computes it from the shape at run time.

use super::scope::Scope;
use crate::error::Result;
use crate::graph::predicates::{axis_from_front, is_one};
use crate::graph::{
    Binary, Dim, NodeId, Op, Rewriter, Softmax, SpatialAttention, TensorType, ValueId, Variadic,
};

/// Returns the logits `z [N,1,H,W]` and the parameters of the attention that computes `pi`.
pub(super) fn find(scope: &Scope, pi: ValueId) -> Option<(ValueId, SpatialAttention)> {
    let shape = &scope.types.get(pi)?.dims;
    // Where pi is as large as the map, all channels are equal.
    let one = Dim::from(1);
    let logits: Vec<&Dim> = [shape.first()?, &one].into_iter().chain(shape.get(2..)?).collect();
    let positions = shape.get(2..)?.iter().fold(Dim::from(1), |a, b| &a * b);
    let mut value = pi;
    // The loop reads `pi = outer * min(gain * softmax(sharpness * z), limit)` from left to right.
    let (mut outer, mut limit, mut sharpness) = (1.0, None, 1.0);
    let mut gain = Factor::number(1.0);
    let mut normalised = false;
    loop {
        if normalised && scope.types.get(value)?.dims.iter().eq(logits.iter().copied()) {
            break;
        }
        let node = scope.graph.node(scope.links.producer(value)?);
        let input = node.input(0)?;
        match &node.op {
            Op::Binary(op @ (Binary::Mul | Binary::Div)) => {
                let right = node.input(1)?;
                let (inner, factor) = match (factor(scope, right, 0), op) {
                    (Some(f), _) => (input, f),
                    (None, Binary::Mul) => (right, factor(scope, input, 0)?),
                    (None, _) => return None,
                };
                let factor = if *op == Binary::Div { factor.recip()? } else { factor };
                match (normalised, limit) {
                    (true, _) => sharpness *= factor.as_number()?,
                    (false, Some(_)) => gain = gain.times(&factor),
                    (false, None) => outer *= factor.as_number()?,
                }
                value = inner;
            }
            Op::Clip if limit.is_none() && !normalised => {
                let low = node.input(1).map_or(Some(0.0), |v| scope.uniform(v))?;
                if low > 0.0 {
                    return None;
                }
                limit = Some(scope.uniform(node.input(2)?)?);
                value = input;
            }
            Op::Variadic(Variadic::Min) if limit.is_none() && !normalised => {
                let &[Some(a), Some(b)] = node.inputs.as_slice() else { return None };
                let (inner, bound) = match scope.uniform(b) {
                    Some(bound) => (a, bound),
                    None => (b, scope.uniform(a)?),
                };
                limit = Some(bound);
                value = inner;
            }
            Op::Softmax(softmax) if limit.is_some() && !normalised => {
                if !covers_all_positions(softmax, scope.types.get(input)?, &positions) {
                    return None;
                }
                normalised = true;
                value = input;
            }
            Op::Reshape { .. } | Op::Flatten { .. } | Op::Squeeze | Op::Unsqueeze => {
                let (outer, inner) = (scope.types.get(value)?, scope.types.get(input)?);
                // What is the same for all channels is not the same for all positions.
                let repeated = outer.dims.get(1).is_some_and(|dim| !is_one(dim))
                    && outer.dims.get(..2) == shape.get(..2);
                if repeated && inner.dims.get(..2) != shape.get(..2) {
                    return None;
                }
                value = input;
            }
            Op::Expand => {
                let inner = &scope.types.get(input)?.dims;
                if inner.len() != shape.len() || inner.get(2..) != shape.get(2..) {
                    return None;
                }
                value = input;
            }
            Op::Identity => value = input,
            _ => return None,
        }
    }
    let maximum = outer * limit?;
    let gamma = outer * gain.per(&positions)?;
    // A clip from below has an effect only if a factor is negative.
    let positive = |factor: f64| factor > 0.0 && factor.is_finite();
    if (maximum - 1.0).abs() > 1e-5 || ![outer, sharpness, gamma].into_iter().all(positive) {
        return None;
    }
    let gamma_per_position = gamma as f32;
    Some((value, SpatialAttention { tau: (1.0 / sharpness) as f32, gamma_per_position }))
}

/// Whether a softmax normalises over all positions of an image and nothing else.
fn covers_all_positions(softmax: &Softmax, ty: &TensorType, positions: &Dim) -> bool {
    let axis = axis_from_front(softmax.axis, ty.dims.len()).filter(|&axis| axis > 0);
    let Some(axis) = axis else { return false };
    let end = if softmax.flatten { ty.dims.len() } else { axis + 1 };
    let covered = ty.dims[axis..end].iter().fold(Dim::from(1), |a, b| &a * b);
    let others_are_one = ty.dims[1..axis].iter().chain(&ty.dims[end..]).all(is_one);
    covered == *positions && others_are_one
}

/// A number times a product of sizes.
#[derive(Clone)]
struct Factor {
    number: f64,
    sizes: Dim,
}

impl Factor {
    fn number(number: f64) -> Self {
        Factor { number, sizes: 1.into() }
    }

    fn as_number(&self) -> Option<f64> {
        Some(self.number * self.sizes.as_const()? as f64)
    }

    fn recip(&self) -> Option<Self> {
        Some(Self::number(1.0 / self.as_number()?))
    }

    fn times(&self, other: &Factor) -> Self {
        Factor { number: self.number * other.number, sizes: &self.sizes * &other.sizes }
    }

    /// The factor divided by the number of `positions`; `None` if the quotient is not a number.
    fn per(&self, positions: &Dim) -> Option<f64> {
        if self.sizes == *positions {
            return Some(self.number);
        }
        Some(self.as_number()? / positions.as_const()? as f64)
    }
}

/// Returns `value` as a factor if it is a scalar that is computed from numbers and sizes.
fn factor(scope: &Scope, value: ValueId, depth: usize) -> Option<Factor> {
    if depth > 16 {
        return None;
    }
    if let Some(number) = scope.number(value) {
        return Some(Factor::number(number));
    }
    if let Some([size]) = scope.types.contents(value) {
        return Some(Factor { number: 1.0, sizes: size.clone() });
    }
    let node = scope.graph.node(scope.links.producer(value)?);
    let input = |i: usize| factor(scope, node.input(i)?, depth + 1);
    match &node.op {
        Op::Cast { .. } | Op::Identity | Op::Squeeze | Op::Unsqueeze | Op::Reshape { .. } => {
            input(0)
        }
        Op::Binary(Binary::Mul) => Some(input(0)?.times(&input(1)?)),
        Op::Binary(Binary::Div) => Some(input(0)?.times(&input(1)?.recip()?)),
        _ => None,
    }
}

/// Makes the spatial factor `pi` of each product `MaxAffine(..) * pi` an input of the `MaxAffine`. If
/// `pi` is an attention, a `SpatialAttention` computes it from then on.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub(super) fn absorb(graph: &mut Rewriter) -> Result<()> {
    let scope = Scope::of(graph);
    let factors = graph.node_ids().filter_map(|id| spatial_factor(&scope, id));
    let factors: Vec<_> = factors.map(|factor| (find(&scope, factor.pi), factor)).collect();
    for (attention, factor) in factors {
        if factor.for_channels && attention.is_none() {
            continue;
        }
        let name = graph.node(factor.max_affine).name.clone();
        let pi = match attention {
            Some((z, op)) => {
                graph.apply(format!("{name}.attention"), Op::SpatialAttention(op), &[z])
            }
            None => factor.pi,
        };
        let product = graph.node(factor.product).output();
        let old = graph.node(factor.max_affine).output();
        graph.edit(factor.max_affine, |node| node.inputs.push(Some(pi)));
        graph.take_over(product, old);
    }
    graph.commit().map(|_| ())
}

struct SpatialFactor {
    max_affine: NodeId,
    product: NodeId,
    pi: ValueId,
    /// Whether `pi` has the channels of the map.
    for_channels: bool,
}

fn spatial_factor(scope: &Scope, id: NodeId) -> Option<SpatialFactor> {
    let node = scope.graph.node(id);
    if !matches!(node.op, Op::MaxAffine(_)) || node.inputs.len() > 2 {
        return None;
    }
    let y = node.output();
    let product = scope.links.only_reader(y)?;
    let consumer = scope.graph.node(product);
    if consumer.op != Op::Binary(Binary::Mul) {
        return None;
    }
    let pi = *consumer.inputs.iter().flatten().find(|&&v| v != y)?;
    let (map, pi_dims) = (&scope.types.get(y)?.dims, &scope.types.get(pi)?.dims);
    let positions_match = pi_dims.len() == map.len()
        && pi_dims[0] == map[0]
        && !is_one(&map[1])
        && pi_dims[2..] == map[2..];
    let for_channels = !is_one(pi_dims.get(1)?);
    let fits = positions_match && (!for_channels || pi_dims[1] == map[1]);
    fits.then_some(SpatialFactor { max_affine: id, product, pi, for_channels })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use crate::tensor::{DType, Tensor};

    /// Returns the network `clip(softmax(z) * gain, 0, limit) * outer` and its output.
    fn network(gain: f32, limit: f32, outer: f32) -> (Graph, ValueId) {
        let mut g = Graph::new("t");
        let dims = vec![Dim::symbol("N"), 1.into(), 3.into(), 5.into()];
        let z = g.add_input("z", TensorType { dtype: DType::F32, dims });
        let number = |g: &mut Graph, x: f32| g.add_constant("number", Tensor::scalar(x));
        let shape =
            |g: &mut Graph, sizes: &[i64]| g.add_constant("shape", Tensor::vector(sizes.to_vec()));
        let reshape = Op::Reshape { allow_zero: false };
        let flat = shape(&mut g, &[0, -1]);
        let rows = g.apply("rows", reshape.clone(), &[z, flat]);
        let softmax = Op::Softmax(Softmax { axis: 1, flatten: false });
        let shares = g.apply("shares", softmax, &[rows]);
        let square = shape(&mut g, &[0, 1, 3, 5]);
        let map = g.apply("map", reshape, &[shares, square]);
        let (gain, zero) = (number(&mut g, gain), number(&mut g, 0.0));
        let scaled = g.apply("scaled", Op::Binary(Binary::Mul), &[map, gain]);
        let limit = number(&mut g, limit);
        let clipped = g.apply("clipped", Op::Clip, &[scaled, zero, limit]);
        let outer = number(&mut g, outer);
        let pi = g.apply("pi", Op::Binary(Binary::Mul), &[clipped, outer]);
        g.set_outputs(vec![pi]);
        (g, pi)
    }

    #[test]
    fn factors_have_to_be_positive() {
        let found = |(mut graph, pi): (Graph, ValueId)| {
            let rewriter = Rewriter::new(&mut graph).unwrap();
            find(&Scope::of(&rewriter), pi).map(|(_, attention)| attention.gamma_per_position)
        };
        let gamma = found(network(15.0, 3.0, 1.0 / 3.0)).unwrap();
        assert!((gamma - 1.0 / 3.0).abs() < 1e-6, "{gamma}");
        assert_eq!(found(network(-15.0, 3.0, 1.0 / 3.0)), None);
        assert_eq!(found(network(15.0, -3.0, -1.0 / 3.0)), None);
        assert_eq!(found(network(0.0, 3.0, 1.0 / 3.0)), None);
    }
}
