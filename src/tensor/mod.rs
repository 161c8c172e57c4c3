//! Dense tensors: element types, shapes, layouts, and storage that may be borrowed from a file.

mod arena;
mod buffer;
mod dtype;
mod layout;
mod parts;

pub use arena::Arena;
pub use buffer::{ALIGNMENT, Aligned, AlignedBuffer, Numbers, StableBytes, Storage};
pub use dtype::{DType, Element};
pub use layout::Layout;
pub use parts::{MOST_PARTS, Parts};

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::error::{Error, Result};

/// The number of elements of `shape`, or `None` where it does not fit in `usize`, or would not if
/// axes of size 0 had size 1: products of some of the axes are needed too.
pub fn num_elements(shape: &[usize]) -> Option<usize> {
    let others = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d.max(1)))?;
    Some(if shape.contains(&0) { 0 } else { others })
}

/// Row-major strides, in elements, of a dense tensor of `shape`.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// A dense row-major tensor. Cloning shares the storage.
#[derive(Clone)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    storage: Storage,
}

impl Tensor {
    /// A tensor of `shape` over `data`, which is taken and not copied.
    ///
    /// # Errors
    /// `Shape` where `data` does not have as many elements as `shape` says.
    pub fn new<T: Element>(shape: &[usize], data: Vec<T>) -> Result<Self> {
        Self::from_storage(T::DTYPE, shape, Storage::from_vec(data))
    }

    /// A tensor without axes that holds `value`.
    pub fn scalar<T: Element>(value: T) -> Self {
        Tensor { dtype: T::DTYPE, shape: Vec::new(), storage: Storage::from_vec(vec![value]) }
    }

    /// A tensor with one axis over `data`.
    pub fn vector<T: Element>(data: Vec<T>) -> Self {
        Tensor { dtype: T::DTYPE, shape: vec![data.len()], storage: Storage::from_vec(data) }
    }

    /// A tensor of truth values, stored a byte each.
    pub fn from_bools(shape: &[usize], data: impl IntoIterator<Item = bool>) -> Result<Self> {
        let bytes: Vec<u8> = data.into_iter().map(u8::from).collect();
        Self::from_storage(DType::Bool, shape, Storage::from_vec(bytes))
    }

    /// A tensor of `shape` and `dtype` over raw little-endian `storage`.
    ///
    /// Storage that is not aligned for `dtype` is copied when it is first read.
    ///
    /// # Errors
    /// `Shape` where the number of bytes is not that of `shape` and `dtype`.
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

    /// These numbers, without a copy, with one axis.
    #[doc(hidden)]
    pub fn of_numbers<T: Element>(numbers: &Numbers<T>) -> Self {
        let shape = vec![numbers.len()];
        Tensor { dtype: T::DTYPE, shape, storage: numbers.storage().clone() }
    }

    /// The elements as numbers on a boundary; `None` where they have another type.
    #[doc(hidden)]
    pub fn to_numbers<T: Element>(&self) -> Option<Numbers<T>> {
        Numbers::over(self.storage.clone()).filter(|_| self.dtype == T::DTYPE)
    }

    /// Half-precision elements as f32, widened when somebody first looks at them; others as they
    /// are.
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

    /// A tensor of `shape` whose elements `make` writes, all of them, when they are first read.
    ///
    /// # Errors
    /// `Shape` where no memory holds so many elements.
    #[doc(hidden)]
    pub fn deferred<T: Element>(
        shape: &[usize],
        make: impl Fn(&mut [T]) + Send + Sync + 'static,
    ) -> Result<Self> {
        let bytes = num_elements(shape).and_then(|count| count.checked_mul(size_of::<T>()));
        let bytes = bytes.ok_or_else(|| Error::shape(format!("shape {shape:?} is too large")))?;
        let storage = Storage::deferred(bytes, move |made| make(bytemuck::cast_slice_mut(made)));
        Ok(Tensor { dtype: T::DTYPE, shape: shape.to_vec(), storage })
    }

    /// The elements for a caller that reads them once: those that are yet to be made, such as
    /// copies of misaligned bytes of a file, are made in `scratch` and not kept.
    ///
    /// # Errors
    /// `Shape` where the tensor is not of type `T`.
    #[doc(hidden)]
    pub fn read_once<'a, T: Element>(&'a self, scratch: &'a mut AlignedBuffer) -> Result<&'a [T]> {
        self.expect::<T>()?;
        Ok(bytemuck::cast_slice(self.storage.read_once(scratch)))
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The sizes of the axes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.storage.len() / self.dtype.size()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.storage.len() == 0
    }

    /// The bytes of all elements.
    pub fn bytes(&self) -> &[u8] {
        self.storage.bytes()
    }

    /// The elements, in row-major order.
    ///
    /// # Errors
    /// `Shape` where the tensor is not of type `T`.
    pub fn as_slice<T: Element>(&self) -> Result<&[T]> {
        self.expect::<T>()?;
        Ok(bytemuck::cast_slice(self.bytes()))
    }

    /// The bytes of all elements for a caller that reads them once, at any address: bytes of a file
    /// that are misaligned for the element type are not copied.
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

    /// The elements as f32, in row-major order; shorthand for `as_slice::<f32>`.
    ///
    /// # Errors
    /// `Shape` where the tensor is not of type f32.
    pub fn as_f32(&self) -> Result<&[f32]> {
        self.as_slice()
    }

    /// Truth values as a vector.
    ///
    /// # Errors
    /// `Shape` where the tensor is not of type bool.
    pub fn to_bools(&self) -> Result<Vec<bool>> {
        if self.dtype != DType::Bool {
            return Err(Error::shape(format!("expected a bool tensor, found {}", self.dtype)));
        }
        Ok(self.bytes().iter().map(|&b| b != 0).collect())
    }

    /// Integer elements (i32, i64 or u8 and the like) widened to i64.
    ///
    /// # Errors
    /// `Shape` where the elements are not integers.
    pub fn to_i64s(&self) -> Result<Vec<i64>> {
        match self.dtype {
            DType::I64 => Ok(self.as_slice::<i64>()?.to_vec()),
            DType::I32 | DType::I8 | DType::U8 | DType::Bool => {
                self.cast(DType::I64)?.as_slice::<i64>().map(<[i64]>::to_vec)
            }
            other => Err(Error::shape(format!("expected an integer tensor, found {other}"))),
        }
    }

    /// The same elements under another shape, without a copy.
    ///
    /// # Errors
    /// `Shape` where the numbers of elements differ.
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

    /// The elements converted to `to`, as C converts them (truncation toward zero, saturating at
    /// the ends of integer types; anything but zero is true).
    pub fn cast(&self, to: DType) -> Result<Self> {
        dtype::cast(self, to)
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
    fn sizes_are_checked_and_never_overflow() {
        assert_eq!(num_elements(&[usize::MAX, 2]), None);
        assert_eq!(num_elements(&[usize::MAX, 2, 0]), None);
        assert_eq!(num_elements(&[usize::MAX, 0]), Some(0));
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
    fn strides_are_row_major() {
        assert_eq!(strides(&[2, 3, 4]), [12, 4, 1]);
        assert!(strides(&[]).is_empty());
    }
}
