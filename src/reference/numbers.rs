//! Elements widened for arithmetic: floating-point numbers to f64, integers to i64.

use crate::error::{Error, Result};
use crate::graph::geometry;
use crate::tensor::{DType, Tensor};

/// The elements of a tensor, ready for arithmetic.
pub(super) enum Numbers {
    Float(Vec<f64>),
    Int(Vec<i64>),
}

impl Numbers {
    pub(super) fn of(tensor: &Tensor) -> Result<Self> {
        Ok(if tensor.dtype().is_float() {
            Numbers::Float(floats(tensor)?)
        } else {
            Numbers::Int(tensor.to_i64s()?)
        })
    }

    pub(super) fn into_tensor(self, shape: &[usize], dtype: DType) -> Result<Tensor> {
        match self {
            Numbers::Float(values) if dtype == DType::F32 => float_tensor(shape, values),
            Numbers::Float(values) => Tensor::new(shape, values)?.cast(dtype),
            Numbers::Int(values) => Tensor::new(shape, values)?.cast(dtype),
        }
    }
}

/// Floating-point elements as f64.
///
/// # Errors
/// `Shape` where the elements are not floating-point numbers.
pub(super) fn floats(tensor: &Tensor) -> Result<Vec<f64>> {
    match tensor.dtype() {
        DType::F32 => Ok(tensor.as_f32()?.iter().map(|&x| f64::from(x)).collect()),
        other if other.is_float() => Ok(tensor.cast(DType::F64)?.as_slice::<f64>()?.to_vec()),
        other => {
            Err(Error::unsupported(format!("expected floating-point elements, found {other}")))
        }
    }
}

/// An f32 tensor of rounded f64 elements.
pub(super) fn float_tensor(shape: &[usize], values: Vec<f64>) -> Result<Tensor> {
    Tensor::new(shape, values.into_iter().map(|x| x as f32).collect::<Vec<f32>>())
}

/// For every element of `shape`, in order, the place of the element of an operand of shape `from`
/// that is broadcast to it.
pub(super) fn broadcast_places(from: &[usize], shape: &[usize]) -> Vec<usize> {
    let own = crate::tensor::strides(from);
    let offset = shape.len() - from.len();
    let strides: Vec<usize> = (0..shape.len())
        .map(|i| if i < offset || from[i - offset] == 1 { 0 } else { own[i - offset] })
        .collect();
    strided_places(shape, &strides)
}

/// For every index of `shape`, in order, the sum of index times stride over all axes.
pub(super) fn strided_places(shape: &[usize], strides: &[usize]) -> Vec<usize> {
    // An axis of size 0 may come after many others.
    if shape.contains(&0) {
        return Vec::new();
    }
    let mut places = vec![0];
    for (&size, &stride) in shape.iter().zip(strides) {
        let longer = places.iter().flat_map(|&p| (0..size).map(move |i| p + i * stride));
        places = longer.collect();
    }
    places
}

/// Broadcasts two operands and combines them element by element.
pub(super) fn zip<A: Copy, B: Copy, R>(
    (a, a_shape): (&[A], &[usize]),
    (b, b_shape): (&[B], &[usize]),
    f: impl Fn(A, B) -> R,
) -> Result<(Vec<usize>, Vec<R>)> {
    if a_shape == b_shape {
        return Ok((a_shape.to_vec(), a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect()));
    }
    let shape = geometry::broadcast(&[a_shape, b_shape])?;
    geometry::element_count(&shape, DType::F64)?;
    let places = broadcast_places(a_shape, &shape).into_iter();
    let pairs = places.zip(broadcast_places(b_shape, &shape));
    Ok((shape, pairs.map(|(i, j)| f(a[i], b[j])).collect()))
}
