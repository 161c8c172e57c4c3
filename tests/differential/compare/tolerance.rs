//! How far two right results may be apart.
//!
//! The engine rounds at other places than the reference: it joins layers, and takes sums in another
//! order. What that may do to a result depends on the network: a difference of two large numbers, an
//! exponential or a comparison makes much of little. So the reference runs again with noise in
//! everything that arithmetic reads, a few times as large as the rounding of a single-precision
//! number, and an element may be off by [`SHARE`] of its output's largest one and [`FACTOR`] times
//! what noise did to it. Integers and truth values must be equal unless noise changed them.
//!
//! Noise is relative to an element, with three exceptions. A sum is read with noise relative to its
//! operands: where the engine computes it twice, the two may round differently before they cancel. A sigmoid or hyperbolic tangent is exact to
//! the rounding of 1, not of its own size: near zero the one is made from the other. Winograd's
//! algorithm adds and subtracts neighbours, so that a small element suffers from a large one beside it.

use std::collections::{HashMap, HashSet};

use dyrelu::graph::{Binary, Graph, Node, Op, PoolKind, ReduceKind, Unary, ValueId, Variadic};
use dyrelu::{DType, Tensor, reference};

/// Of the largest element of an output.
const SHARE: f64 = 2e-5;

/// Times what noise does.
const FACTOR: f64 = 16.0;

/// The relative size of noise: 2^-21, where rounding is up to 2^-24.
const NOISE: f64 = 4.8e-7;

/// The rounding of an element of this type, in units of that of a single-precision one: networks of
/// other precisions are computed in single precision, and rounded where the reference rounds or not.
fn coarseness(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => f64::from(1 << 12),
        DType::BF16 => f64::from(1 << 15),
        _ => 1.0,
    }
}

/// Smaller numbers are as good as zero.
const TINY: f64 = 1e-30;

/// Runs with noise where an element is off by more than its share, and before a difference is
/// reported.
const FEW: usize = 2;
const MANY: usize = 40;

pub struct Tolerance<'c> {
    graph: &'c Graph,
    inputs: &'c [Tensor],
    expected: &'c [Tensor],
    /// For every output and element, the largest difference that noise has made; infinite where
    /// it was of another kind.
    effects: Vec<Vec<f64>>,
    runs: usize,
}

impl<'c> Tolerance<'c> {
    pub fn new(graph: &'c Graph, inputs: &'c [Tensor], expected: &'c [Tensor]) -> Self {
        let effects = expected.iter().map(|tensor| vec![0.0; tensor.len()]).collect();
        Tolerance { graph, inputs, expected, effects, runs: 0 }
    }

    fn run_until(&mut self, runs: usize) {
        for seed in self.runs..runs {
            // Where a result jumps, as in `Round`, little noise beside the edge makes nothing of it.
            let strength = if seed % 2 == 0 { 1.0 } else { FACTOR };
            let noisy = noisy_run(self.graph, self.inputs, seed as u64, strength);
            for (i, effects) in self.effects.iter_mut().enumerate() {
                let expected = numbers(&self.expected[i]);
                let noisy = noisy.as_ref().and_then(|outputs| outputs.get(i));
                let noisy = noisy.filter(|tensor| tensor.shape() == self.expected[i].shape());
                match noisy.map(numbers) {
                    Some(noisy) => {
                        for ((effect, x), y) in effects.iter_mut().zip(&expected).zip(&noisy) {
                            *effect = effect.max(distance(*x, *y) / strength.sqrt());
                        }
                    }
                    // Noise changed sizes, or whether elements are finite does not say enough.
                    None => effects.fill(f64::INFINITY),
                }
            }
        }
        self.runs = self.runs.max(runs);
    }

    /// Whether `found` is right.
    pub fn check(&mut self, found: &[Tensor]) -> Result<(), String> {
        let mut result = self.compare(found);
        for runs in [FEW, MANY] {
            if result.is_err() {
                self.run_until(runs);
                result = self.compare(found);
            }
        }
        result
    }

