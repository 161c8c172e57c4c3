//! Decides whether a difference can be due to rounding.
//!
//! The engine rounds at other places than the reference, because it fuses layers and sums in another
//! order. The effect on a result depends on the network: a difference of two large numbers, an
//! exponential or a comparison amplifies small errors. To measure the effect, the reference runs again
//! with noise added to all operands of arithmetic. The noise is a few times as large as the rounding
//! error of a single-precision number. The allowed difference of an element is [`SHARE`] of the largest
//! element of its output, plus [`FACTOR`] times the effect of the noise on it. Integers and booleans
//! must be equal unless noise changed them.
//!
//! Noise is relative to the element, with three exceptions. The noise of a sum is relative to its
//! operands, because the engine may compute a sum twice with different roundings, which then do not
//! cancel. The absolute error of a sigmoid or hyperbolic tangent is that of numbers of magnitude 1,
//! because near zero one is computed from the other. Winograd's algorithm adds and subtracts
//! neighbouring elements, so the error of a small element depends on large ones beside it.

use std::collections::{HashMap, HashSet};

use dyrelu::graph::{Binary, Graph, Node, Op, PoolKind, ReduceKind, Unary, ValueId, Variadic};
use dyrelu::{DType, Tensor, reference};

/// The allowed difference, as a share of the largest element of the output.
const SHARE: f64 = 2e-5;

/// The allowed difference, as a multiple of the effect of noise.
const FACTOR: f64 = 16.0;

/// The relative size of noise, 2^-21. Rounding errors of single precision are at most 2^-24.
const NOISE: f64 = 4.8e-7;

/// The rounding error of a type, in units of that of single precision.
///
/// The engine computes networks of half precision in single precision, and may or may not round where
/// the reference rounds.
fn coarseness(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => f64::from(1 << 12),
        DType::BF16 => f64::from(1 << 15),
        _ => 1.0,
    }
}

/// Smaller differences are always allowed.
const TINY: f64 = 1e-30;

/// The number of noisy runs once an element differs by more than its share.
const FEW: usize = 2;
/// The number of noisy runs before a difference is reported.
const MANY: usize = 40;

/// The expected outputs of a network, and the differences from them that rounding can explain.
pub struct Tolerance<'c> {
    graph: &'c Graph,
    inputs: &'c [Tensor],
    expected: &'c [Tensor],
    /// For every output and element, the largest effect of noise so far. It is infinite if noise
    /// changed the shape, or a number to an infinity or NaN.
    effects: Vec<Vec<f64>>,
    /// The number of noisy runs so far.
    runs: usize,
}

impl<'c> Tolerance<'c> {
    pub fn new(graph: &'c Graph, inputs: &'c [Tensor], expected: &'c [Tensor]) -> Self {
        let effects = expected.iter().map(|tensor| vec![0.0; tensor.len()]).collect();
        Tolerance { graph, inputs, expected, effects, runs: 0 }
    }

    fn run_until(&mut self, runs: usize) {
        for seed in self.runs..runs {
            // Strong noise reaches discontinuities, as of `Round`, which weak noise does not. Of its
            // effect twice the share of weak noise counts: an element may differ by a jump and more.
            let (strength, divisor) =
                if seed % 2 == 0 { (1.0, 1.0) } else { (FACTOR, FACTOR / 2.0) };
            let noisy = noisy_run(self.graph, self.inputs, seed as u64, strength);
            for (i, effects) in self.effects.iter_mut().enumerate() {
                let expected = numbers(&self.expected[i]);
                let noisy = noisy.as_ref().and_then(|outputs| outputs.get(i));
                let noisy = noisy.filter(|tensor| tensor.shape() == self.expected[i].shape());
                match noisy.map(numbers) {
                    Some(noisy) => {
                        for ((effect, x), y) in effects.iter_mut().zip(&expected).zip(&noisy) {
                            *effect = effect.max(distance(*x, *y) / divisor);
                        }
                    }
                    // Noise changed the shape, or the run with noise failed.
                    None => effects.fill(f64::INFINITY),
                }
            }
        }
        self.runs = self.runs.max(runs);
    }

