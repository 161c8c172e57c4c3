//! Functions of one element of each input, which are broadcast to a common shape.

use super::numbers::{Numbers, floats, zip};
use crate::error::{Error, Result};
use crate::graph::{Binary, Unary, Variadic};
use crate::tensor::{DType, Tensor};

pub(super) fn unary(op: Unary, x: &Tensor) -> Result<Tensor> {
    if op == Unary::Not {
        return Tensor::from_bools(x.shape(), x.to_bools()?.into_iter().map(|b| !b));
    }
    let numbers = match Numbers::from_tensor(x)? {
        Numbers::Float(values) => {
            Numbers::Float(values.into_iter().map(|x| float_function(op, x)).collect())
        }
        Numbers::Int(values) => Numbers::Int(
            values.into_iter().map(|x| int_function(op, x)).collect::<Option<_>>().ok_or_else(
                || Error::unsupported(format!("it is not defined on {} elements", x.dtype())),
            )?,
        ),
    };
    numbers.into_tensor(x.shape(), x.dtype())
}

fn int_function(op: Unary, x: i64) -> Option<i64> {
    match op {
        Unary::Relu => Some(x.max(0)),
        Unary::Neg => Some(x.wrapping_neg()),
        Unary::Abs => Some(x.wrapping_abs()),
        Unary::Sign => Some(x.signum()),
        _ => None,
    }
}

/// Applies a function to one element. All functions but the thresholded ReLU return NaN for NaN.
fn float_function(op: Unary, x: f64) -> f64 {
    match op {
        Unary::Relu => {
            if x < 0.0 {
                0.0
            } else {
                x
            }
        }
        Unary::LeakyRelu { alpha } => {
            if x < 0.0 {
                f64::from(alpha) * x
            } else {
                x
            }
        }
        Unary::Elu { alpha } => {
            if x < 0.0 {
                f64::from(alpha) * x.exp_m1()
            } else {
                x
            }
        }
        Unary::Celu { alpha } => {
            let alpha = f64::from(alpha);
            if x < 0.0 { alpha * (x / alpha).exp_m1() } else { x }
        }
        Unary::Selu { alpha, gamma } => {
            let (alpha, gamma) = (f64::from(alpha), f64::from(gamma));
            gamma * if x <= 0.0 { alpha * x.exp_m1() } else { x }
        }
        // ONNX defines it as `Where(alpha < x, x, 0)`, so that NaN gives 0.
        Unary::ThresholdedRelu { alpha } => {
            if x > f64::from(alpha) {
                x
            } else {
                0.0
            }
        }
        Unary::Gelu { tanh: false } => 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2)),
        Unary::Gelu { tanh: true } => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
            0.5 * x * (1.0 + inner.tanh())
        }
        Unary::Sigmoid => sigmoid(x),
        Unary::HardSigmoid { alpha, beta } => {
            clamp(f64::from(alpha) * x + f64::from(beta), 0.0, 1.0)
        }
        Unary::HardSwish => x * clamp(x / 6.0 + 0.5, 0.0, 1.0),
        Unary::Swish { alpha } => x * sigmoid(f64::from(alpha) * x),
        Unary::Mish => x * softplus(x).tanh(),
        Unary::Softplus => softplus(x),
        Unary::Softsign => x / (1.0 + x.abs()),
        Unary::Tanh => x.tanh(),
        Unary::Exp => x.exp(),
        Unary::Log => x.ln(),
        Unary::Sqrt => x.sqrt(),
        Unary::Reciprocal => 1.0 / x,
        Unary::Neg => -x,
        Unary::Abs => x.abs(),
        Unary::Sign => {
            if x == 0.0 || x.is_nan() {
                x
            } else {
                x.signum()
            }
        }
        Unary::Floor => x.floor(),
        Unary::Ceil => x.ceil(),
        Unary::Round => x.round_ties_even(),
        Unary::Erf => erf(x),
        Unary::Sin => x.sin(),
        Unary::Cos => x.cos(),
        Unary::Tan => x.tan(),
        Unary::Asin => x.asin(),
        Unary::Acos => x.acos(),
        Unary::Atan => x.atan(),
        Unary::Sinh => x.sinh(),
        Unary::Cosh => x.cosh(),
        Unary::Asinh => x.asinh(),
        Unary::Acosh => x.acosh(),
        Unary::Atanh => x.atanh(),
        Unary::Not => f64::NAN,
    }
}

pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p() + if x.is_nan() { x } else { 0.0 }
}

/// Computes the error function: near zero by its Taylor series, elsewhere by the continued fraction
/// of its complement.
pub(super) fn erf(x: f64) -> f64 {
    let z = x.abs();
    if z.is_nan() {
        return x;
    }
    if z < 2.5 {
        let (mut term, mut sum) = (z, z);
        for n in 1..60 {
            term *= -z * z / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return (sum * std::f64::consts::FRAC_2_SQRT_PI).copysign(x);
    }
    let fraction = (1..60).rev().fold(z, |f, n| z + f64::from(n) / 2.0 / f);
    let complement = (-z * z).exp() / (std::f64::consts::PI.sqrt() * fraction);
    (1.0 - complement).copysign(x)
}

/// Computes `min(max(x, low), high)`; NaN gives NaN.
pub(super) fn clamp(x: f64, low: f64, high: f64) -> f64 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

pub(super) fn clip(x: &Tensor, low: Option<&Tensor>, high: Option<&Tensor>) -> Result<Tensor> {
    for bound in [low, high].into_iter().flatten() {
        if bound.len() != 1 {
            return Err(Error::shape(format!(
                "the bounds of a clip are single numbers, found shape {:?}",
                bound.shape()
            )));
        }
    }
    let numbers = match Numbers::from_tensor(x)? {
        Numbers::Float(values) => {
            let bound = |t: Option<&Tensor>, or| t.map_or(Ok(or), |t| Ok(floats(t)?[0]));
            let (low, high) = (bound(low, f64::NEG_INFINITY)?, bound(high, f64::INFINITY)?);
            Numbers::Float(values.into_iter().map(|x| clamp(x, low, high)).collect())
        }
        Numbers::Int(values) => {
            let bound = |t: Option<&Tensor>, or| t.map_or(Ok(or), |t| Ok(t.to_i64s()?[0]));
            let (low, high): (i64, i64) = (bound(low, i64::MIN)?, bound(high, i64::MAX)?);
            Numbers::Int(values.into_iter().map(|x| x.max(low).min(high)).collect())
        }
    };
    numbers.into_tensor(x.shape(), x.dtype())
}

pub(super) fn prelu(x: &Tensor, slope: &Tensor) -> Result<Tensor> {
    let (a, b) = (Numbers::from_tensor(x)?, Numbers::from_tensor(slope)?);
    let (shape, numbers) = match (&a, &b) {
        (Numbers::Float(x_), Numbers::Float(slope_)) => {
            let f = |x: f64, slope: f64| if x < 0.0 { slope * x } else { x };
            let (shape, y) = zip((x_, x.shape()), (slope_, slope.shape()), f)?;
            (shape, Numbers::Float(y))
        }
        (Numbers::Int(x_), Numbers::Int(slope_)) => {
            let f = |x: i64, slope: i64| if x < 0 { slope.wrapping_mul(x) } else { x };
            let (shape, y) = zip((x_, x.shape()), (slope_, slope.shape()), f)?;
            (shape, Numbers::Int(y))
        }
        _ => return Err(mixed(x, slope)),
    };
    if shape != x.shape() {
        return Err(Error::shape(format!(
            "the slope {:?} does not broadcast to {:?}",
            slope.shape(),
            x.shape()
        )));
    }
    numbers.into_tensor(&shape, x.dtype())
}

fn mixed(a: &Tensor, b: &Tensor) -> Error {
    Error::shape(format!(
        "both operands must be of one type, found {} and {}",
        a.dtype(),
        b.dtype()
    ))
}

pub(super) fn binary(op: Binary, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    // ONNX allows an exponent of another type than its base.
    if a.dtype() != b.dtype() && op != Binary::Pow {
        return Err(mixed(a, b));
    }
    if a.dtype() == DType::Bool {
        let f = |a: bool, b: bool| match op {
            Binary::And => Some(a && b),
            Binary::Or => Some(a || b),
            Binary::Xor => Some(a != b),
            Binary::Equal => Some(a == b),
            _ => None,
        };
        let (x, y) = (a.to_bools()?, b.to_bools()?);
        let (shape, values) = zip((&x, a.shape()), (&y, b.shape()), f)?;
        let values: Option<Vec<bool>> = values.into_iter().collect();
        return Tensor::from_bools(
            &shape,
            values.ok_or_else(|| Error::unsupported("it is not defined on truth values"))?,
        );
    }
    match (Numbers::from_tensor(a)?, Numbers::from_tensor(b)?) {
        (Numbers::Int(x), Numbers::Int(y)) => {
            let operands = ((x.as_slice(), a.shape()), (y.as_slice(), b.shape()));
            if let Some(compare) = comparison::<i64>(op) {
                let (shape, values) = zip(operands.0, operands.1, compare)?;
                return Tensor::from_bools(&shape, values);
            }
            let (shape, values) = zip(operands.0, operands.1, |x, y| int_operation(op, x, y))?;
            let values = values.into_iter().collect::<Result<Vec<i64>>>()?;
            Numbers::Int(values).into_tensor(&shape, a.dtype())
        }
        (x, y) => {
            let (x, y) = (x.into_floats(), y.into_floats());
            let operands = ((x.as_slice(), a.shape()), (y.as_slice(), b.shape()));
            if let Some(compare) = comparison::<f64>(op) {
                let (shape, values) = zip(operands.0, operands.1, compare)?;
                return Tensor::from_bools(&shape, values);
            }
            let (shape, values) = zip(operands.0, operands.1, |x, y| float_operation(op, x, y))?;
            Numbers::Float(values).into_tensor(&shape, a.dtype())
        }
    }
}

fn comparison<T: PartialOrd>(op: Binary) -> Option<fn(T, T) -> bool> {
    match op {
        Binary::Equal => Some(|a, b| a == b),
        Binary::Less => Some(|a, b| a < b),
        Binary::LessOrEqual => Some(|a, b| a <= b),
        Binary::Greater => Some(|a, b| a > b),
        Binary::GreaterOrEqual => Some(|a, b| a >= b),
        _ => None,
    }
}

fn float_operation(op: Binary, a: f64, b: f64) -> f64 {
    match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Pow => a.powf(b),
        Binary::Mod { fmod: true } => a % b,
        Binary::Mod { fmod: false } => {
            let rest = a % b;
            if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }
        }
        _ => f64::NAN,
    }
}

