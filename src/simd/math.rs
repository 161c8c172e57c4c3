//! Functions of vectors that activations are made of.

use super::vector::Simd;

/// Returns `e^x` to about 2 units in the last place, and NaN for NaN. `x` is first clamped to the range
/// from -87.3 to 88, where the results are normal numbers; sigmoid functions of the ends are 0 and 1.
///
/// `e^x = 2^n e^r`, where `n` is the integer nearest to `x / ln 2` and `|r| <= ln(2) / 2`. There, the
/// Taylor polynomial of degree 7 is exact to single precision.
#[inline(always)]
pub fn exp<S: Simd>(s: S, x: S::Vector) -> S::Vector {
    // ln 2 as a sum of two numbers, so that `x - n ln 2` keeps its low bits.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = s.at_most(s.at_least(x, s.splat(-87.3)), s.splat(88.0));
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    let r = s.mul_add(n, s.splat(-LN2_HIGH), x);
    let r = s.mul_add(n, s.splat(-LN2_LOW), r);
    let inverse_factorials = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    let mut y = s.splat(1.0 / 5040.0);
    for c in inverse_factorials {
        y = s.mul_add(y, r, s.splat(c));
    }
    s.scale(y, n)
}

/// Returns `1 / (1 + e^-x)`.
#[inline(always)]
pub fn sigmoid<S: Simd>(s: S, x: S::Vector) -> S::Vector {
    let one = s.splat(1.0);
    s.div(one, s.add(one, exp(s, s.sub(s.splat(0.0), x))))
}

/// Returns `x sigmoid(z) = x / (1 + e^-z)`, with an error of about 2e-7 of `x`. It takes half as long as
/// [`sigmoid`] and a multiplication.
///
/// `e^-z = 2^n 2^r`, where `n` is the integer nearest to `-z / ln 2` and `|r| <= 1/2`. There, the polynomial
/// of degree 5 has a relative error of 1e-7. The rounding error of `-z / ln 2` remains in `r`: it is large where
/// the result is nearly `x` or nearly 0.
#[inline(always)]
pub fn times_sigmoid<S: Simd>(s: S, x: S::Vector, z: S::Vector) -> S::Vector {
    let exponent = s.mul(z, s.splat(-std::f32::consts::LOG2_E));
    let exponent = s.at_most(s.at_least(exponent, s.splat(-125.0)), s.splat(127.0));
    let n = s.round(exponent);
    let r = s.sub(exponent, n);
    let mut y = s.splat(0.001_330_060_7);
    for c in [0.009_669_691, 0.055_505_585, 0.240_222_83, std::f32::consts::LN_2, 1.0] {
        y = s.mul_add(y, r, s.splat(c));
    }
    s.div(x, s.add(s.splat(1.0), s.scale(y, n)))
}

/// Returns `tanh(x) = 2 sigmoid(2x) - 1`, with an absolute error of about 1e-7.
#[inline(always)]
pub fn tanh<S: Simd>(s: S, x: S::Vector) -> S::Vector {
    let y = sigmoid(s, s.add(x, x));
    s.sub(s.add(y, y), s.splat(1.0))
}

/// Returns the error function, to about 2e-7 absolutely, by formula 7.1.26 of Abramowitz and Stegun.
#[inline(always)]
pub fn erf<S: Simd>(s: S, x: S::Vector) -> S::Vector {
    let zero = s.splat(0.0);
    // `-|x|`, or NaN.
    let minus = s.at_most(x, zero);
    let minus = s.sub(minus, s.at_least(x, zero));
    let t = s.div(s.splat(1.0), s.mul_add(minus, s.splat(-0.327_591_1), s.splat(1.0)));
    let mut polynomial = s.splat(1.061_405_4);
    for c in [-1.453_152_1, 1.421_413_8, -0.284_496_74, 0.254_829_6] {
        polynomial = s.mul_add(polynomial, t, s.splat(c));
    }
    let tail = s.mul(s.mul(polynomial, t), exp(s, s.sub(zero, s.mul(minus, minus))));
    // The function is odd: `1 - tail` takes the sign of `x`, which large factors turn into 1 or -1.
    let sign = s.at_most(s.at_least(s.mul(x, s.splat(1e30)), s.splat(-1.0)), s.splat(1.0));
    s.mul(sign, s.sub(s.splat(1.0), tail))
}
