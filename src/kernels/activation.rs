//! Functions of single elements, applied to register tiles.

use crate::simd::{Simd, erf, exp, sigmoid, tanh, times_sigmoid};

/// Applies a function to every vector of a register tile.
macro_rules! each {
    ($tile:ident, |$x:ident| $y:expr) => {
        for row in $tile.iter_mut() {
            for x in row {
                let $x = *x;
                *x = $y;
            }
        }
    };
}
pub(super) use each;

/// The function that an epilogue applies to every element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `x`
    Identity,
    /// `min(max(x, low), high)`: ReLU is 0 to infinity, ReLU6 is 0 to 6.
    Clamp {
        /// Lower bound.
        low: f32,
        /// Upper bound.
        high: f32,
    },
    /// `x < 0 ? alpha x : x`
    LeakyRelu {
        /// Slope of the negative part.
        alpha: f32,
    },
    /// `x * min(max(x / 6 + 1 / 2, 0), 1)`
    HardSwish,
    /// `min(max(alpha x + beta, 0), 1)`
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Offset.
        beta: f32,
    },
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// `x / (1 + e^-(alpha x))`
    Swish {
        /// Factor inside the sigmoid; 1 is SiLU.
        alpha: f32,
    },
    /// Hyperbolic tangent.
    Tanh,
    /// `x (1 + erf(x / sqrt 2)) / 2`
    Gelu,
    /// `x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2`
    GeluTanh,
    /// `x tanh(ln(1 + e^x))`
    Mish,
    /// `x < 0 ? scale (e^(x / width) - 1) : slope x`, of which ELU, SELU and CELU are cases.
    Exponential {
        /// The factor of the negative part.
        scale: f32,
        /// What the negative part is divided by inside the exponential.
        width: f32,
        /// The slope of the positive part.
        slope: f32,
    },
    /// `max over k of (a_k x + b_k)` with coefficients for every channel.
    MaxAffine {
        /// The number of pieces.
        k: usize,
    },
    /// `min over k of (a_k x + b_k)` with coefficients for every channel.
    MinAffine {
        /// The number of pieces.
        k: usize,
    },
    /// `min(max(x, c_0), c_1)` with coefficients for every channel.
    ChannelClip,
    /// `c_0 max(x, 0) + c_1 min(x, 0)` with coefficients for every channel.
    TwoSlopes,
    /// `c_0 x sigmoid(c_2 x) + c_1 x` with coefficients for every channel.
    Acon,
}

impl Activation {
    /// Returns the number of coefficients of every channel; `None` if it is too large.
    pub(super) fn rows(self) -> Option<usize> {
        match self {
            Activation::MaxAffine { k } | Activation::MinAffine { k } => k.checked_mul(2),
            Activation::ChannelClip | Activation::TwoSlopes => Some(2),
            Activation::Acon => Some(3),
            _ => Some(0),
        }
    }
}

/// Applies an activation that has no coefficients; one that has some does nothing.
#[inline(always)]
pub(super) fn activate<S: Simd, const M: usize>(
    s: S,
    activation: Activation,
    x: &mut [[S::Vector; 1]; M],
) {
    let (zero, one) = (s.splat(0.0), s.splat(1.0));
    match activation {
        Activation::Identity => {}
        Activation::Clamp { low, high } => clamp(s, x, low, high),
        Activation::HardSwish => hard_swish(s, x),
        Activation::LeakyRelu { alpha } => {
            let alpha = s.splat(alpha);
            each!(x, |x| s.mul_add(s.at_most(x, zero), alpha, s.at_least(x, zero)));
        }
        Activation::HardSigmoid { alpha, beta } => {
            let (alpha, beta) = (s.splat(alpha), s.splat(beta));
            each!(x, |x| s.at_most(s.at_least(s.mul_add(x, alpha, beta), zero), one));
        }
        Activation::Sigmoid => each!(x, |x| sigmoid(s, x)),
        Activation::Swish { alpha } => {
            let alpha = s.splat(alpha);
            each!(x, |x| times_sigmoid(s, x, s.mul(x, alpha)));
        }
        Activation::Tanh => each!(x, |x| tanh(s, x)),
        Activation::Gelu => {
            let (half, root) = (s.splat(0.5), s.splat(std::f32::consts::FRAC_1_SQRT_2));
            each!(x, |x| {
                let halved = s.mul(x, half);
                s.mul_add(halved, erf(s, s.mul(x, root)), halved)
            });
        }
        Activation::GeluTanh => {
            // `(1 + tanh(z)) / 2` is the sigmoid of `2 z`.
            let (twice_root, cubic) = (s.splat(1.595_769), s.splat(0.044_715));
            each!(x, |x| {
                let inner = s.mul_add(s.mul(cubic, s.mul(x, x)), x, x);
                times_sigmoid(s, x, s.mul(twice_root, inner))
            });
        }
        Activation::Mish => {
            // With `n = e^x (e^x + 2)` the factor of `x` is `n / (n + 2)`, which is 1 from 20 on.
            let (two, most) = (s.splat(2.0), s.splat(20.0));
            each!(x, |x| {
                let e = exp(s, s.at_most(x, most));
                let n = s.mul(e, s.add(e, two));
                s.mul(x, s.div(n, s.add(n, two)))
            });
        }
        Activation::Exponential { scale, width, slope } => {
            let (scale, inverse, slope) = (s.splat(scale), s.splat(1.0 / width), s.splat(slope));
            each!(x, |x| {
                let negative = exp(s, s.mul(s.at_most(x, zero), inverse));
                s.mul_add(s.sub(negative, one), scale, s.mul(s.at_least(x, zero), slope))
            });
        }
        Activation::MaxAffine { .. }
        | Activation::MinAffine { .. }
        | Activation::ChannelClip
        | Activation::TwoSlopes
        | Activation::Acon => {}
    }
}

/// Applies [`Activation::Clamp`].
#[inline(always)]
pub(super) fn clamp<S: Simd, const M: usize, const V: usize>(
    s: S,
    x: &mut [[S::Vector; V]; M],
    low: f32,
    high: f32,
) {
    let (low, high) = (s.splat(low), s.splat(high));
    each!(x, |x| s.at_most(s.at_least(x, low), high));
}

/// Applies [`Activation::HardSwish`].
#[inline(always)]
pub(super) fn hard_swish<S: Simd, const M: usize, const V: usize>(
    s: S,
    x: &mut [[S::Vector; V]; M],
) {
    let (sixth, half) = (s.splat(1.0 / 6.0), s.splat(0.5));
    let (zero, one) = (s.splat(0.0), s.splat(1.0));
    each!(x, |x| s.mul(x, s.at_most(s.at_least(s.mul_add(x, sixth, half), zero), one)));
}
