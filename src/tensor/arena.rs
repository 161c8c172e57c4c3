//! The memory of one run, from which steps borrow several ranges at once.
#![allow(unsafe_code)]

use std::ops::Range;

use super::AlignedBuffer;

/// A buffer of f32 on a 64-byte boundary.
pub struct Arena {
    buffer: AlignedBuffer,
}

impl Arena {
    /// A buffer of `len` zeros; `None` where the system does not have so much memory.
    pub fn new(len: usize) -> Option<Self> {
        Some(Arena { buffer: AlignedBuffer::try_zeroed(len.checked_mul(4)?)? })
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.buffer.as_ref().len() / 4
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One range.
    ///
    /// # Panics
    /// Where it leaves the buffer.
    pub fn read(&self, range: Range<usize>) -> &[f32] {
        &bytemuck::cast_slice(self.buffer.as_ref())[range]
    }

    /// Borrows ranges to read, which may overlap each other, and ranges to write.
    ///
    /// # Panics
    /// Where a range leaves the buffer, or one to write overlaps another.
    #[allow(clippy::type_complexity)] // Two lists of optional slices are what is wanted.
    pub fn borrow<const R: usize, const W: usize>(
        &mut self,
        reads: &[Option<Range<usize>>; R],
        writes: &[Option<Range<usize>>; W],
    ) -> ([Option<&[f32]>; R], [Option<&mut [f32]>; W]) {
        let len = self.len();
        let all: &mut [f32] = bytemuck::cast_slice_mut(self.buffer.as_mut_bytes());
        let base = all.as_mut_ptr();
        let overlap = |a: &Range<usize>, b: &Range<usize>| a.start.max(b.start) < a.end.min(b.end);
        for (i, write) in writes.iter().enumerate() {
            let Some(write) = write else { continue };
            let others = writes[..i].iter().chain(reads).flatten();
            assert!(
                others.into_iter().all(|other| !overlap(write, other)),
                "{write:?} is borrowed"
            );
        }
        let inside = |r: &Range<usize>| r.start <= r.end && r.end <= len;
        assert!(reads.iter().chain(writes).flatten().all(inside), "a range leaves the arena");
        // SAFETY: all ranges lie in the buffer, which stays borrowed as long as the slices live;
        // none that is written overlaps another.
        let read = |r: &Range<usize>| unsafe {
            std::slice::from_raw_parts(base.add(r.start).cast_const(), r.len())
        };
        // SAFETY: as above.
        let write = |r: &Range<usize>| unsafe {
            std::slice::from_raw_parts_mut(base.add(r.start), r.len())
        };
        (
            reads.each_ref().map(|r| r.as_ref().map(read)),
            writes.each_ref().map(|w| w.as_ref().map(write)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_apart() {
        let mut arena = Arena::new(32).unwrap();
        let ([a, b], [w]) = arena.borrow(&[Some(0..8), Some(4..8)], &[Some(8..16)]);
        w.unwrap()[0] = 1.0;
        assert_eq!((a.unwrap().len(), b.unwrap().len()), (8, 4));
        let ([r], [_]) = arena.borrow(&[Some(8..9)], &[None]);
        assert_eq!(r.unwrap(), [1.0]);
        // Nothing is in nobody's way.
        let ([r], [w]) = arena.borrow(&[Some(8..8)], &[Some(0..16)]);
        assert_eq!((r.unwrap().len(), w.unwrap().len()), (0, 16));
    }

    #[test]
    fn more_memory_than_there_is_is_refused() {
        for len in [1 << 50, usize::MAX / 8, usize::MAX] {
            assert!(Arena::new(len).is_none(), "{len}");
        }
    }

    #[test]
    #[should_panic(expected = "is borrowed")]
    fn a_range_that_is_read_cannot_be_written() {
        Arena::new(32).unwrap().borrow(&[Some(0..8)], &[Some(7..9)]);
    }
}
