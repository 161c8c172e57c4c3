//! Tests of every operation against its definition, on every instruction set of the machine.

use super::arithmetic::{Operation, combine};
use super::function::{Function, apply};
use super::normalise::{Scaling, normalise};
use super::reduce::{Reduction, reduce};
use super::softmax::softmax;
use super::strided::{Axis, copy};
use crate::graph::{Op, Softmax, Unary};
use crate::kernels::activation::Activation;
use crate::kernels::guarded::Guarded;
use crate::reference;
use crate::simd::Isa;
use crate::simd::testing::isa_tests;
use crate::tensor::Tensor;

isa_tests!(
    functions,
    functions_of_extremes,
    operations,
    strided_copies,
    soft_maxima,
    soft_maxima_of_extremes,
    normalised_groups,
    reductions,
    extremes_of_reductions,
);

/// Lengths around those of vectors, tiles and blocks.
const LENGTHS: [usize; 9] = [0, 1, 7, 8, 17, 64, 65, 131, 2500];

fn wave(len: usize, frequency: f32) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * frequency).sin() * 3.0 + 0.1).collect()
}

fn assert_close(found: &[f32], expected: &[f32], tolerance: f32, case: &str) {
    assert_eq!(found.len(), expected.len(), "{case}");
    for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let equal = found == expected || (found.is_nan() && expected.is_nan());
        let close = (found - expected).abs() <= tolerance * expected.abs().max(1.0);
        assert!(equal || close, "expected {expected}, found {found} at {i}: {case}");
    }
}

fn reference_of(op: Op, shape: &[usize], x: &[f32]) -> Vec<f32> {
    let x = Tensor::new(shape, x.to_vec()).unwrap();
    reference::evaluate(&op, &[Some(&x)], 1).unwrap()[0].as_f32().unwrap().to_vec()
}

fn unary_functions() -> Vec<(Function, Unary)> {
    let activation = Function::Activation;
    vec![
        (activation(Activation::Clamp { low: 0.0, high: f32::INFINITY }), Unary::Relu),
        (activation(Activation::LeakyRelu { alpha: 0.1 }), Unary::LeakyRelu { alpha: 0.1 }),
        (activation(Activation::Sigmoid), Unary::Sigmoid),
        (activation(Activation::Swish { alpha: 1.5 }), Unary::Swish { alpha: 1.5 }),
        (activation(Activation::HardSwish), Unary::HardSwish),
        (activation(Activation::Gelu), Unary::Gelu { tanh: false }),
        (activation(Activation::GeluTanh), Unary::Gelu { tanh: true }),
        (activation(Activation::Mish), Unary::Mish),
        (activation(Activation::Tanh), Unary::Tanh),
        (Function::Threshold { alpha: 0.5 }, Unary::ThresholdedRelu { alpha: 0.5 }),
        (Function::Softplus, Unary::Softplus),
        (Function::Softsign, Unary::Softsign),
        (Function::Exponential, Unary::Exp),
        (Function::Logarithm, Unary::Log),
        (Function::SquareRoot, Unary::Sqrt),
        (Function::Reciprocal, Unary::Reciprocal),
        (Function::Negative, Unary::Neg),
        (Function::Absolute, Unary::Abs),
        (Function::Sign, Unary::Sign),
        (Function::Floor, Unary::Floor),
        (Function::Ceiling, Unary::Ceil),
        (Function::Round, Unary::Round),
        (Function::Error, Unary::Erf),
        (Function::Sine, Unary::Sin),
        (Function::Cosine, Unary::Cos),
    ]
}

fn functions(isa: Isa) {
    for len in LENGTHS {
        let x = wave(len, 0.37);
        for (function, unary) in unary_functions() {
            let mut y = Guarded::from_numbers(&x);
            apply(isa, function, &mut y);
            let expected = reference_of(Op::Unary(unary), &[len], &x);
            let case = format!("{function:?} of {len}");
            assert_close(y.written(&case), &expected, 4e-6, &case);
        }
        let mut squares = x.clone();
        apply(isa, Function::Square, &mut squares);
        let expected: Vec<f32> = x.iter().map(|x| x * x).collect();
        assert_eq!(squares, expected, "{len}");
    }
}

