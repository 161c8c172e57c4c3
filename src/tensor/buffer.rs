//! The bytes of tensors: owned, shared, or borrowed from a mapped file.
#![allow(unsafe_code)]

use std::alloc::{Layout, handle_alloc_error};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Range};
use std::sync::{Arc, OnceLock};

use memmap2::MmapMut;

use super::Element;

/// The alignment of owned buffers and of tensor data in native weight files, in bytes: the size of a
/// cache line and of the widest vectors.
pub const ALIGNMENT: usize = 64;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([u8; ALIGNMENT]);

/// The size of large pages, in bytes, on systems that have them.
const LARGE_PAGE: usize = 1 << 21;

/// A zero-initialised buffer that starts on a 64-byte boundary.
pub struct AlignedBuffer {
    memory: Memory,
    len: usize,
}

enum Memory {
    Lines(Vec<Line>),
    /// Large pages, if the system has them, make the first access to new memory much cheaper.
    Pages(MmapMut),
}

impl AlignedBuffer {
    /// Returns a buffer of `len` zero bytes. Aborts the program if the allocation fails.
    pub fn zeroed(len: usize) -> Self {
        Self::try_zeroed(len).unwrap_or_else(|| {
            let layout = Layout::from_size_align(len, ALIGNMENT);
            handle_alloc_error(layout.unwrap_or(Layout::new::<Line>()))
        })
    }

    /// Returns a buffer of `len` zero bytes; `None` if the allocation fails.
    pub fn try_zeroed(len: usize) -> Option<Self> {
        let pages =
            (len >= LARGE_PAGE / 2).then(|| MmapMut::map_anon(len.next_multiple_of(LARGE_PAGE)));
        let memory = match pages {
            Some(Ok(pages)) => {
                // Advice only: if it fails, the system uses small pages.
                #[cfg(target_os = "linux")]
                let _ = pages.advise(memmap2::Advice::HugePage);
                Memory::Pages(pages)
            }
            _ => Memory::Lines(bytemuck::try_zeroed_vec(len.div_ceil(ALIGNMENT)).ok()?),
        };
        Some(AlignedBuffer { memory, len })
    }

    /// Returns the bytes for writing.
    pub fn as_mut_bytes(&mut self) -> &mut [u8] {
        let bytes = match &mut self.memory {
            Memory::Lines(lines) => bytemuck::cast_slice_mut(lines),
            Memory::Pages(pages) => &mut pages[..],
        };
        &mut bytes[..self.len]
    }
}

impl AsRef<[u8]> for AlignedBuffer {
    fn as_ref(&self) -> &[u8] {
        let bytes = match &self.memory {
            Memory::Lines(lines) => bytemuck::cast_slice(lines),
            Memory::Pages(pages) => &pages[..],
        };
        &bytes[..self.len]
    }
}

struct TypedVec<T>(Vec<T>);

/// An owned slice of numbers that starts on a 64-byte boundary.
pub struct Aligned<T> {
    bytes: AlignedBuffer,
    numbers: PhantomData<T>,
}

impl<T: Element> Aligned<T> {
    /// Returns `len` zeros.
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

/// An immutable slice of numbers that starts on a 64-byte boundary: owned, or borrowed from a mapped
/// file.
#[derive(Clone)]
pub struct Numbers<T> {
    storage: Storage,
    numbers: PhantomData<T>,
}

impl<T: Element> Numbers<T> {
    /// Returns the numbers in `storage`, as a copy if `storage` does not start on a 64-byte boundary;
    /// `None` if the length of `storage` is not a multiple of the size of a number.
    pub(super) fn from_storage(storage: Storage) -> Option<Self> {
        let whole = storage.len().is_multiple_of(size_of::<T>());
        whole.then(|| Numbers { storage: storage.aligned_to(ALIGNMENT), numbers: PhantomData })
    }

    /// Returns the numbers in `range`, without a copy if they start on a 64-byte boundary.
    ///
    /// # Panics
    /// Panics if `range` is not inside the slice.
    pub fn slice(&self, range: Range<usize>) -> Self {
        let bytes = range.start * size_of::<T>()..range.end * size_of::<T>();
        let part = self.storage.slice(bytes).and_then(Self::from_storage);
        part.expect("the range is inside the slice")
    }

    pub(super) fn storage(&self) -> &Storage {
        &self.storage
    }
}

impl<T: Element> From<Aligned<T>> for Numbers<T> {
    fn from(numbers: Aligned<T>) -> Self {
        Numbers { storage: Storage::new(Arc::new(numbers.bytes)), numbers: PhantomData }
    }
}

impl<T: Element> Deref for Numbers<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        bytemuck::cast_slice(self.storage.bytes())
    }
}

