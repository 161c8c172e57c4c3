//! Elements converted for arithmetic: floating-point numbers to f64, integers to i64.

use crate::error::{Error, Result};
use crate::graph::geometry::{self, broadcast_places};
use crate::tensor::{DType, Tensor};

/// The elements of a tensor, in the types in which arithmetic is done.
pub(super) enum Numbers {
    Float(Vec<f64>),
    Int(Vec<i64>),
}

impl Numbers {
    pub(super) fn from_tensor(tensor: &Tensor) -> Result<Self> {
        Ok(if tensor.dtype().is_float() {
            Numbers::Float(floats(tensor)?)
        } else {
            Numbers::Int(tensor.to_i64s()?)
        })
    }

    /// Returns the numbers as f64; integers are exact up to 2^53, far beyond what networks hold.
    pub(super) fn into_floats(self) -> Vec<f64> {
        match self {
            Numbers::Float(values) => values,
            Numbers::Int(values) => values.into_iter().map(|x| x as f64).collect(),
        }
    }

    /// Returns a tensor of the numbers, rounded to `dtype`.
    pub(super) fn into_tensor(self, shape: &[usize], dtype: DType) -> Result<Tensor> {
        match self {
            Numbers::Float(values) if dtype == DType::F32 => float_tensor(shape, values),
            Numbers::Float(values) => Tensor::new(shape, values)?.cast(dtype),
            Numbers::Int(values) => Tensor::new(shape, values)?.cast(dtype),
        }
    }
}

/// Returns floating-point elements as f64.
///
/// # Errors
/// [`Unsupported`](crate::ErrorKind::Unsupported) if the elements are not floating-point numbers.
pub(super) fn floats(tensor: &Tensor) -> Result<Vec<f64>> {
    match tensor.dtype() {
        DType::F32 => Ok(tensor.as_f32()?.iter().map(|&x| f64::from(x)).collect()),
        other if other.is_float() => Ok(tensor.cast(DType::F64)?.as_slice::<f64>()?.to_vec()),
        other => {
            Err(Error::unsupported(format!("expected floating-point elements, found {other}")))
        }
    }
}

/// Returns an f32 tensor of f64 elements, each rounded once.
pub(super) fn float_tensor(shape: &[usize], values: Vec<f64>) -> Result<Tensor> {
    Tensor::new(shape, values.into_iter().map(|x| x as f32).collect::<Vec<f32>>())
}

/// Broadcasts two operands and combines them element by element. Returns the shape and the
/// elements.
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
