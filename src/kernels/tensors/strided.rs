//! Tensors that are seen through strides: transposed, cut, repeated.
#![allow(unsafe_code)]

use crate::simd::{Isa, LANES, Simd, Vectorised};

/// An axis of a tensor that is seen through strides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// The number of entries.
    pub size: usize,
    /// Elements from one entry to the next: 0 repeats an entry, a negative number reverses the axis.
    pub stride: isize,
}

/// Appends to `y` the elements of `x` that `axes` see from `start` on, in row-major order.
///
/// # Panics
/// Panics if one of them is not in `x`.
pub fn copy(isa: Isa, x: &[f32], start: usize, axes: &[Axis], y: &mut Vec<f32>) {
    let Some(count) = axes.iter().try_fold(1usize, |n, axis| n.checked_mul(axis.size)) else {
        panic!("the result is too large");
    };
    if count == 0 {
        return;
    }
    assert!(is_inside(x.len(), start, axes), "an element outside of the tensor");
    let axes = merged(axes);
    let Some((&last, outer)) = axes.split_last() else {
        return y.push(x[start]);
    };
    if let Some(unit) = outer.iter().position(|axis| axis.stride == 1)
        && last.stride > 1
        && last.size.min(outer[unit].size) >= LANES
    {
        let first = y.len();
        y.resize(first + count, 0.0);
        let y = &mut y[first..];
        return isa.run_narrow(Transposition { x, start, axes: &axes, unit, y });
    }
    y.reserve(count);
    for place in places(outer) {
        let place = start.wrapping_add_signed(place);
        match last.stride {
            1 => y.extend_from_slice(&x[place..][..last.size]),
            0 => y.extend(std::iter::repeat_n(x[place], last.size)),
            stride => {
                let place = |i: usize| place.wrapping_add_signed(i as isize * stride);
                y.extend((0..last.size).map(|i| x[place(i)]));
            }
        }
    }
}

/// Returns whether the elements that `axes` see lie side by side, in row-major order.
pub fn are_contiguous(axes: &[Axis]) -> bool {
    matches!(merged(axes).as_slice(), [] | [Axis { stride: 1, .. }])
}

/// Whether all elements that `axes`, of which none is empty, see from `start` on are among the first
/// `len`.
fn is_inside(len: usize, start: usize, axes: &[Axis]) -> bool {
    let ends = axes.iter().try_fold((start, start), |(first, last), axis| {
        let span = axis.stride.checked_mul(isize::try_from(axis.size - 1).ok()?)?;
        Some((first.checked_add_signed(span.min(0))?, last.checked_add_signed(span.max(0))?))
    });
    ends.is_some_and(|(_, last)| last < len)
}

/// Returns `axes` without those of one entry, and with neighbours joined that are as good as one axis.
pub(super) fn merged(axes: &[Axis]) -> Vec<Axis> {
    let mut result: Vec<Axis> = Vec::with_capacity(axes.len());
    for &axis in axes.iter().filter(|axis| axis.size != 1) {
        match result.last_mut() {
            Some(last) if last.stride == axis.stride * axis.size as isize => {
                *last = Axis { size: last.size * axis.size, ..axis };
            }
            _ => result.push(axis),
        }
    }
    result
}

/// Returns the places of all entries of `axes`, relative to the first, in row-major order.
#[inline(always)]
pub(super) fn places(axes: &[Axis]) -> Places<'_> {
    let is_empty = axes.iter().any(|axis| axis.size == 0);
    Places { axes, entry: vec![0; axes.len()], next: (!is_empty).then_some(0) }
}

/// The iterator of [`places`].
pub(super) struct Places<'a> {
    axes: &'a [Axis],
    /// The index of the next entry along each axis.
    entry: Vec<usize>,
    next: Option<isize>,
}

impl Iterator for Places<'_> {
    type Item = isize;

    #[inline(always)]
    fn next(&mut self) -> Option<isize> {
        let place = self.next?;
        let mut next = place;
        for (axis, entry) in self.axes.iter().zip(&mut self.entry).rev() {
            *entry += 1;
            next += axis.stride;
            if *entry < axis.size {
                self.next = Some(next);
                return Some(place);
            }
            next -= axis.stride * axis.size as isize;
            *entry = 0;
        }
        self.next = None;
        Some(place)
    }
}

/// A copy in which the elements of a row of the result lie far apart, and those of another of its axes,
/// `unit`, side by side.
struct Transposition<'a> {
    x: &'a [f32],
    start: usize,
    /// All elements that they see lie in `x`, and are as many as `y` has.
    axes: &'a [Axis],
    unit: usize,
    y: &'a mut [f32],
}

impl Vectorised for Transposition<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Transposition { x, start, axes, unit, y } = self;
        // The strides of the result.
        let mut stride = 1;
        let mut to: Vec<Axis> = axes.to_vec();
        for axis in to.iter_mut().rev() {
            axis.stride = stride;
            stride *= axis.size as isize;
        }
        let last = axes.len() - 1;
        let (rows, columns) = (axes[unit].size, axes[last].size);
        let (from_step, to_step) = (axes[last].stride as usize, to[unit].stride as usize);
        let is_other = |&i: &usize| i != unit && i != last;
        let from: Vec<Axis> = (0..axes.len()).filter(is_other).map(|i| axes[i]).collect();
        let to: Vec<Axis> = (0..axes.len()).filter(is_other).map(|i| to[i]).collect();
        let whole = |count: usize| count - count % LANES;
        for (from, to) in places(&from).zip(places(&to)) {
            let (from, to) = (start.wrapping_add_signed(from), to as usize);
            for row in (0..whole(rows)).step_by(LANES) {
                for column in (0..whole(columns)).step_by(LANES) {
                    // SAFETY: element `(i, j)` of the two axes is seen at `from + j * from_step + i` and
                    // becomes `to + i * to_step + j`. `copy` asserted that all of them lie in `x`, and
                    // made `y` as long as there are elements. A tile of rows and columns is whole.
                    unsafe {
                        s.transpose(
                            x.as_ptr().add(from + column * from_step + row),
                            from_step,
                            y.as_mut_ptr().add(to + row * to_step + column),
                            to_step,
                        );
                    }
                }
            }
            let mut copy = |row: usize, column: usize| {
                y[to + row * to_step + column] = x[from + column * from_step + row];
            };
            for row in 0..rows {
                let first = if row < whole(rows) { whole(columns) } else { 0 };
                (first..columns).for_each(|column| copy(row, column));
            }
        }
    }
}
