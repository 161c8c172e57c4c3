//! A slice that threads get parts of.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};

/// The most parts that a slice is handed out in.
pub const MOST_PARTS: usize = 64;

/// Parts of equal length of one slice. Each is handed out once.
pub struct Parts<'a> {
    first: *mut f32,
    len: usize,
    taken: [AtomicBool; MOST_PARTS],
    count: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: each part is handed out once and parts are disjoint, so that no two threads reach the
// same element; the pointer is not given to anyone else.
unsafe impl Sync for Parts<'_> {}

impl<'a> Parts<'a> {
    /// The first `count` parts of `len` elements of a slice.
    ///
    /// # Panics
    /// Panics if the slice has fewer elements, or if `count` is larger than [`MOST_PARTS`].
    pub fn new(slice: &'a mut [f32], len: usize, count: usize) -> Self {
        assert!(count <= MOST_PARTS, "{count} parts");
        let fits = len.checked_mul(count).is_some_and(|all| all <= slice.len());
        assert!(fits, "{count} parts of {len} elements, found {} elements", slice.len());
        let taken = [const { AtomicBool::new(false) }; MOST_PARTS];
        Parts { first: slice.as_mut_ptr(), len, taken, count, borrow: PhantomData }
    }

    /// Part `i`; `None` if it was taken before or is not there.
    pub fn take(&self, i: usize) -> Option<&'a mut [f32]> {
        if i >= self.count || self.taken[i].swap(true, Ordering::Relaxed) {
            return None;
        }
        // SAFETY: `new` checked that the slice, which is borrowed for as long, has `count` parts;
        // the swap lets one caller through, so that the part has no other borrower.
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
    fn parts_that_are_not_there_are_refused() {
        Parts::new(&mut [0.0; 10], usize::MAX / 2, 3);
    }
}
