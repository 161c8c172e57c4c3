//! Dense tensors.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::shape::num_elements;
use super::{AlignedBuffer, DType, Element, Numbers, Storage};
use crate::error::{Error, Result};

/// A dense row-major tensor. Cloning shares the storage.
#[derive(Clone)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    storage: Storage,
}

impl Tensor {
    /// Returns a tensor of `shape` with the elements `data`, without a copy.
    ///
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape) if the length of `data` is not the number of elements of
    /// `shape`.
    pub fn new<T: Element>(shape: &[usize], data: Vec<T>) -> Result<Self> {
        Self::from_storage(T::DTYPE, shape, Storage::from_vec(data))
    }

    /// Returns a tensor without axes that holds `value`.
    pub fn scalar<T: Element>(value: T) -> Self {
        Tensor { dtype: T::DTYPE, shape: Vec::new(), storage: Storage::from_vec(vec![value]) }
    }

    /// Returns a tensor with one axis and the elements `data`, without a copy.
    pub fn vector<T: Element>(data: Vec<T>) -> Self {
        Tensor { dtype: T::DTYPE, shape: vec![data.len()], storage: Storage::from_vec(data) }
    }

    /// Returns a tensor of booleans, stored as one byte each.
    ///
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape) if the length of `data` is not the number of elements of
    /// `shape`.
    pub fn from_bools(shape: &[usize], data: impl IntoIterator<Item = bool>) -> Result<Self> {
        let bytes: Vec<u8> = data.into_iter().map(u8::from).collect();
        Self::from_storage(DType::Bool, shape, Storage::from_vec(bytes))
    }

    /// Returns a tensor of `shape` and `dtype` over the little-endian bytes of `storage`.
    ///
    /// Storage that is not aligned for `dtype` is copied when it is first read.
    ///
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape) if the length of `storage` does not match `shape` and `dtype`.
    #[doc(hidden)]
    pub fn from_storage(dtype: DType, shape: &[usize], storage: Storage) -> Result<Self> {
        let expected = num_elements(shape).and_then(|n| n.checked_mul(dtype.size()));
        if expected != Some(storage.len()) {
            return Err(Error::shape(format!(
                "a {dtype} tensor of shape {shape:?} needs {} bytes, found {}",
                expected.map_or("too many".to_string(), |n| n.to_string()),
                storage.len()
            )));
        }
        let storage = storage.aligned_to(dtype.size());
        Ok(Tensor { dtype, shape: shape.to_vec(), storage })
    }

    /// Returns a tensor with one axis and the elements `numbers`, without a copy.
    #[doc(hidden)]
    pub fn from_numbers<T: Element>(numbers: &Numbers<T>) -> Self {
        let shape = vec![numbers.len()];
        Tensor { dtype: T::DTYPE, shape, storage: numbers.storage().clone() }
    }

    /// Returns the elements, aligned to 64 bytes; `None` if they are not of type `T`.
    #[doc(hidden)]
    pub fn to_numbers<T: Element>(&self) -> Option<Numbers<T>> {
        Numbers::from_storage(self.storage.clone()).filter(|_| self.dtype == T::DTYPE)
    }

    /// Converts half-precision elements to f32, when they are first read. Tensors of other types are
    /// returned unchanged.
    #[doc(hidden)]
    pub fn widened(self) -> Self {
        if self.dtype != DType::F16 {
            return self;
        }
        let (shape, halves) = (self.shape, self.storage);
        let bytes = 2 * halves.len();
        let storage = Storage::deferred(bytes, move |wide| {
            let halves: &[f16] = bytemuck::cast_slice(halves.bytes());
            halves.convert_to_f32_slice(bytemuck::cast_slice_mut(wide));
        });
        Tensor { dtype: DType::F32, shape, storage }
    }

    /// Returns a tensor of `shape` with elements that `write` computes when they are first read. `write`
    /// must write all elements of the slice that it gets.
    ///
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape) if the size in bytes overflows.
    #[doc(hidden)]
    pub fn deferred<T: Element>(
        shape: &[usize],
        write: impl Fn(&mut [T]) + Send + Sync + 'static,
    ) -> Result<Self> {
        let bytes = num_elements(shape).and_then(|count| count.checked_mul(size_of::<T>()));
        let bytes = bytes.ok_or_else(|| Error::shape(format!("shape {shape:?} is too large")))?;
        let storage = Storage::deferred(bytes, move |bytes| write(bytemuck::cast_slice_mut(bytes)));
        Ok(Tensor { dtype: T::DTYPE, shape: shape.to_vec(), storage })
    }

    /// Returns the elements for a single read: elements that have not been computed yet, such as copies of
    /// unaligned bytes of a file, are computed in `scratch` and not kept.
    ///
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape) if the elements are not of type `T`.
    #[doc(hidden)]
    pub fn read_once<'a, T: Element>(&'a self, scratch: &'a mut AlignedBuffer) -> Result<&'a [T]> {
        self.expect::<T>()?;
        Ok(bytemuck::cast_slice(self.storage.read_once(scratch)))
    }

    /// Returns the element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Returns the sizes of the axes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        self.storage.len() / self.dtype.size()
    }

    /// Returns whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.storage.len() == 0
    }

    /// Returns the bytes of all elements, in row-major order.
    pub fn bytes(&self) -> &[u8] {
        self.storage.bytes()
    }

    /// Returns the elements, in row-major order.
    ///
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape) if the elements are not of type `T`.
    pub fn as_slice<T: Element>(&self) -> Result<&[T]> {
        self.expect::<T>()?;
        Ok(bytemuck::cast_slice(self.bytes()))
    }

    /// Returns the bytes of all elements for a single read, at any address: bytes of a file that are not
    /// aligned for the element type are not copied.
    #[doc(hidden)]
    pub fn bytes_once<'a>(&'a self, scratch: &'a mut AlignedBuffer) -> &'a [u8] {
        self.storage.read_anywhere(scratch)
    }

    fn expect<T: Element>(&self) -> Result<()> {
        if T::DTYPE != self.dtype {
            return Err(Error::shape(format!(
                "expected a {} tensor, found {} of shape {:?}",
                T::DTYPE,
                self.dtype,
                self.shape
            )));
        }
        Ok(())
    }

    /// Returns the elements as f32, in row-major order: shorthand for `as_slice::<f32>`.
    ///
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape) if the elements are not f32.
    pub fn as_f32(&self) -> Result<&[f32]> {
        self.as_slice()
    }

    /// Returns the elements of a tensor of booleans.
    ///
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape) if the elements are not booleans.
    pub fn to_bools(&self) -> Result<Vec<bool>> {
        if self.dtype != DType::Bool {
            return Err(Error::shape(format!("expected a bool tensor, found {}", self.dtype)));
        }
        Ok(self.bytes().iter().map(|&b| b != 0).collect())
    }

    /// Returns integer or boolean elements, converted to i64.
    ///
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape) if the elements are floating-point numbers.
    pub fn to_i64s(&self) -> Result<Vec<i64>> {
        match self.dtype {
            DType::I64 => Ok(self.as_slice::<i64>()?.to_vec()),
            DType::I32 | DType::I16 | DType::I8 | DType::U8 | DType::Bool => {
                self.cast(DType::I64)?.as_slice::<i64>().map(<[i64]>::to_vec)
            }
            other => Err(Error::shape(format!("expected an integer tensor, found {other}"))),
        }
    }

    /// Returns a tensor with the same elements and another shape, without a copy.
    ///
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape) if the shapes differ in the number of elements.
    pub fn reshape(&self, shape: &[usize]) -> Result<Self> {
        if num_elements(shape) != Some(self.len()) {
            return Err(Error::shape(format!(
                "cannot view shape {:?} ({} elements) as {shape:?}",
                self.shape,
                self.len()
            )));
        }
        Ok(Tensor { dtype: self.dtype, shape: shape.to_vec(), storage: self.storage.clone() })
    }

    /// Returns a tensor of `shape` over the elements from `first` on, without a copy.
    ///
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape) if there are fewer elements than `shape` needs.
    #[doc(hidden)]
    pub fn part(&self, first: usize, shape: &[usize]) -> Result<Self> {
        let size = self.dtype.size();
        let count = num_elements(shape).filter(|&n| n <= self.len().saturating_sub(first));
        let bytes = count.map(|count| first * size..(first + count) * size);
        let storage = bytes.and_then(|bytes| self.storage.slice(bytes)).ok_or_else(|| {
            Error::shape(format!("{self:?} has no part of shape {shape:?} from {first} on"))
        })?;
        Self::from_storage(self.dtype, shape, storage)
    }

    /// Returns the elements for writing; `None` if they are not f32, if another tensor may share them,
    /// or if they are not those of a vector.
    #[doc(hidden)]
    pub fn unique_f32(&mut self) -> Option<&mut [f32]> {
        let bytes = self.storage.unique_bytes().filter(|_| self.dtype == DType::F32)?;
        Some(bytemuck::cast_slice_mut(bytes))
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor({} {:?})", self.dtype, self.shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_the_data_is_checked() {
        assert!(Tensor::new(&[2, 3], vec![0f32; 5]).is_err());
        assert!(Tensor::new(&[usize::MAX, 8], vec![0f32; 5]).is_err());
        assert_eq!(Tensor::new(&[2, 3], vec![0f32; 6]).unwrap().shape(), [2, 3]);
    }

    #[test]
    fn a_view_of_the_wrong_type_is_an_error() {
        let t = Tensor::vector(vec![1i64, 2]);
        assert!(t.as_f32().is_err());
        assert_eq!(t.to_i64s().unwrap(), [1, 2]);
    }

    #[test]
    fn elements_are_written_only_where_no_other_tensor_sees_them() {
        let mut a = Tensor::vector(vec![1f32, 2.0, 3.0, 4.0]);
        a.unique_f32().unwrap()[1] = 5.0;
        let mut part = a.part(1, &[1, 2]).unwrap();
        assert_eq!(part.as_f32().unwrap(), [5.0, 3.0]);
        assert!(a.unique_f32().is_none() && part.unique_f32().is_none());
        drop(a);
        part.unique_f32().unwrap()[0] = 6.0;
        assert_eq!(part.as_f32().unwrap(), [6.0, 3.0]);
        assert!(Tensor::vector(vec![1i64]).unique_f32().is_none());
    }

    #[test]
    fn a_part_lies_within_the_tensor() {
        let a = Tensor::vector(vec![1f32, 2.0, 3.0]);
        assert_eq!(a.part(3, &[0, 7]).unwrap().shape(), [0, 7]);
        for (first, shape) in [(2, &[2][..]), (4, &[0]), (0, &[usize::MAX, 2]), (usize::MAX, &[1])]
        {
            assert!(a.part(first, shape).is_err(), "{first} {shape:?}");
        }
    }
}