/// Bytes that are computed when they are first read.
struct Deferred {
    len: usize,
    source: Source,
    bytes: OnceLock<AlignedBuffer>,
}

/// Where deferred bytes come from.
enum Source {
    /// Copied from a storage that is not aligned.
    Copy(Storage),
    /// Written by a function.
    Write(Box<WriteBytes>),
}

/// A function that writes all bytes of a buffer.
type WriteBytes = dyn Fn(&mut [u8]) + Send + Sync;

impl Deferred {
    fn storage(len: usize, source: Source) -> Storage {
        let deferred = Deferred { len, source, bytes: OnceLock::new() };
        Storage { owner: Owner::Deferred(Arc::new(deferred)), range: 0..len }
    }

    fn write_to(&self, bytes: &mut [u8]) {
        match &self.source {
            Source::Copy(from) => bytes.copy_from_slice(from.bytes()),
            Source::Write(write) => write(bytes),
        }
    }
}

impl AsRef<[u8]> for Deferred {
    fn as_ref(&self) -> &[u8] {
        let compute = || {
            let mut bytes = AlignedBuffer::zeroed(self.len);
            self.write_to(bytes.as_mut_bytes());
            bytes
        };
        self.bytes.get_or_init(compute).as_ref()
    }
}

/// A range of the bytes of a shared owner, such as a vector or a mapped file, which it keeps alive.
#[derive(Clone)]
pub struct Storage {
    owner: Owner,
    range: Range<usize>,
}

/// An owner of bytes that do not move or change, for a [`Storage`].
///
/// # Safety
///
/// Every call of [`stable_bytes`](Self::stable_bytes) returns the same slice. Kernels check the length
/// of a slice once and read it later.
pub unsafe trait StableBytes: Send + Sync {
    /// Returns the bytes.
    fn stable_bytes(&self) -> &[u8];

    /// Returns the same bytes for writing, if the owner allows that.
    fn unique_bytes(&mut self) -> Option<&mut [u8]> {
        None
    }
}

// SAFETY: the memory of a buffer is allocated once, and a shared buffer is not written to.
unsafe impl StableBytes for AlignedBuffer {
    fn stable_bytes(&self) -> &[u8] {
        self.as_ref()
    }
}

// SAFETY: the vector is private, and neither changes behind a shared reference nor grows.
unsafe impl<T: Element> StableBytes for TypedVec<T> {
    fn stable_bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }

    fn unique_bytes(&mut self) -> Option<&mut [u8]> {
        Some(bytemuck::cast_slice_mut(&mut self.0))
    }
}

// SAFETY: `Bytes` is an immutable slice.
#[cfg(feature = "onnx")]
unsafe impl StableBytes for bytes::Bytes {
    fn stable_bytes(&self) -> &[u8] {
        self
    }
}

#[derive(Clone)]
enum Owner {
    Shared(Arc<dyn StableBytes>),
    Deferred(Arc<Deferred>),
}

impl Storage {
    /// Returns all bytes of `owner`.
    pub fn new(owner: Arc<dyn StableBytes>) -> Self {
        let range = 0..owner.stable_bytes().len();
        Storage { owner: Owner::Shared(owner), range }
    }

    /// Returns the bytes of `data`, without a copy.
    pub fn from_vec<T: Element>(data: Vec<T>) -> Self {
        Self::new(Arc::new(TypedVec(data)))
    }

