//! Bytes behind a tensor: owned, shared, or borrowed from a mapped file.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Range};
use std::sync::Arc;

use super::Element;

/// The alignment of owned buffers, and of tensor data in native weight files, in bytes: a cache
/// line, and the widest vector load there is.
pub const ALIGNMENT: usize = 64;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([u8; ALIGNMENT]);

/// A zero-initialised buffer that starts on a 64-byte boundary.
pub struct AlignedBuffer {
    lines: Vec<Line>,
    len: usize,
}

impl AlignedBuffer {
    /// A buffer of `len` zero bytes.
    pub fn zeroed(len: usize) -> Self {
        let lines = bytemuck::zeroed_vec(len.div_ceil(ALIGNMENT));
        AlignedBuffer { lines, len }
    }

    /// The bytes, to be written.
    pub fn as_mut_bytes(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

impl AsRef<[u8]> for AlignedBuffer {
    fn as_ref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

struct TypedVec<T>(Vec<T>);

impl<T: Element> AsRef<[u8]> for TypedVec<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

/// Numbers that start on a 64-byte boundary.
pub struct Aligned<T> {
    bytes: AlignedBuffer,
    numbers: PhantomData<T>,
}

impl<T: Element> Aligned<T> {
    /// So many zeros.
    pub fn zeroed(len: usize) -> Self {
        Aligned { bytes: AlignedBuffer::zeroed(len * size_of::<T>()), numbers: PhantomData }
    }
}

impl<T: Element> FromIterator<T> for Aligned<T> {
    fn from_iter<I: IntoIterator<Item = T>>(numbers: I) -> Self {
        Self::from(numbers.into_iter().collect::<Vec<T>>().as_slice())
    }
}

impl<T: Element> From<&[T]> for Aligned<T> {
    fn from(numbers: &[T]) -> Self {
        let mut bytes = AlignedBuffer::zeroed(size_of_val(numbers));
        bytes.as_mut_bytes().copy_from_slice(bytemuck::cast_slice(numbers));
        Aligned { bytes, numbers: PhantomData }
    }
}

impl<T: Element> Deref for Aligned<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        bytemuck::cast_slice(self.bytes.as_ref())
    }
}

impl<T: Element> DerefMut for Aligned<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(self.bytes.as_mut_bytes())
    }
}

/// A range of bytes that some shared owner (a vector, a mapped file) keeps alive.
#[derive(Clone)]
pub struct Storage {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}

impl Storage {
    /// All bytes of `owner`.
    pub fn new(owner: Arc<dyn AsRef<[u8]> + Send + Sync>) -> Self {
        let range = 0..owner.as_ref().as_ref().len();
        Storage { owner, range }
    }

    /// The bytes of `data`, which is taken and not copied.
    pub fn from_vec<T: Element>(data: Vec<T>) -> Self {
        Self::new(Arc::new(TypedVec(data)))
    }

    /// A part of these bytes, without a copy; `None` where `range` leaves them.
    pub fn slice(&self, range: Range<usize>) -> Option<Self> {
        self.bytes().get(range.clone())?;
        let start = self.range.start;
        let range = start + range.start..start + range.end;
        Some(Storage { owner: self.owner.clone(), range })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.owner.as_ref().as_ref()[self.range.clone()]
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// These bytes at an address that is a multiple of `alignment`: themselves where they
    /// already are, else a copy.
    pub fn aligned_to(self, alignment: usize) -> Self {
        if self.bytes().as_ptr().addr().is_multiple_of(alignment) {
            return self;
        }
        let mut copy = AlignedBuffer::zeroed(self.len());
        copy.as_mut_bytes().copy_from_slice(self.bytes());
        Self::new(Arc::new(copy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_stay_inside_and_share_the_owner() {
        let s = Storage::from_vec(vec![1u8, 2, 3, 4]);
        let t = s.slice(1..3).unwrap();
        assert_eq!(t.bytes(), [2, 3]);
        assert_eq!(t.slice(1..2).unwrap().bytes(), [3]);
        assert!(t.slice(1..3).is_none());
        assert_eq!(t.bytes().as_ptr(), s.bytes()[1..].as_ptr());
    }

    #[test]
    fn misaligned_bytes_are_copied_to_a_boundary() {
        let mut b = AlignedBuffer::zeroed(65);
        b.as_mut_bytes()[1] = 7;
        let s = Storage::new(Arc::new(b));
        assert_eq!(s.bytes().as_ptr().addr() % ALIGNMENT, 0);
        let odd = s.slice(1..65).unwrap().aligned_to(4);
        assert_eq!(odd.bytes().as_ptr().addr() % 4, 0);
        assert_eq!(odd.bytes()[0], 7);
    }
}
