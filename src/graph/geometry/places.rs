//! Places of elements within a dense tensor.

use crate::tensor::strides;

/// For each element of `shape`, in row-major order, the place of the element of an operand of shape
/// `from` that is broadcast to it.
pub(crate) fn broadcast_places(from: &[usize], shape: &[usize]) -> Vec<usize> {
    let own = strides(from);
    let offset = shape.len() - from.len();
    let strides: Vec<usize> = (0..shape.len())
        .map(|i| if i < offset || from[i - offset] == 1 { 0 } else { own[i - offset] })
        .collect();
    strided_places(shape, &strides)
}

/// For each index of `shape`, in row-major order, the sum of index times stride over all axes.
pub(crate) fn strided_places(shape: &[usize], strides: &[usize]) -> Vec<usize> {
    // Without this check, the axes before one of size 0 would be expanded for nothing.
    if shape.contains(&0) {
        return Vec::new();
    }
    let mut places = vec![0];
    for (&size, &stride) in shape.iter().zip(strides) {
        let expanded = places.iter().flat_map(|&p| (0..size).map(move |i| p + i * stride));
        places = expanded.collect();
    }
    places
}
