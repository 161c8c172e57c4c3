//! A slice that is handed out to threads in parts.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};

/// The largest number of parts of a slice.
pub const MOST_PARTS: usize = 64;

/// Disjoint parts of equal length of a slice. Each is handed out once.
pub struct Parts<'a> {
    first: *mut f32,
    len: usize,
    taken: [AtomicBool; MOST_PARTS],
    count: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: the parts are disjoint and each is handed out once, so that no two threads access the same
// element. The pointer is not exposed.
unsafe impl Sync for Parts<'_> {}

impl<'a> Parts<'a> {
    /// Splits the start of `slice` into `count` parts of `len` elements.
    ///
    /// # Panics
    /// Panics if the slice has fewer than `count * len` elements, or if `count` exceeds [`MOST_PARTS`].
    pub fn new(slice: &'a mut [f32], len: usize, count: usize) -> Self {
        assert!(count <= MOST_PARTS, "{count} parts exceed {MOST_PARTS}");
        let fits = len.checked_mul(count).is_some_and(|needed| needed <= slice.len());
        assert!(fits, "{count} parts of {len} elements do not fit in {} elements", slice.len());
        let taken = [const { AtomicBool::new(false) }; MOST_PARTS];
        Parts { first: slice.as_mut_ptr(), len, taken, count, borrow: PhantomData }
    }

    /// Returns part `i`; `None` if it has been taken already or does not exist.
    pub fn take(&self, i: usize) -> Option<&'a mut [f32]> {
        if i >= self.count || self.taken[i].swap(true, Ordering::Relaxed) {
            return None;
        }
        // SAFETY: `new` asserted that the slice, which is borrowed for `'a`, has `count` parts. The swap
        // lets a single caller through, so that the part is borrowed once.
        Some(unsafe { std::slice::from_raw_parts_mut(self.first.add(i * self.len), self.len) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_handed_out_once() {
        let mut slice = [0f32; 10];
        let parts = Parts::new(&mut slice, 3, 3);
        for (i, part) in [parts.take(2), parts.take(0), parts.take(1)].into_iter().enumerate() {
            part.unwrap().fill(i as f32 + 1.0);
        }
        assert!([0, 1, 2, 3, usize::MAX].into_iter().all(|i| parts.take(i).is_none()));
        assert_eq!(slice, [2.0, 2.0, 2.0, 3.0, 3.0, 3.0, 1.0, 1.0, 1.0, 0.0]);
    }

    #[test]
    #[should_panic(expected = "parts of")]
    fn parts_beyond_the_slice_are_refused() {
        Parts::new(&mut [0.0; 10], usize::MAX / 2, 3);
    }
}
