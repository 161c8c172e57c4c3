//! What passes ask of sizes and axes, each said once. What they ask of windows is in
//! [`geometry`](super::geometry).

use super::Dim;

/// Whether a size is 1.
pub(crate) fn is_one(dim: &Dim) -> bool {
    dim.as_const() == Some(1)
}

/// Whether strides or dilations leave a window as it is.
pub(crate) fn all_ones(numbers: &[usize]) -> bool {
    numbers.iter().all(|&number| number == 1)
}

/// An axis counted from the front; `None` where there is no such axis.
pub(crate) fn axis_from_front(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let axis = if axis < 0 { axis.checked_add(rank)? } else { axis };
    if (0..rank).contains(&axis) { usize::try_from(axis).ok() } else { None }
}