fn functions_of_extremes(isa: Isa) {
    let infinity = f32::INFINITY;
    let x = [f32::NAN, infinity, -infinity, 0.0, -0.0, 88.6, 100.0, -100.0, -103.0, 1e30, -1e30];
    for (function, unary) in unary_functions() {
        // What an activation does with infinities is tested with the epilogues.
        let count = if matches!(function, Function::Activation(_)) { 1 } else { x.len() };
        // Sines of numbers as large as these have no correct digits in single precision.
        let count = if matches!(unary, Unary::Sin | Unary::Cos) { 5 } else { count };
        let mut y = x[..count].to_vec();
        apply(isa, function, &mut y);
        let expected = reference_of(Op::Unary(unary), &[count], &x[..count]);
        assert_close(&y, &expected, 1e-5, &format!("{function:?}"));
    }
}

fn operations(isa: Isa) {
    type Function = fn(f32, f32) -> f32;
    let cases: [(Operation, Function); 8] = [
        (Operation::Sum, |a, b| a + b),
        (Operation::Difference, |a, b| a - b),
        (Operation::Product, |a, b| a * b),
        (Operation::Quotient, |a, b| a / b),
        (Operation::Power, f32::powf),
        (Operation::Maximum, |a, b| if a.is_nan() || b.is_nan() { f32::NAN } else { a.max(b) }),
        (Operation::Minimum, |a, b| if a.is_nan() || b.is_nan() { f32::NAN } else { a.min(b) }),
        (Operation::Slope, |a, b| if a < 0.0 { b * a } else { a }),
    ];
    // The sizes of the axes, and the strides of the operand that is broadcast.
    let shapes: [&[(usize, isize)]; 9] = [
        &[],
        &[(19, 1)],
        &[(19, 0)],
        &[(3, 0), (17, 1)],
        &[(3, 1), (17, 0)],
        &[(2, 15), (3, 0), (5, 3), (3, 1)],
        &[(2, 0), (3, 1), (1, 0), (33, 0)],
        &[(5, 0), (1, 1), (8, 0)],
        &[(0, 7), (7, 1)],
    ];
    for axes in shapes {
        let axes: Vec<Axis> = axes.iter().map(|&(size, stride)| Axis { size, stride }).collect();
        let count = axes.iter().map(|axis| axis.size).product();
        let (mut y, other) = (wave(count, 0.71), wave(60, 0.43));
        if let [first, .., last] = y.as_mut_slice() {
            (*first, *last) = (f32::NAN, f32::NEG_INFINITY);
        }
        for (operation, function) in cases {
            for is_second in [false, true] {
                let mut found = Guarded::from_numbers(&y);
                combine(isa, operation, &mut found, is_second, &other, &axes);
                let expected: Vec<f32> = (0..count)
                    .map(|i| {
                        let other = other[place(&axes, i) as usize];
                        if is_second { function(other, y[i]) } else { function(y[i], other) }
                    })
                    .collect();
                let case = format!("{operation:?} {is_second} of {axes:?}");
                assert_close(found.written(&case), &expected, 1e-6, &case);
            }
        }
    }
}

/// The place of entry `i` of `axes`, relative to the first.
fn place(axes: &[Axis], mut i: usize) -> isize {
    let mut place = 0;
    for axis in axes.iter().rev() {
        place += (i % axis.size) as isize * axis.stride;
        i /= axis.size;
    }
    place
}

