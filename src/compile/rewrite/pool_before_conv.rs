//! Computes contexts and attentions from the input of a pointwise convolution instead of its output.
//!
//! A mean over positions and a pointwise convolution are both linear, so that `mean(W x + c) =
//! W mean(x) + c`. The first layer `W1` of a hyperfunction that reads the mean can therefore be
//! replaced by `W1 W`, which reads the mean of the convolution's input. The coefficients are then
//! known before the convolution runs, and its activation becomes an epilogue. `W1 W` is also smaller
//! than `W1` if the convolution has fewer inputs than outputs. The logits of a spatial attention are a
//! pointwise convolution, which is folded in the same way.

use crate::error::Result;
use crate::graph::geometry::is_dense_pointwise;
use crate::graph::{NodeId, Op, PoolKind, Rewriter, ValueId};
use crate::simd::{Isa, Simd, Vectorised};
use crate::tensor::{AlignedBuffer, Tensor};

/// Folds every convolution with fewer inputs than outputs.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub fn pool_before_conv(graph: &mut Rewriter) -> Result<()> {
    for id in graph.node_ids() {
        fold_context(graph, id);
        fold_logits(graph, id);
    }
    graph.commit().map(|_| ())
}

/// A pointwise convolution with fewer inputs than outputs.
struct Widening {
    input: ValueId,
    /// `[outputs][inputs]`
    weight: Tensor,
    bias: Option<Tensor>,
    inputs: usize,
    outputs: usize,
}

impl Widening {
    /// Returns the convolution that produces `map`, if it is one.
    fn before(graph: &Rewriter, map: ValueId) -> Option<Self> {
        let node = graph.node(graph.links().producer(map)?);
        let Op::Conv(conv) = &node.op else { return None };
        let weight = graph.constant(node.input(1)?)?;
        let &[outputs, inputs, _, _] = weight.shape() else { return None };
        let bias = match node.input(2) {
            Some(id) => Some(graph.constant(id).filter(|b| b.len() == outputs)?.clone()),
            None => None,
        };
        let widens =
            (1..outputs).contains(&inputs) && is_dense_pointwise(conv, &weight.shape()[2..]);
        let input = node.input(0)?;
        widens.then(|| Widening { input, weight: weight.clone(), bias, inputs, outputs })
    }

    /// Composes this convolution with a layer `[rows][outputs]` that reads its output. Returns the
    /// weights `[rows][inputs]` and the biases of the layer that reads the convolution's input.
    fn compose(&self, layer: &Tensor, bias: Option<&Tensor>) -> Option<(Vec<f32>, Vec<f32>)> {
        let mut scratch = [AlignedBuffer::zeroed(0), AlignedBuffer::zeroed(0)];
        let [layer_scratch, weight_scratch] = &mut scratch;
        let layer = layer.read_once::<f32>(layer_scratch).ok()?;
        let weight = self.weight.read_once::<f32>(weight_scratch).ok()?;
        let own = match &self.bias {
            Some(own) => own.as_f32().ok()?,
            None => &vec![0.0; self.outputs],
        };
        let mut biases = Vec::with_capacity(layer.len() / self.outputs);
        for (row, layer) in layer.chunks_exact(self.outputs).enumerate() {
            let bias = match bias {
                Some(bias) => f64::from(*bias.as_f32().ok()?.get(row)?),
                None => 0.0,
            };
            let terms = layer.iter().zip(own).map(|(&a, &b)| f64::from(a) * f64::from(b));
            biases.push(terms.fold(bias, |sum, term| sum + term) as f32);
        }
        let product = Product { layer, weight, outputs: self.outputs, inputs: self.inputs };
        Some((Isa::get().run(product), biases))
    }
}

/// The matrix product of `layer [rows][outputs]` and `weight [outputs][inputs]`, with sums in f64.
struct Product<'a> {
    layer: &'a [f32],
    weight: &'a [f32],
    outputs: usize,
    inputs: usize,
}