fn int_operation(op: Binary, a: i64, b: i64) -> Result<i64> {
    let by_zero = || Error::input("integer division by zero");
    match op {
        Binary::Add => Ok(a.wrapping_add(b)),
        Binary::Sub => Ok(a.wrapping_sub(b)),
        Binary::Mul => Ok(a.wrapping_mul(b)),
        Binary::Div if b != 0 => Ok(a.wrapping_div(b)),
        Binary::Mod { fmod: true } if b != 0 => Ok(a.wrapping_rem(b)),
        Binary::Mod { fmod: false } if b != 0 => {
            let rest = a.wrapping_rem(b);
            Ok(if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest })
        }
        Binary::Div | Binary::Mod { .. } => Err(by_zero()),
        Binary::Pow => Ok((a as f64).powf(b as f64) as i64),
        _ => Err(Error::unsupported("it is not defined on integers")),
    }
}

pub(super) fn variadic(op: Variadic, inputs: &[Option<&Tensor>]) -> Result<Tensor> {
    let mut operands = inputs.iter().flatten();
    let first = operands.next().ok_or_else(|| Error::graph("it needs at least one input"))?;
    let (mut shape, mut sum) = (first.shape().to_vec(), Numbers::from_tensor(first)?);
    for operand in operands {
        if operand.dtype() != first.dtype() {
            return Err(mixed(first, operand));
        }
        (shape, sum) = match (sum, Numbers::from_tensor(operand)?) {
            (Numbers::Float(a), Numbers::Float(b)) => {
                let f = |a: f64, b: f64| match op {
                    Variadic::Max => {
                        if a > b || a.is_nan() {
                            a
                        } else {
                            b
                        }
                    }
                    Variadic::Min => {
                        if a < b || a.is_nan() {
                            a
                        } else {
                            b
                        }
                    }
                    Variadic::Sum | Variadic::Mean => a + b,
                };
                let (shape, values) = zip((&a, &shape), (&b, operand.shape()), f)?;
                (shape, Numbers::Float(values))
            }
            (Numbers::Int(a), Numbers::Int(b)) => {
                let f = |a: i64, b: i64| match op {
                    Variadic::Max => a.max(b),
                    Variadic::Min => a.min(b),
                    Variadic::Sum | Variadic::Mean => a.wrapping_add(b),
                };
                let (shape, values) = zip((&a, &shape), (&b, operand.shape()), f)?;
                (shape, Numbers::Int(values))
            }
            _ => return Err(mixed(first, operand)),
        };
    }
    if op == Variadic::Mean {
        let count = inputs.iter().flatten().count();
        sum = match sum {
            Numbers::Float(v) => Numbers::Float(v.into_iter().map(|x| x / count as f64).collect()),
            Numbers::Int(v) => Numbers::Int(v.into_iter().map(|x| x / count as i64).collect()),
        };
    }
    sum.into_tensor(&shape, first.dtype())
}