fn strided_copies(isa: Isa) {
    // The first element, the sizes and the strides.
    let cases: [(usize, &[(usize, isize)]); 16] = [
        (3, &[]),
        (0, &[(7, 1)]),
        (2, &[(3, 10), (7, 1)]),
        (0, &[(9, 0), (7, 1)]),
        (0, &[(5, 1), (3, 0)]),
        (29, &[(10, -3)]),
        (25, &[(3, -7), (7, 1)]),
        (0, &[(17, 1), (9, 17)]),
        (0, &[(16, 1), (24, 16)]),
        (0, &[(8, 1), (8, 8)]),
        (5, &[(2, 221), (17, 1), (13, 17)]),
        (0, &[(13, 17), (2, 221), (17, 1)]),
        (0, &[(17, 1), (2, 221), (13, 17)]),
        (0, &[(3, 0), (9, 1), (1, 5), (2, 99), (11, 9)]),
        (0, &[(9, 1), (11, -9)]),
        (0, &[(4, 1), (0, 3)]),
    ];
    for (start, axes) in cases {
        let axes: Vec<Axis> = axes.iter().map(|&(size, stride)| Axis { size, stride }).collect();
        let start = if axes.iter().any(|axis| axis.stride == -9) { 90 } else { start };
        let count = axes.iter().map(|axis| axis.size).product();
        let seen = |i: usize| start.wrapping_add_signed(place(&axes, i));
        let needed = (0..count).map(seen).max().map_or(0, |last| last + 1);
        let x = Guarded::from_numbers(&wave(needed, 0.3));
        let mut y = vec![777.0];
        copy(isa, &x, start, &axes, &mut y);
        let expected: Vec<f32> = (0..count).map(|i| x[seen(i)]).collect();
        assert_eq!(y[0], 777.0);
        assert_eq!(&y[1..], expected, "{start} {axes:?}");
        if count > 0 {
            let short = x[..needed - 1].to_vec();
            let refused = std::panic::catch_unwind(|| {
                copy(isa, &short, start, &axes, &mut Vec::new());
            });
            assert!(refused.is_err(), "{start} {axes:?}");
        }
    }
}

fn soft_maxima(isa: Isa) {
    for (outer, size, inner) in [
        (1, 1, 1),
        (3, 5, 1),
        (2, 49, 1),
        (1, 300, 1),
        (2, 7, 3),
        (2, 5, 16),
        (1, 9, 37),
        (2, 0, 3),
    ] {
        let shape = [outer, size, inner];
        let x = wave(outer * size * inner, 0.57);
        for logarithm in [false, true] {
            let mut y = Guarded::from_numbers(&x);
            softmax(isa, &mut y, [size, inner], logarithm);
            let op = Softmax { axis: 1, flatten: false };
            let op = if logarithm { Op::LogSoftmax(op) } else { Op::Softmax(op) };
            let case = format!("{shape:?} {logarithm}");
            assert_close(y.written(&case), &reference_of(op, &shape, &x), 2e-6, &case);
        }
    }
}

fn soft_maxima_of_extremes(isa: Isa) {
    let infinity = f32::INFINITY;
    for inner in [1, 2] {
        for (line, expected) in [
            // What is masked has no weight at all.
            ([0.0, -infinity, 0.0, -1e9], [0.5, 0.0, 0.5, 0.0]),
            ([-infinity; 4], [f32::NAN; 4]),
            ([infinity, 0.0, 1.0, 2.0], [f32::NAN; 4]),
            ([f32::NAN, 0.0, 1.0, 2.0], [f32::NAN; 4]),
            ([1000.0, -1000.0, 1000.0, 0.0], [0.5, 0.0, 0.5, 0.0]),
        ] {
            let repeated = |line: [f32; 4]| line.into_iter().flat_map(|x| vec![x; inner]);
            let mut y: Vec<f32> = repeated(line).collect();
            softmax(isa, &mut y, [4, inner], false);
            let expected: Vec<f32> = repeated(expected).collect();
            assert_close(&y, &expected, 0.0, &format!("{line:?} {inner}"));
        }
    }
}