    fn compare(&self, found: &[Tensor]) -> Result<(), String> {
        if found.len() != self.expected.len() {
            return Err(format!("{} outputs", found.len()));
        }
        for (i, (found, expected)) in found.iter().zip(self.expected).enumerate() {
            let effects = &self.effects[i];
            if found.dtype() != expected.dtype() || found.shape() != expected.shape() {
                if effects.first().is_some_and(|effect| effect.is_infinite()) {
                    continue;
                }
                return Err(format!("output {i} is {found:?}, expected {expected:?}"));
            }
            let (found, expected) = (numbers(found), numbers(expected));
            let scale = expected.iter().filter(|x| x.is_finite()).fold(0f64, |m, x| m.max(x.abs()));
            let exact = !self.expected[i].dtype().is_float();
            let coarse = coarseness(self.expected[i].dtype()).sqrt();
            let share = if exact { 0.0 } else { SHARE * coarse * scale + TINY };
            for (at, (&x, &y)) in found.iter().zip(&expected).enumerate() {
                let allowed = share + FACTOR * effects[at];
                if distance(x, y) > allowed {
                    return Err(format!(
                        "output {i} at {at}: {x:e}, expected {y:e}, allowed {allowed:e}"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Zero for two NaNs and for equal infinities, infinite for numbers of different kinds.
fn distance(x: f64, y: f64) -> f64 {
    match (x - y).abs() {
        _ if x == y || (x.is_nan() && y.is_nan()) => 0.0,
        difference if difference.is_finite() => difference,
        _ => f64::INFINITY,
    }
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    let wide = tensor.cast(DType::F64).expect("every number fits");
    wide.as_slice::<f64>().expect("it was cast").to_vec()
}

/// Random numbers as large as rounding.
struct Noise {
    generator: fastrand::Rng,
    /// Times [`NOISE`].
    strength: f64,
}

impl Noise {
    fn next(&mut self) -> f64 {
        self.strength * NOISE * (2.0 * self.generator.f64() - 1.0)
    }
}

/// The outputs when everything that arithmetic reads is off by a little.
fn noisy_run(graph: &Graph, inputs: &[Tensor], seed: u64, strength: f64) -> Option<Vec<Tensor>> {
    let mut noise = Noise { generator: fastrand::Rng::with_seed(seed), strength };
    let mut values: HashMap<ValueId, Tensor> =
        graph.inputs().iter().copied().zip(inputs.iter().cloned()).collect();
    // The engine may compute a value twice, in two ways: whoever reads what was rounded reads it with
    // noise of its own.
    let mut rounded: HashSet<ValueId> = HashSet::new();
    let mut scales: HashMap<ValueId, Tensor> = HashMap::new();
    for node in graph.nodes() {
        let count = if rounds(&node.op) { noisy_inputs(&node.op) } else { 0 };
        let mut is_rounded = count > 0;
        let mut spreads = false;
        let mut given: Vec<Option<Tensor>> = Vec::new();
        for (i, id) in node.inputs.iter().enumerate() {
            let tensor = id.and_then(|id| values.get(&id).or(graph.constant(id)));
            let reads_rounded = id.is_some_and(|id| rounded.contains(&id));
            is_rounded |= reads_rounded;
            given.push(tensor.map(|tensor| match i < count || reads_rounded {
                true => {
                    // Winograd's algorithm spreads NaN and infinity over a tile.
                    spreads |= i == 0 && may_be_winograd(graph, node) && !is_finite(tensor);
                    let beside =
                        if i == 0 && may_be_winograd(graph, node) { largest(tensor) } else { 0.0 };
                    let scale = id.and_then(|id| scales.get(&id)).unwrap_or(tensor);
                    with_noise(tensor, scale, beside / 4.0, &mut noise)
                }
                false => tensor.clone(),
            }));
        }
        if spreads {
            return None;
        }
        let given: Vec<_> = given.iter().map(Option::as_ref).collect();
        let mut outputs = reference::evaluate(&node.op, &given, node.outputs.len()).ok()?;
        if is_rounded && matches!(node.op, Op::Binary(Binary::Equal)) {
            outputs = vec![equal_with_noise(&given, &outputs[0], &mut noise)?];
        }
        if is_rounded && matches!(node.op, Op::Cast { to: DType::Bool }) {
            let zero = Tensor::scalar(0f64);
            outputs = vec![equal_with_noise(&[given[0], Some(&zero)], &outputs[0], &mut noise)?];
        }
        for (id, mut tensor) in node.outputs.iter().zip(outputs) {
            if is_bounded(&node.op) {
                tensor = with_noise(&tensor, &tensor, 1.0, &mut noise);
            }
            let is_sum = matches!(node.op, Op::Binary(Binary::Add | Binary::Sub));
            if let Some(id) = id.filter(|_| tensor.dtype().is_float()) {
                if is_sum {
                    scales.insert(id, size_of_operands(&given)?);
                } else if is_bounded(&node.op) {
                    let ones = vec![1f64; tensor.len()];
                    scales.insert(id, Tensor::new(tensor.shape(), ones).ok()?);
                }
            }
            values.extend(id.map(|id| (id, tensor)));
            rounded.extend(id.filter(|_| is_rounded));
        }
    }
    graph.outputs().iter().map(|id| values.get(id).or(graph.constant(*id)).cloned()).collect()
}

/// Noise relative to each element of `scale`, and some relative to `beside`.
fn with_noise(tensor: &Tensor, scale: &Tensor, beside: f64, noise: &mut Noise) -> Tensor {
    if !tensor.dtype().is_float() {
        return tensor.clone();
    }
    let size = coarseness(tensor.dtype());
    let mut random = || size * noise.next();
    let elements = numbers(tensor).into_iter().zip(numbers(scale));
    // Numbers below the normal ones are zero in some kernels.
    let tiny = TINY / NOISE;
    let noisy = elements.map(|(x, scale)| x + scale * random() + (beside + tiny) * random());
    let noisy = noisy.collect();
    let noisy =
        Tensor::new(tensor.shape(), noisy).and_then(|noisy: Tensor| noisy.cast(tensor.dtype()));
    noisy.expect("it has as many elements")
}

/// Whether elements are equal, where those that nearly are may be or not: noise takes equality away,
/// but does not bring it about.
fn equal_with_noise(
    operands: &[Option<&Tensor>],
    equal: &Tensor,
    noise: &mut Noise,
) -> Option<Tensor> {
    let sizes = size_of_operands(operands)?;
    let [a, b] = [operands[0]?, operands[1]?].map(|operand| operand.cast(DType::F64));
    let distances = evaluate(Op::Binary(Binary::Sub), &[&a.ok()?, &b.ok()?])?;
    let near = FACTOR * NOISE * coarseness(operands[0]?.dtype());
    let elements = numbers(&distances).into_iter().zip(numbers(&sizes)).zip(numbers(equal));
    let elements = elements.map(|((distance, size), equal)| {
        if distance.abs() <= near * (1.0 + size) { noise.next() > 0.0 } else { equal != 0.0 }
    });
    Tensor::from_bools(equal.shape(), elements.collect::<Vec<_>>()).ok()
}

/// The sum of the absolute values of two operands.
fn size_of_operands(operands: &[Option<&Tensor>]) -> Option<Tensor> {
    let [a, b] = [operands[0]?, operands[1]?].map(|operand| operand.cast(DType::F64).ok());
    let [a, b] = [a?, b?].map(|operand| evaluate(Op::Unary(Unary::Abs), &[&operand]));
    evaluate(Op::Binary(Binary::Add), &[&a?, &b?])
}

fn evaluate(op: Op, inputs: &[&Tensor]) -> Option<Tensor> {
    let inputs: Vec<_> = inputs.iter().map(|&tensor| Some(tensor)).collect();
    reference::evaluate(&op, &inputs, 1).ok()?.pop()
}

fn is_finite(tensor: &Tensor) -> bool {
    numbers(tensor).into_iter().all(f64::is_finite)
}

fn largest(tensor: &Tensor) -> f64 {
    numbers(tensor).into_iter().filter(|x| x.is_finite()).fold(0.0, |m, x| m.max(x.abs()))
}

/// Whether the operator is a squashing function, or ends in one.
fn is_bounded(op: &Op) -> bool {
    matches!(
        op,
        Op::Unary(Unary::Sigmoid | Unary::Tanh | Unary::HardSigmoid { .. }) | Op::Hyperfunction(_)
    )
}

fn may_be_winograd(graph: &Graph, node: &Node) -> bool {
    let weight = node.input(1).and_then(|weight| graph.constant(weight));
    matches!(node.op, Op::Conv(_)) && weight.is_some_and(|w| w.shape().ends_with(&[3, 3]))
}

/// How many of the inputs are operands and not sizes.
fn noisy_inputs(op: &Op) -> usize {
    match op {
        Op::Reduce(_) | Op::Resize(_) => 1,
        _ => usize::MAX,
    }
}

/// Whether the operator computes new numbers, and does not move or compare those that it is given.
fn rounds(op: &Op) -> bool {
    match op {
        Op::Unary(unary) => !matches!(
            unary,
            Unary::Relu
                | Unary::Neg
                | Unary::Abs
                | Unary::Sign
                | Unary::Floor
                | Unary::Ceil
                | Unary::Round
                | Unary::ThresholdedRelu { .. }
                | Unary::Not
        ),
        Op::Binary(binary) => {
            use dyrelu::graph::Binary::*;
            matches!(binary, Add | Sub | Mul | Div | Pow | Mod { .. })
        }
        Op::Variadic(variadic) => matches!(variadic, Variadic::Sum | Variadic::Mean),
        Op::Pool(pool) => pool.kind == PoolKind::Average,
        Op::GlobalPool(kind) => *kind == PoolKind::Average,
        Op::Reduce(reduce) => !matches!(reduce.kind, ReduceKind::Max | ReduceKind::Min),
        Op::Conv(_)
        | Op::ConvTranspose(_)
        | Op::Gemm(_)
        | Op::MatMul
        | Op::BatchNormalization { .. }
        | Op::InstanceNormalization { .. }
        | Op::LayerNormalization { .. }
        | Op::GroupNormalization { .. }
        | Op::PRelu
        | Op::Softmax(_)
        | Op::LogSoftmax(_)
        | Op::Resize(_)
        | Op::Hyperfunction(_)
        | Op::MaxAffine(_)
        | Op::SpatialAttention(_) => true,
        // A rounding that the engine may leave out.
        Op::Cast { to } => to.is_float(),
        _ => false,
    }
}