    /// Checks that the outputs differ from the expected ones by no more than rounding explains.
    pub fn check(&mut self, outputs: &[Tensor]) -> Result<(), String> {
        let mut result = self.compare(outputs);
        for runs in [FEW, MANY] {
            if result.is_err() {
                self.run_until(runs);
                result = self.compare(outputs);
            }
        }
        result
    }

    fn compare(&self, outputs: &[Tensor]) -> Result<(), String> {
        if outputs.len() != self.expected.len() {
            return Err(format!("{} outputs", outputs.len()));
        }
        for (i, (output, expected)) in outputs.iter().zip(self.expected).enumerate() {
            let effects = &self.effects[i];
            if output.dtype() != expected.dtype() || output.shape() != expected.shape() {
                if effects.first().is_some_and(|effect| effect.is_infinite()) {
                    continue;
                }
                return Err(format!("output {i} is {output:?}, expected {expected:?}"));
            }
            let (output, expected) = (numbers(output), numbers(expected));
            let scale = expected.iter().filter(|x| x.is_finite()).fold(0f64, |m, x| m.max(x.abs()));
            let exact = !self.expected[i].dtype().is_float();
            let coarse = coarseness(self.expected[i].dtype()).sqrt();
            let share = if exact { 0.0 } else { SHARE * coarse * scale + TINY };
            for (at, (&x, &y)) in output.iter().zip(&expected).enumerate() {
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

/// The absolute difference. It is 0 for two NaN and for equal infinities, and infinite if one number
/// is NaN or infinite and the other is not equal to it.
fn distance(x: f64, y: f64) -> f64 {
    match (x - y).abs() {
        _ if x == y || (x.is_nan() && y.is_nan()) => 0.0,
        difference if difference.is_finite() => difference,
        _ => f64::INFINITY,
    }
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    let wide = tensor.cast(DType::F64).expect("every type can be cast to f64");
    wide.as_slice::<f64>().expect("the tensor is of type f64").to_vec()
}

/// A generator of noise.
struct Noise {
    generator: fastrand::Rng,
    /// The size of the noise, as a multiple of [`NOISE`].
    strength: f64,
}

impl Noise {
    fn next(&mut self) -> f64 {
        self.strength * NOISE * (2.0 * self.generator.f64() - 1.0)
    }
}

/// Runs the reference with noise added to the operands of arithmetic.
///
/// Returns `None` if that fails, or if noise cannot show the effect of rounding.
fn noisy_run(graph: &Graph, inputs: &[Tensor], seed: u64, strength: f64) -> Option<Vec<Tensor>> {
    let mut noise = Noise { generator: fastrand::Rng::with_seed(seed), strength };
    let mut values: HashMap<ValueId, Tensor> =
        graph.inputs().iter().copied().zip(inputs.iter().cloned()).collect();
    // The engine may compute a value twice, in two ways. Therefore every reader of a rounded value
    // gets noise of its own.
    let mut rounded: HashSet<ValueId> = HashSet::new();
    // The numbers to which the noise of a value is relative, where these are not its elements.
    let mut scales: HashMap<ValueId, Tensor> = HashMap::new();
    for node in graph.nodes() {
        let count = if rounds(&node.op) { noisy_inputs(&node.op) } else { 0 };
        let mut is_rounded = count > 0;
        let mut spreads = false;
        let mut operands: Vec<Option<Tensor>> = Vec::new();
        for (i, id) in node.inputs.iter().enumerate() {
            let tensor = id.and_then(|id| values.get(&id).or(graph.constant(id)));
            let reads_rounded = id.is_some_and(|id| rounded.contains(&id));
            is_rounded |= reads_rounded;
            operands.push(tensor.map(|tensor| match i < count || reads_rounded {
                true => {
                    // Winograd's algorithm spreads NaN and infinities over a tile.
                    spreads |= i == 0 && may_be_winograd(graph, node) && !is_finite(tensor);
                    let neighbour =
                        if i == 0 && may_be_winograd(graph, node) { largest(tensor) } else { 0.0 };
                    let scale = id.and_then(|id| scales.get(&id)).unwrap_or(tensor);
                    with_noise(tensor, scale, neighbour / 4.0, &mut noise)
                }
                false => tensor.clone(),
            }));
        }
        if spreads {
            return None;
        }
        let operands: Vec<_> = operands.iter().map(Option::as_ref).collect();
        let mut outputs = reference::evaluate(&node.op, &operands, node.outputs.len()).ok()?;
        if is_rounded && matches!(node.op, Op::Binary(Binary::Equal)) {
            outputs = vec![equal_with_noise(&operands, &outputs[0], &mut noise)?];
        }
        if is_rounded && matches!(node.op, Op::Cast { to: DType::Bool }) {
            let zero = Tensor::scalar(0f64);
            outputs = vec![equal_with_noise(&[operands[0], Some(&zero)], &outputs[0], &mut noise)?];
        }
        for (id, mut tensor) in node.outputs.iter().zip(outputs) {
            if is_bounded(&node.op) {
                tensor = with_noise(&tensor, &tensor, 1.0, &mut noise);
            }
            let is_sum = matches!(node.op, Op::Binary(Binary::Add | Binary::Sub));
            if let Some(id) = id.filter(|_| tensor.dtype().is_float()) {
                if is_sum {
                    scales.insert(id, sum_of_magnitudes(&operands)?);
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

/// Adds noise relative to each element of `scale`, and noise relative to `magnitude`.
fn with_noise(tensor: &Tensor, scale: &Tensor, magnitude: f64, noise: &mut Noise) -> Tensor {
    if !tensor.dtype().is_float() {
        return tensor.clone();
    }
    let size = coarseness(tensor.dtype());
    let mut random = || size * noise.next();
    let elements = numbers(tensor).into_iter().zip(numbers(scale));
    // Some kernels treat subnormal numbers as zero.
    let tiny = TINY / NOISE;
    let noisy = elements.map(|(x, scale)| x + scale * random() + (magnitude + tiny) * random());
    let noisy = noisy.collect();
    let noisy =
        Tensor::new(tensor.shape(), noisy).and_then(|noisy: Tensor| noisy.cast(tensor.dtype()));
    noisy.expect("the number of elements is the same")
}

/// Compares elements for equality. For elements that are nearly equal, the result is random, because
/// noise on the operands can make equal numbers differ, but hardly makes different numbers equal.
fn equal_with_noise(
    operands: &[Option<&Tensor>],
    equal: &Tensor,
    noise: &mut Noise,
) -> Option<Tensor> {
    let magnitudes = sum_of_magnitudes(operands)?;
    let [a, b] = [operands[0]?, operands[1]?].map(|operand| operand.cast(DType::F64));
    let distances = evaluate(Op::Binary(Binary::Sub), &[&a.ok()?, &b.ok()?])?;
    let near = FACTOR * NOISE * coarseness(operands[0]?.dtype());
    let elements = numbers(&distances).into_iter().zip(numbers(&magnitudes)).zip(numbers(equal));
    let elements = elements.map(|((distance, magnitude), equal)| {
        if distance.abs() <= near * (1.0 + magnitude) { noise.next() > 0.0 } else { equal != 0.0 }
    });
    Tensor::from_bools(equal.shape(), elements.collect::<Vec<_>>()).ok()
}

/// The sum of the absolute values of two operands.
fn sum_of_magnitudes(operands: &[Option<&Tensor>]) -> Option<Tensor> {
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

/// Whether the operator is a squashing function or ends with one.
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

/// The number of leading inputs that are operands of arithmetic, not sizes or axes.
fn noisy_inputs(op: &Op) -> usize {
    match op {
        Op::Reduce(_) | Op::Resize(_) => 1,
        _ => usize::MAX,
    }
}

/// Whether the operator computes new numbers, rather than moving or comparing its operands.
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
        | Op::DeformConv(_)
        | Op::GridSample(_)
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
        // The engine may omit this rounding.
        Op::Cast { to } => to.is_float(),
        _ => false,
    }
}
