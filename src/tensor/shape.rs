//! Numbers of elements, and where they lie.

/// Returns the number of elements of `shape`; `None` if it overflows.
///
/// Axes of size 0 count as size 1 in the check for overflow, so that products over some of the axes do
/// not overflow either.
pub fn num_elements(shape: &[usize]) -> Option<usize> {
    let product = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d.max(1)))?;
    Some(if shape.contains(&0) { 0 } else { product })
}

/// Returns the row-major strides, in elements, of a dense tensor of `shape`.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_elements_never_overflow() {
        assert_eq!(num_elements(&[usize::MAX, 2]), None);
        assert_eq!(num_elements(&[usize::MAX, 2, 0]), None);
        assert_eq!(num_elements(&[usize::MAX, 0]), Some(0));
    }

    #[test]
    fn strides_are_row_major() {
        assert_eq!(strides(&[2, 3, 4]), [12, 4, 1]);
        assert!(strides(&[]).is_empty());
    }
}