    /// Returns `len` bytes that `write` computes when they are first read. `write` gets a buffer of `len`
    /// bytes on a 64-byte boundary, the contents of which are unspecified, and must write all of it.
    pub fn deferred(len: usize, write: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Self {
        Deferred::storage(len, Source::Write(Box::new(write)))
    }

    /// Returns the bytes for a single read: deferred bytes that have not been computed yet are computed
    /// in `scratch` and not kept.
    pub fn read_once<'a>(&'a self, scratch: &'a mut AlignedBuffer) -> &'a [u8] {
        match &self.owner {
            Owner::Deferred(deferred) if deferred.bytes.get().is_none() => {
                if scratch.len < deferred.len {
                    *scratch = AlignedBuffer::zeroed(deferred.len);
                }
                let bytes = &mut scratch.as_mut_bytes()[..deferred.len];
                deferred.write_to(bytes);
                &bytes[self.range.clone()]
            }
            _ => self.bytes(),
        }
    }

    /// As [`read_once`](Self::read_once), but at any address: unaligned bytes are not copied.
    pub fn read_anywhere<'a>(&'a self, scratch: &'a mut AlignedBuffer) -> &'a [u8] {
        match &self.owner {
            Owner::Deferred(deferred) => match &deferred.source {
                Source::Copy(from) => &from.bytes()[self.range.clone()],
                Source::Write(_) => self.read_once(scratch),
            },
            Owner::Shared(_) => self.bytes(),
        }
    }

    /// Returns the bytes in `range`, without a copy; `None` if `range` is not inside the storage.
    pub fn slice(&self, range: Range<usize>) -> Option<Self> {
        if range.start > range.end || range.end > self.len() {
            return None;
        }
        let start = self.range.start;
        let range = start + range.start..start + range.end;
        Some(Storage { owner: self.owner.clone(), range })
    }

    /// Returns the bytes. Deferred bytes are computed first and kept.
    pub fn bytes(&self) -> &[u8] {
        let bytes = match &self.owner {
            Owner::Shared(owner) => owner.stable_bytes(),
            Owner::Deferred(deferred) => deferred.as_ref().as_ref(),
        };
        &bytes[self.range.clone()]
    }

    /// Returns the bytes for writing; `None` if another storage may share them, or if they are not those
    /// of a vector.
    pub fn unique_bytes(&mut self) -> Option<&mut [u8]> {
        match &mut self.owner {
            Owner::Shared(owner) => {
                let bytes = Arc::get_mut(owner)?.unique_bytes()?;
                Some(&mut bytes[self.range.clone()])
            }
            Owner::Deferred(_) => None,
        }
    }

    /// Returns the number of bytes.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Returns whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// Returns the bytes at an address that is a multiple of `alignment`, at most [`ALIGNMENT`]. If they
    /// are not aligned, the result is a copy, made when it is first read.
    pub fn aligned_to(self, alignment: usize) -> Self {
        let address = match &self.owner {
            Owner::Shared(owner) => owner.stable_bytes().as_ptr().addr() + self.range.start,
            // Deferred bytes are written to a buffer that is aligned.
            Owner::Deferred(_) => self.range.start,
        };
        if address.is_multiple_of(alignment) {
            return self;
        }
        Deferred::storage(self.len(), Source::Copy(self))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

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
    fn deferred_bytes_are_computed_once() {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let s = Storage::deferred(3, |bytes| {
            COUNT.fetch_add(1, Ordering::Relaxed);
            bytes.fill(0);
        });
        let part = s.slice(1..3).unwrap();
        assert_eq!((s.len(), part.len(), COUNT.load(Ordering::Relaxed)), (3, 2, 0));
        assert_eq!((s.bytes(), part.bytes()), (&[0; 3][..], &[0; 2][..]));
        assert_eq!(COUNT.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn bytes_that_are_read_once_are_not_kept() {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let s = Storage::deferred(3, |bytes| {
            COUNT.fetch_add(1, Ordering::Relaxed);
            bytes.copy_from_slice(&[1, 2, 3]);
        });
        // A scratch buffer that is larger than needed and not zero.
        let mut scratch = AlignedBuffer::zeroed(5);
        scratch.as_mut_bytes().fill(9);
        for _ in 0..2 {
            assert_eq!(s.slice(1..3).unwrap().read_once(&mut scratch), [2, 3]);
        }
        assert_eq!(s.read_once(&mut AlignedBuffer::zeroed(0)), [1, 2, 3]);
        assert_eq!(COUNT.load(Ordering::Relaxed), 3);
        s.bytes();
        assert_eq!(s.read_once(&mut scratch).as_ptr(), s.bytes().as_ptr());
        assert_eq!(COUNT.load(Ordering::Relaxed), 4);
    }

    #[test]
    fn numbers_are_slices_of_their_storage() {
        let numbers: Numbers<f32> = Aligned::from(&[1.0, 2.0, 3.0][..]).into();
        assert_eq!(numbers.slice(1..3)[..], [2.0, 3.0]);
        assert_eq!(numbers.slice(1..3).as_ptr().addr() % ALIGNMENT, 0);
        assert!(Numbers::<f32>::from_storage(Storage::from_vec(vec![0u8; 6])).is_none());
    }

    #[test]
    fn unaligned_bytes_are_copied_to_a_boundary() {
        let mut b = AlignedBuffer::zeroed(65);
        b.as_mut_bytes()[1] = 7;
        let s = Storage::new(Arc::new(b));
        assert_eq!(s.bytes().as_ptr().addr() % ALIGNMENT, 0);
        let odd = s.slice(1..65).unwrap().aligned_to(4);
        let none = &mut AlignedBuffer::zeroed(0);
        assert_eq!(odd.read_anywhere(none).as_ptr(), s.bytes()[1..].as_ptr());
        assert_eq!(odd.bytes().as_ptr().addr() % 4, 0);
        assert_eq!(odd.bytes()[0], 7);
    }
}
