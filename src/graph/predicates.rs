//! Questions that several passes ask about sizes and axes. Those about windows are in
//! [`geometry`](super::geometry).

use super::Dim;

/// Returns whether a size is 1.
pub(crate) fn is_one(dim: &Dim) -> bool {
    dim.as_const() == Some(1)
}

/// Returns whether all strides or dilations are 1.
pub(crate) fn all_ones(numbers: &[usize]) -> bool {
    numbers.iter().all(|&number| number == 1)
}

/// Returns the index of an axis counted from the front, or `None` if there is no such axis.
pub(crate) fn axis_from_front(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let axis = if axis < 0 { axis.checked_add(rank)? } else { axis };
    if (0..rank).contains(&axis) { usize::try_from(axis).ok() } else { None }
}
