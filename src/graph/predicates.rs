//! What passes ask of operators and sizes, each said once.

use super::{Conv, Dim, Padding};

/// Whether a size is 1.
pub(crate) fn is_one(dim: &Dim) -> bool {
    dim.as_const() == Some(1)
}

/// Whether strides or dilations leave a window as it is.
pub(crate) fn all_ones(numbers: &[usize]) -> bool {
    numbers.iter().all(|&number| number == 1)
}

/// Whether nothing is added around a window of one element.
pub(crate) fn pads_nothing(padding: &Padding) -> bool {
    match padding {
        Padding::Explicit(amounts) => amounts.iter().all(|&amount| amount == 0),
        Padding::SameUpper | Padding::SameLower => true,
    }
}

/// Whether a convolution with a window of one element sees every position once, and all channels
/// at each.
pub(crate) fn sees_each_position_once(conv: &Conv) -> bool {
    conv.groups == 1 && all_ones(&conv.strides) && pads_nothing(&conv.padding)
}

/// An axis counted from the front; `None` where there is no such axis.
pub(crate) fn axis_from_front(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let axis = if axis < 0 { axis.checked_add(rank)? } else { axis };
    if (0..rank).contains(&axis) { usize::try_from(axis).ok() } else { None }
}
