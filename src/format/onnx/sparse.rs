//! Sparse tensors, of which a file lists the elements that are not zero.

use std::sync::Arc;

use super::proto;
use super::tensors::{TensorReader, sizes};
use crate::error::{Error, Result};
use crate::graph::geometry::element_count;
use crate::tensor::{AlignedBuffer, Storage, Tensor, strides};

impl TensorReader {
    /// Reads a sparse tensor and returns it with all its elements.
    pub(super) fn read_sparse(&mut self, message: &proto::SparseTensor) -> Result<Tensor> {
        let missing = || Error::format("a sparse tensor has no values or no indices");
        let values = message.values.as_ref().ok_or_else(missing)?;
        let indices = message.indices.as_ref().ok_or_else(missing)?;
        let named =
            |e: Error| Error::new(e.kind(), format!("tensor {:?}: {}", values.name, e.message()));
        let (values, indices) = (self.read(values)?, self.read(indices)?);
        dense(&message.dims, &values, &indices).map_err(named)
    }
}

/// Creates a tensor of zeros with `values` at the places that `indices` states: one number per value, which
/// counts in row-major order, or one number per value and axis.
fn dense(dims: &[i64], values: &Tensor, indices: &Tensor) -> Result<Tensor> {
    let shape = sizes(dims)?;
    let (dtype, size) = (values.dtype(), values.dtype().size());
    let count = element_count(&shape, dtype).map_err(|e| Error::format(e.message()))?;
    let strides = match *indices.shape() {
        [listed] if listed == values.len() => vec![1],
        [listed, axes] if listed == values.len() && axes == shape.len() => strides(&shape),
        _ => {
            return Err(Error::format(format!(
                "{} values of shape {shape:?} cannot lie at indices of shape {:?}",
                values.len(),
                indices.shape()
            )));
        }
    };
    let bounds = if indices.shape().len() == 1 { vec![count] } else { shape.clone() };
    let mut bytes = AlignedBuffer::zeroed(count * size);
    let mut next = 0;
    let elements = values.bytes().chunks_exact(size);
    let numbers = indices.to_i64s()?;
    for (i, element) in elements.enumerate() {
        let index = &numbers[i * strides.len()..][..strides.len()];
        let within = index.iter().zip(&bounds).all(|(&i, &end)| (0..end as i64).contains(&i));
        let at: usize = index.iter().zip(&strides).map(|(&i, stride)| i as usize * stride).sum();
        if !within || at < next {
            return Err(Error::format(format!(
                "its index {index:?} is outside of its shape {shape:?}, or not behind the one before"
            )));
        }
        bytes.as_mut_bytes()[at * size..][..size].copy_from_slice(element);
        next = at + 1;
    }
    Tensor::from_storage(dtype, &shape, Storage::new(Arc::new(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lie_where_the_indices_say() {
        let values = Tensor::vector(vec![5f32, 7.0]);
        for (indices, want) in [
            (Tensor::vector(vec![1i64, 5]), Ok([0.0, 5.0, 0.0, 0.0, 0.0, 7.0])),
            (
                Tensor::new(&[2, 2], vec![0i64, 2, 1, 0]).unwrap(),
                Ok([0.0, 0.0, 5.0, 7.0, 0.0, 0.0]),
            ),
            (Tensor::vector(vec![1i64, 6]), Err("outside")),
            (Tensor::vector(vec![-1i64, 5]), Err("outside")),
            (Tensor::vector(vec![i64::MIN, i64::MAX]), Err("outside")),
            (Tensor::vector(vec![5i64, 5]), Err("behind")),
            (Tensor::vector(vec![5i64, 1]), Err("behind")),
            (Tensor::new(&[2, 2], vec![0i64, 3, 1, 0]).unwrap(), Err("outside")),
            (Tensor::vector(vec![1i64]), Err("cannot lie")),
            (Tensor::new(&[2, 1], vec![0i64, 3]).unwrap(), Err("cannot lie")),
        ] {
            match (dense(&[2, 3], &values, &indices), want) {
                (Ok(tensor), Ok(want)) => assert_eq!(tensor.as_f32().unwrap(), want),
                (Err(e), Err(words)) => assert!(e.to_string().contains(words), "{e}"),
                (found, want) => panic!("{indices:?}: {found:?}, expected {want:?}"),
            }
        }
        let none = Tensor::vector::<i64>(vec![]);
        let huge = dense(&[1 << 40, 1 << 40], &Tensor::vector::<f32>(vec![]), &none);
        assert!(huge.is_err());
    }
}
