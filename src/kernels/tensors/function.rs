//! Functions of one element.

use super::vectors::{each, each_tile, each_vector, inlined};
use crate::kernels::activation::{Activation, activate};
use crate::simd::{Isa, Simd, Vectorised, erf, exp};

/// A function of one element. All but [`Threshold`](Self::Threshold) return NaN for NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    /// An activation that has no coefficients.
    Activation(Activation),
    /// `x > alpha ? x : 0`
    Threshold {
        /// The bound.
        alpha: f32,
    },
    /// `ln(1 + e^x)`
    Softplus,
    /// `x / (1 + |x|)`
    Softsign,
    /// `e^x`
    Exponential,
    /// Natural logarithm.
    Logarithm,
    /// Square root.
    SquareRoot,
    /// `x^2`
    Square,
    /// `1 / x`
    Reciprocal,
    /// `-x`
    Negative,
    /// `|x|`
    Absolute,
    /// -1, 0 or 1.
    Sign,
    /// The largest integer that is not larger.
    Floor,
    /// The smallest integer that is not smaller.
    Ceiling,
    /// The nearest integer; ties go to the even one.
    Round,
    /// The error function.
    Error,
    /// Sine of an angle in radians.
    Sine,
    /// Cosine of an angle in radians.
    Cosine,
}

/// Applies `function` to every element of `x`.
///
/// # Panics
/// Panics if the function is an activation with coefficients.
pub fn apply(isa: Isa, function: Function, x: &mut [f32]) {
    if let Function::Activation(activation) = function {
        assert_eq!(activation.rows(), Some(0), "a function without coefficients");
    }
    isa.run_narrow(Apply { function, x });
}

struct Apply<'a> {
    function: Function,
    x: &'a mut [f32],
}

impl Vectorised for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Apply { function, x } = self;
        match function {
            Function::Activation(activation) => {
                inlined!(each_tile(s, x), |x| activate(s, activation, x));
            }
            Function::Exponential => {
                let half = s.splat(0.5);
                // The square overflows and underflows where `e^x` does; `exp` is clamped.
                inlined!(each_vector(s, x), |x| {
                    let root = exp(s, s.mul(x, half));
                    s.mul(root, root)
                });
            }
            Function::Error => inlined!(each_vector(s, x), |x| erf(s, x)),
            Function::Threshold { alpha } => {
                inlined!(each(x), |x| if x > alpha { x } else { 0.0 });
            }
            Function::Softplus => inlined!(each(x), |x| {
                let positive = if x < 0.0 { 0.0 } else { x };
                positive + (-x.abs()).exp().ln_1p()
            }),
            Function::Softsign => inlined!(each(x), |x| x / (1.0 + x.abs())),
            Function::Logarithm => each(x, f32::ln),
            Function::SquareRoot => inlined!(each(x), |x| x.sqrt()),
            Function::Square => inlined!(each(x), |x| x * x),
            Function::Reciprocal => inlined!(each(x), |x| 1.0 / x),
            Function::Negative => inlined!(each(x), |x| -x),
            Function::Absolute => inlined!(each(x), |x| x.abs()),
            Function::Sign => {
                inlined!(each(x), |x| if x == 0.0 || x.is_nan() { x } else { x.signum() });
            }
            Function::Floor => inlined!(each(x), |x| x.floor()),
            Function::Ceiling => inlined!(each(x), |x| x.ceil()),
            Function::Round => inlined!(each(x), |x| x.round_ties_even()),
            Function::Sine => each(x, f32::sin),
            Function::Cosine => each(x, f32::cos),
        }
    }
}
