//! Functions of two elements, of which one is broadcast.

use super::strided::{Axis, merged, places};
use super::vectors::{inlined, larger};
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
/// strides of `other`, which are not negative. The elements of `y` are the operand `a`, or `b` if `is_second`.
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
    isa.run_narrow(Combine { operation, y, is_second, other, axes: &merged(axes) });
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
            (Operation::Sum, _) => inlined!(with(self), |y, x| y + x),
            (Operation::Difference, false) => inlined!(with(self), |y, x| y - x),
            (Operation::Difference, true) => inlined!(with(self), |y, x| x - y),
            (Operation::Product, _) => inlined!(with(self), |y, x| y * x),
            (Operation::Quotient, false) => inlined!(with(self), |y, x| y / x),
            (Operation::Quotient, true) => inlined!(with(self), |y, x| x / y),
            (Operation::Power, false) => with(self, f32::powf),
            (Operation::Power, true) => inlined!(with(self), |y, x| x.powf(y)),
            (Operation::Maximum, _) => inlined!(with(self), |y, x| larger(y, x)),
            (Operation::Minimum, _) => inlined!(with(self), |y, x| -larger(-y, -x)),
            (Operation::Slope, false) => inlined!(with(self), |y, x| slope(y, x)),
            (Operation::Slope, true) => inlined!(with(self), |y, x| slope(x, y)),
        }
    }
}

#[inline(always)]
fn slope(x: f32, slope: f32) -> f32 {
    if x < 0.0 { slope * x } else { x }
}

/// Combines the elements by `f`, whose first operand is one of `y`.
#[inline(always)]
fn with(combine: Combine, f: impl Fn(f32, f32) -> f32) {
    let Combine { y, other, axes, .. } = combine;
    let Some((last, outer)) = axes.split_last() else {
        for y in y {
            *y = f(*y, other[0]);
        }
        return;
    };
    // Without elements there is nothing to cut into rows.
    for (row, place) in y.chunks_exact_mut(last.size.max(1)).zip(places(outer)) {
        let others = &other[place as usize..];
        match last.stride {
            1 => {
                for (y, &x) in row.iter_mut().zip(&others[..last.size]) {
                    *y = f(*y, x);
                }
            }
            0 => {
                let x = others[0];
                for y in row {
                    *y = f(*y, x);
                }
            }
            stride => {
                for (i, y) in row.iter_mut().enumerate() {
                    *y = f(*y, others[i * stride as usize]);
                }
            }
        }
    }
}
