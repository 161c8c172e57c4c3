use half::f16;

use super::testing::isa_tests;
use super::*;

/// Applies the operation `name` to eight numbers.
struct Apply<'a> {
    name: &'a str,
    x: [f32; LANES],
    y: [f32; LANES],
}

impl Vectorised for Apply<'_> {
    type Output = [f32; LANES];

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [f32; LANES] {
        assert_eq!(S::WIDTH, LANES);
        // SAFETY: both arrays hold a vector.
        let (x, y) = unsafe { (s.load(self.x.as_ptr()), s.load(self.y.as_ptr())) };
        let z = match self.name {
            "max" => s.max(x, y),
            "at_least" => s.at_least(x, s.splat(0.5)),
            "at_most" => s.at_most(x, s.splat(0.5)),
            "exp" => exp(s, x),
            "sigmoid" => sigmoid(s, x),
            "tanh" => tanh(s, x),
            "sum" => s.splat(s.sum(x)),
            "mul_add" => s.mul_add(x, y, s.splat(2.0)),
            "times_sigmoid" => times_sigmoid(s, x, s.mul(x, y)),
            "scale" => s.scale(y, s.round(s.add(x, s.splat(0.25)))),
            "permute" => s.permute(x, &REVERSED),
            "f16" => {
                let halves = self.x.map(f16::from_f32);
                // SAFETY: the array holds a vector of halves.
                unsafe { s.load_f16(halves.as_ptr()) }
            }
            "i16" => {
                let integers = self.x.map(as_i16);
                // SAFETY: the array holds a vector of integers.
                unsafe { s.load_i16(integers.as_ptr()) }
            }
            "i8" => {
                let integers = self.x.map(as_i8);
                // SAFETY: the array holds a vector of integers.
                unsafe { s.load_i8(integers.as_ptr()) }
            }
            other => panic!("no operation {other}"),
        };
        let mut result = [0.0; LANES];
        // SAFETY: the array holds a vector.
        unsafe { s.store(result.as_mut_ptr(), z) };
        result
    }
}

/// An integer of either sign, and of any size.
fn as_i16(x: f32) -> i16 {
    (x * 400.0) as i16
}

/// An integer of either sign, of the smallest and of the largest size.
fn as_i8(x: f32) -> i8 {
    (x * 4.0) as i8
}

const X: [f32; LANES] = [-90.0, -3.5, -0.3, 0.0, 0.7, 2.5, 20.0, 80.0];
const REVERSED: [u32; LANES] = [7, 6, 5, 4, 3, 2, 1, 0];
const Y: [f32; LANES] = [1.0, -4.0, 0.3, -0.0, 0.6, 3.0, -2.0, 0.0];

fn operations_agree_with_scalar_code(isa: Isa) {
    let total = ((X[0] + X[4]) + (X[2] + X[6])) + ((X[1] + X[5]) + (X[3] + X[7]));
    type Scalar<'a> = &'a dyn Fn(f32, f32) -> f32;
    let from_end = |x: f32| X[LANES - 1 - X.iter().position(|&other| other == x).unwrap_or(0)];
    let operations: [(&str, Scalar); 14] = [
        ("max", &|x, y| x.max(y)),
        ("at_least", &|x, _| x.max(0.5)),
        ("at_most", &|x, _| x.min(0.5)),
        ("exp", &|x, _| if x < -87.3 { 0.0 } else { f64::from(x).exp() as f32 }),
        ("sigmoid", &|x, _| (1.0 / (1.0 + f64::from(-x).exp())) as f32),
        ("tanh", &|x, _| f64::from(x).tanh() as f32),
        ("sum", &|_, _| total),
        ("mul_add", &|x, y| x * y + 2.0),
        ("times_sigmoid", &|x, y| (f64::from(x) / (1.0 + f64::from(-x * y).exp())) as f32),
        ("scale", &|x, y| y * (x + 0.25).round_ties_even().exp2()),
        ("permute", &|x, _| from_end(x)),
        ("f16", &|x, _| f16::from_f32(x).to_f32()),
        ("i16", &|x, _| f32::from(as_i16(x))),
        ("i8", &|x, _| f32::from(as_i8(x))),
    ];
    for (name, scalar) in operations {
        let results = isa.run_narrow(Apply { name, x: X, y: Y });
        for ((result, x), y) in results.into_iter().zip(X).zip(Y) {
            let expected = scalar(x, y);
            let is_close = (result - expected).abs() <= 3e-7 * expected.abs().max(1.0);
            assert!(is_close, "{name}({x}, {y}): {result} and not {expected}");
        }
    }
}

fn nan_propagates_from_either_operand(isa: Isa) {
    let (mut x, mut y) = (X, Y);
    x[1] = f32::NAN;
    y[2] = f32::NAN;
    let max = isa.run_narrow(Apply { name: "max", x, y });
    assert!(max[1].is_nan() && max[2].is_nan() && !max[3].is_nan());
    for name in ["at_least", "at_most", "exp", "sigmoid", "tanh", "times_sigmoid"] {
        assert!(isa.run_narrow(Apply { name, x, y })[1].is_nan(), "{name}");
    }
}

isa_tests!(operations_agree_with_scalar_code, nan_propagates_from_either_operand);

#[test]
fn the_portable_instruction_set_is_always_available() {
    assert!(Isa::available().iter().any(|isa| isa.name() == "portable"));
    assert!(Isa::available().contains(&Isa::get()));
}