pub(super) fn select(condition: &Tensor, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.dtype() != b.dtype() {
        return Err(mixed(a, b));
    }
    let truth = condition.to_bools()?;
    let pick = |(truth, shape): (&[bool], &[usize]), a: &Tensor, b: &Tensor| -> Result<Tensor> {
        // Places are selected rather than elements, so that one path serves every element type.
        let left: Vec<usize> = (0..a.len()).collect();
        let right: Vec<usize> = (a.len()..a.len() + b.len()).collect();
        let (inner, pairs) = zip((&left, a.shape()), (&right, b.shape()), |l, r| (l, r))?;
        let choose = |t: bool, (l, r): (usize, usize)| if t { l } else { r };
        let (shape, places) = zip((truth, shape), (&pairs, &inner), choose)?;
        super::movement::pick(&[a, b], &shape, &places)
    };
    pick((&truth, condition.shape()), a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_above_the_threshold_is_zero() {
        let x = Tensor::vector(vec![0.5f32, 1.0, 1.5, f32::NAN, f32::INFINITY]);
        let y = unary(Unary::ThresholdedRelu { alpha: 1.0 }, &x).unwrap();
        assert_eq!(y.as_f32().unwrap(), [0.0, 0.0, 1.5, 0.0, f32::INFINITY]);
    }

    #[test]
    fn a_remainder_has_the_sign_of_the_divisor() {
        let infinity = f64::INFINITY;
        let rest = |a, b| float_operation(Binary::Mod { fmod: false }, a, b);
        assert_eq!([rest(5.0, 3.0), rest(-5.0, 3.0), rest(5.0, -3.0)], [2.0, 1.0, -1.0]);
        assert_eq!([rest(3.0, infinity), rest(-1.0, infinity)], [3.0, infinity]);
        assert!(rest(1.0, 0.0).is_nan() && rest(infinity, 2.0).is_nan());
    }
}