impl Vectorised for Product<'_> {
    type Output = Vec<f32>;

    // The loops over inputs are vectorised by rustc for the instruction set. Each sum adds the
    // outputs in order, and is therefore the same on every instruction set.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Vec<f32> {
        /// Rows of `weight` that are added to the sums at a time.
        const ROWS: usize = 4;
        let mut product = Vec::with_capacity(self.layer.len() / self.outputs * self.inputs);
        let mut sums = vec![0.0f64; self.inputs];
        for factors in self.layer.chunks_exact(self.outputs) {
            sums.fill(0.0);
            let blocks =
                factors.chunks_exact(ROWS).zip(self.weight.chunks_exact(ROWS * self.inputs));
            for (factors, weights) in blocks {
                let [f0, f1, f2, f3] = [0, 1, 2, 3].map(|i| f64::from(factors[i]));
                let (w01, w23) = weights.split_at(2 * self.inputs);
                let ((w0, w1), (w2, w3)) = (w01.split_at(self.inputs), w23.split_at(self.inputs));
                for ((((sum, &w0), &w1), &w2), &w3) in
                    sums.iter_mut().zip(w0).zip(w1).zip(w2).zip(w3)
                {
                    let two = *sum + f0 * f64::from(w0) + f1 * f64::from(w1);
                    *sum = two + f2 * f64::from(w2) + f3 * f64::from(w3);
                }
            }
            let rest = self.outputs / ROWS * ROWS;
            let weights = self.weight[rest * self.inputs..].chunks_exact(self.inputs);
            for (&factor, weights) in factors[rest..].iter().zip(weights) {
                for (sum, &weight) in sums.iter_mut().zip(weights) {
                    *sum += f64::from(factor) * f64::from(weight);
                }
            }
            for &sum in &sums {
                product.push(sum as f32);
            }
        }
        product
    }
}

/// Folds a convolution into the hyperfunction `id` whose context is the mean of its output.
fn fold_context(graph: &mut Rewriter, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let Op::Hyperfunction(_) = &node.op else { return None };
    let pool = graph.node(graph.links().producer(node.input(0)?)?);
    let Op::GlobalPool(PoolKind::Average) = &pool.op else { return None };
    let conv = Widening::before(graph, pool.input(0)?)?;
    let first = graph.constant(node.input(1)?)?;
    let &[hidden, columns] = first.shape() else { return None };
    let bias = match node.input(2) {
        Some(id) => Some(graph.constant(id).filter(|b| b.len() == hidden)?),
        None => None,
    };
    if columns != conv.outputs {
        return None;
    }
    let (weight, bias) = conv.compose(first, bias)?;
    let (pool_name, name) = (pool.name.clone(), node.name.clone());
    let weight = Tensor::new(&[hidden, conv.inputs], weight).ok()?;
    let weight = graph.add_constant(format!("{name}.fc1.weight"), weight);
    let bias = graph.add_constant(format!("{name}.fc1.bias"), Tensor::vector::<f32>(bias));
    let context = graph.apply(pool_name, Op::GlobalPool(PoolKind::Average), &[conv.input]);
    graph.edit(id, |node| {
        node.inputs[..3].copy_from_slice(&[Some(context), Some(weight), Some(bias)]);
    });
    Some(())
}