fn normalised_groups(isa: Isa) {
    // The number and the size of groups, and the length of runs.
    for (groups, size, run) in [(3, 1, 1), (5, 17, 1), (2, 192, 1), (4, 35, 7), (6, 5000, 2500)] {
        let x: Vec<f32> = wave(groups * size, 0.77).iter().map(|x| x + 5.0).collect();
        let numbers = if run == 1 { size } else { 2 * size / run };
        let (scale, bias) = (wave(numbers, 0.3), wave(numbers, 0.9));
        for given in 0..4 {
            let scale = (given & 1 > 0).then_some(scale.as_slice());
            let bias = (given & 2 > 0).then_some(bias.as_slice());
            let mut y = Guarded::from_numbers(&x);
            normalise(isa, &mut y, size, 1e-3, Scaling { scale, bias, run });
            let mut expected = Vec::new();
            for (i, group) in x.chunks_exact(size).enumerate() {
                let group: Vec<f64> = group.iter().map(|&x| f64::from(x)).collect();
                let mean = group.iter().sum::<f64>() / size as f64;
                let squares = group.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>();
                let factor = 1.0 / (squares / size as f64 + 1e-3).sqrt();
                expected.extend(group.iter().enumerate().map(|(j, x)| {
                    let at = (i * size + j) / run % numbers;
                    let scale = scale.map_or(1.0, |scale| f64::from(scale[at]));
                    let bias = bias.map_or(0.0, |bias| f64::from(bias[at]));
                    ((x - mean) * factor * scale + bias) as f32
                }));
            }
            let case = format!("{groups} {size} {run} {given}");
            assert_close(y.written(&case), &expected, 1e-5, &case);
        }
    }
}

fn reductions(isa: Isa) {
    type Fold = fn(f64, f64) -> f64;
    for (outer, size, inner) in [
        (1, 1, 1),
        (3, 19, 1),
        (2, 3000, 1),
        (2, 5, 3),
        (1, 300, 16),
        (2, 7, 37),
        (3, 0, 2),
        (0, 3, 2),
    ] {
        let x = wave(outer * size * inner, 0.57);
        let cases: [(Reduction, f64, Fold); 5] = [
            (Reduction::Sum, 0.0, |a, x| a + x),
            (Reduction::SumOfSquares, 0.0, |a, x| a + x * x),
            (Reduction::SumOfMagnitudes, 0.0, |a, x| a + x.abs()),
            (Reduction::Maximum, f64::NEG_INFINITY, f64::max),
            (Reduction::Minimum, f64::INFINITY, f64::min),
        ];
        for (reduction, start, fold) in cases {
            let mut y = Guarded::unwritten(outer * inner);
            reduce(isa, reduction, &x, size, inner, &mut y);
            let expected: Vec<f32> = (0..outer * inner)
                .map(|i| {
                    let first = i / inner * size * inner + i % inner;
                    let line = (0..size).map(|j| f64::from(x[first + j * inner]));
                    line.fold(start, fold) as f32
                })
                .collect();
            let case = format!("{reduction:?} of {outer} x {size} x {inner}");
            let tolerance = 1e-6 * (size as f32).max(1.0).sqrt();
            assert_close(y.written(&case), &expected, tolerance, &case);
        }
    }
}

fn extremes_of_reductions(isa: Isa) {
    let (infinity, nan) = (f32::INFINITY, f32::NAN);
    for inner in [1, 3] {
        for (line, most, least) in [
            ([1.0, nan, 2.0], nan, nan),
            ([-infinity; 3], -infinity, -infinity),
            ([0.0, infinity, -infinity], infinity, -infinity),
        ] {
            let x: Vec<f32> = line.into_iter().flat_map(|x| vec![x; inner]).collect();
            for (reduction, expected) in [(Reduction::Maximum, most), (Reduction::Minimum, least)] {
                let mut y = vec![0.0; inner];
                reduce(isa, reduction, &x, 3, inner, &mut y);
                assert_close(&y, &vec![expected; inner], 0.0, &format!("{reduction:?} {line:?}"));
            }
        }
    }
}
