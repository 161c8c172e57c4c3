//! The memory of a run, from which a step borrows several ranges at once.
#![allow(unsafe_code)]

use std::ops::Range;

use super::AlignedBuffer;

/// A buffer of f32 that starts on a 64-byte boundary.
pub struct Arena {
    buffer: AlignedBuffer,
}

impl Arena {
    /// Returns a buffer of `len` zeros; `None` if the allocation fails.
    pub fn new(len: usize) -> Option<Self> {
        Some(Arena { buffer: AlignedBuffer::try_zeroed(len.checked_mul(4)?)? })
    }

    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        self.buffer.as_ref().len() / 4
    }

    /// Returns whether the buffer has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the elements in `range`.
    ///
    /// # Panics
    /// Panics if `range` is not inside the buffer.
    pub fn read(&self, range: Range<usize>) -> &[f32] {
        &bytemuck::cast_slice(self.buffer.as_ref())[range]
    }

    /// Borrows `reads` to be read, which may overlap each other, and `writes` to be written.
    ///
    /// # Panics
    /// Panics if a range is not inside the buffer, or if one of `writes` overlaps another range.
    #[allow(clippy::type_complexity)] // Aliases for the two arrays would not be clearer.
    pub fn borrow<const R: usize, const W: usize>(
        &mut self,
        reads: &[Option<Range<usize>>; R],
        writes: &[Option<Range<usize>>; W],
    ) -> ([Option<&[f32]>; R], [Option<&mut [f32]>; W]) {
        let len = self.len();
        let elements: &mut [f32] = bytemuck::cast_slice_mut(self.buffer.as_mut_bytes());
        let base = elements.as_mut_ptr();
        let overlap = |a: &Range<usize>, b: &Range<usize>| a.start.max(b.start) < a.end.min(b.end);
        for (i, write) in writes.iter().enumerate() {
            let Some(write) = write else { continue };
            let others = writes[..i].iter().chain(reads).flatten();
            assert!(
                others.into_iter().all(|other| !overlap(write, other)),
                "range {write:?} is already borrowed"
            );
        }
        let inside = |r: &Range<usize>| r.start <= r.end && r.end <= len;
        assert!(reads.iter().chain(writes).flatten().all(inside), "a range is outside the arena");
        // SAFETY: all ranges lie in the buffer, as asserted, and the buffer stays borrowed as long as the
        // slices live. A range that is written overlaps no other, as asserted.
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
    fn several_ranges_are_borrowed_at_once() {
        let mut arena = Arena::new(32).unwrap();
        let ([a, b], [w]) = arena.borrow(&[Some(0..8), Some(4..8)], &[Some(8..16)]);
        w.unwrap()[0] = 1.0;
        assert_eq!((a.unwrap().len(), b.unwrap().len()), (8, 4));
        let ([r], [_]) = arena.borrow(&[Some(8..9)], &[None]);
        assert_eq!(r.unwrap(), [1.0]);
        // An empty range overlaps no other.
        let ([r], [w]) = arena.borrow(&[Some(8..8)], &[Some(0..16)]);
        assert_eq!((r.unwrap().len(), w.unwrap().len()), (0, 16));
    }

    #[test]
    fn an_allocation_that_fails_is_none() {
        for len in [1 << 50, usize::MAX / 8, usize::MAX] {
            assert!(Arena::new(len).is_none(), "{len}");
        }
    }

    #[test]
    #[should_panic(expected = "is already borrowed")]
    fn a_range_that_is_read_cannot_be_written() {
        Arena::new(32).unwrap().borrow(&[Some(0..8)], &[Some(7..9)]);
    }
}