/// Folds a convolution into the one that computes the logits of the attention `id`.
fn fold_logits(graph: &mut Rewriter, id: NodeId) -> Option<()> {
    let Op::SpatialAttention(_) = &graph.node(id).op else { return None };
    let layer = graph.links().producer(graph.node(id).input(0)?)?;
    let node = graph.node(layer);
    let Op::Conv(op) = &node.op else { return None };
    let weight = graph.constant(node.input(1)?)?;
    let bias = match node.input(2) {
        Some(id) => Some(graph.constant(id).filter(|b| b.len() == 1)?),
        None => None,
    };
    let conv = Widening::before(graph, node.input(0)?)?;
    let &[1, outputs, ref kernel @ ..] = weight.shape() else { return None };
    if outputs != conv.outputs || !is_dense_pointwise(op, kernel) {
        return None;
    }
    let (weight, bias) = conv.compose(weight, bias)?;
    let name = node.name.clone();
    let weight = Tensor::new(&[1, conv.inputs, 1, 1], weight).ok()?;
    let weight = graph.add_constant(format!("{name}.weight"), weight);
    let bias = graph.add_constant(format!("{name}.bias"), Tensor::vector::<f32>(bias));
    let inputs = vec![Some(conv.input), Some(weight), Some(bias)];
    graph.edit(layer, |node| node.inputs = inputs);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::alone;
    use super::*;
    use crate::graph::{
        Conv, Dim, Graph, HiddenActivation, Hyperfunction, MaxAffine, Padding, SpatialAttention,
        Squash, TensorType,
    };
    use crate::reference;
    use crate::tensor::DType;

    fn wave(shape: &[usize], frequency: f32) -> Tensor {
        let count = shape.iter().product();
        Tensor::new(shape, (0..count).map(|i| (i as f32 * frequency).sin()).collect()).unwrap()
    }

    /// Returns a convolution from `inputs` to `outputs` channels with a DY-ReLU-C after it.
    fn network(inputs: usize, outputs: usize, strides: &[usize], bias: bool) -> Graph {
        let mut g = Graph::new("t");
        let dims = vec![Dim::symbol("N"), inputs.into(), 5.into(), 7.into()];
        let x = g.add_input("x", TensorType { dtype: DType::F32, dims });
        let conv = |strides: &[usize]| {
            Op::Conv(Conv {
                padding: Padding::Explicit(Vec::new()),
                strides: strides.to_vec(),
                dilations: Vec::new(),
                groups: 1,
            })
        };
        let mut layer = vec![x, g.add_constant("w", wave(&[outputs, inputs, 1, 1], 0.7))];
        if bias {
            layer.push(g.add_constant("b", wave(&[outputs], 1.3)));
        }
        let map = g.apply("conv", conv(strides), &layer);
        let context = g.apply("context", Op::GlobalPool(PoolKind::Average), &[map]);
        let mut of = |name: &str, shape: &[usize]| g.add_constant(name, wave(shape, 0.9));
        let weights = [of("w1", &[3, outputs]), of("b1", &[3]), of("w2", &[4 * outputs, 3])];
        let attention = of("wa", &[1, outputs, 1, 1]);
        let hyperfunction = Op::Hyperfunction(Hyperfunction {
            k: 2,
            hidden: HiddenActivation::Relu,
            squash: Squash::Sigmoid,
            init: vec![1.0, 0.0, 0.0, 0.0],
            lambda: vec![1.0, 1.0, 0.5, 0.5],
        });
        let inputs = [context, weights[0], weights[1], weights[2]];
        let coefficients = g.apply("hyperfunction", hyperfunction, &inputs);
        let z = g.apply("logits", conv(&[]), &[map, attention]);
        let op = SpatialAttention { tau: 10.0, gamma_per_position: 1.0 / 3.0 };
        let pi = g.apply("attention", Op::SpatialAttention(op), &[z]);
        let y = g.apply("max", Op::MaxAffine(MaxAffine { k: 2 }), &[map, coefficients, pi]);
        g.set_outputs(vec![y]);
        g
    }

    fn readers_of_conv(graph: &Graph) -> Vec<String> {
        let links = graph.links();
        let conv = graph.nodes().iter().find(|node| node.name == "conv").unwrap();
        let name = |id: &NodeId| graph.node(*id).name.clone();
        links.consumers(conv.output()).iter().map(name).collect()
    }

    #[test]
    fn results_stay_and_only_the_activation_reads_the_convolution() {
        for bias in [false, true] {
            let mut graph = network(3, 10, &[1, 1], bias);
            let x = [wave(&[2, 3, 5, 7], 0.37)];
            let want = reference::run(&graph, &x).unwrap();
            alone(&mut graph, pool_before_conv);
            assert_eq!(readers_of_conv(&graph), ["max"]);
            let got = reference::run(&graph, &x).unwrap();
            let (got, want) = (got[0].as_f32().unwrap(), want[0].as_f32().unwrap());
            for (got, want) in got.iter().zip(want) {
                assert!((got - want).abs() <= 1e-5 * want.abs().max(1.0), "{got} and not {want}");
            }
        }
    }

    #[test]
    fn convolutions_that_narrow_or_skip_positions_stay() {
        for mut graph in [network(10, 3, &[], true), network(3, 10, &[2, 2], true)] {
            alone(&mut graph, pool_before_conv);
            assert_eq!(readers_of_conv(&graph).len(), 3);
        }
    }
}
