//! Functions of two elements, of which one is broadcast.

use super::strided::{Axis, merged, places};
use super::vectors::larger;
use crate::simd::{Isa, Simd, Vectorised};

/// A function of two elements `a` and `b`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `a + b`
    Sum,
    /// `a - b`
    Difference,
    /// `a * b`
    Product,
    /// `a / b`
    Quotient,
    /// `a^b`
    Power,
    /// The larger one, or NaN if either is NaN.
    Maximum,
    /// The smaller one, or NaN if either is NaN.
    Minimum,
    /// `a < 0 ? b * a : a`
    Slope,
}

/// Combines every element of `y` with one of `other`, in place. `axes` are those of `y`, with the
/// strides of `other`. The elements of `y` are the operand `a`, or `b` if `is_second`.
///
/// # Panics
/// Panics if `axes` do not have as many entries as `y` has elements, or see an element that is not in
/// `other`.
pub fn combine(
    isa: Isa,
    operation: Operation,
    y: &mut [f32],
    is_second: bool,
    other: &[f32],
    axes: &[Axis],
) {
    let count = axes.iter().try_fold(1usize, |n, axis| n.checked_mul(axis.size));
    assert_eq!(count, Some(y.len()), "axes for every element");
    isa.run(Combine { operation, y, is_second, other, axes: &merged(axes) });
}

struct Combine<'a> {
    operation: Operation,
    y: &'a mut [f32],
    is_second: bool,
    other: &'a [f32],
    axes: &'a [Axis],
}

impl Vectorised for Combine<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        match (self.operation, self.is_second) {
            (Operation::Sum, _) => self.with(|y, x| y + x),
            (Operation::Difference, false) => self.with(|y, x| y - x),
            (Operation::Difference, true) => self.with(|y, x| x - y),
            (Operation::Product, _) => self.with(|y, x| y * x),
            (Operation::Quotient, false) => self.with(|y, x| y / x),
            (Operation::Quotient, true) => self.with(|y, x| x / y),
            (Operation::Power, false) => self.with(|y, x| y.powf(x)),
            (Operation::Power, true) => self.with(|y, x| x.powf(y)),
            (Operation::Maximum, _) => self.with(larger),
            (Operation::Minimum, _) => self.with(|y, x| -larger(-y, -x)),
            (Operation::Slope, false) => self.with(slope),
            (Operation::Slope, true) => self.with(|y, x| slope(x, y)),
        }
    }
}

#[inline(always)]
fn slope(x: f32, slope: f32) -> f32 {
    if x < 0.0 { slope * x } else { x }
}

impl Combine<'_> {
    #[inline(always)]
    fn with(self, f: impl Fn(f32, f32) -> f32) {
        let Combine { y, other, axes, .. } = self;
        let Some((last, outer)) = axes.split_last() else {
            return y.iter_mut().for_each(|y| *y = f(*y, other[0]));
        };
        // Without elements there is nothing to cut into rows.
        for (row, place) in y.chunks_exact_mut(last.size.max(1)).zip(places(outer)) {
            let others = &other[place as usize..];
            match last.stride {
                1 => row.iter_mut().zip(&others[..last.size]).for_each(|(y, &x)| *y = f(*y, x)),
                0 => {
                    let x = others[0];
                    row.iter_mut().for_each(|y| *y = f(*y, x));
                }
                stride => {
                    let others = others.iter().step_by(stride.unsigned_abs());
                    row.iter_mut().zip(others).for_each(|(y, &x)| *y = f(*y, x));
                }
            }
        }
    }
}
