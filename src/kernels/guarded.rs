//! Buffers with guard margins, for tests: an access outside a buffer is detected. Margins hold a NaN,
//! which a read outside carries into the result; a write outside changes the margin.

use std::ops::{Deref, DerefMut};

use crate::tensor::Aligned;

const MARGIN: usize = 64;
/// The bits of a NaN with a payload that only these buffers use.
const POISON: u32 = 0x7fc5_5aa5;

pub(super) struct Guarded {
    with_margins: Aligned<f32>,
}

impl Guarded {
    /// Returns a map that holds `numbers`.
    pub fn from_numbers(numbers: &[f32]) -> Self {
        let mut with_margins = Aligned::zeroed(numbers.len() + 2 * MARGIN);
        with_margins.fill(f32::from_bits(POISON));
        with_margins[MARGIN..][..numbers.len()].copy_from_slice(numbers);
        Guarded { with_margins }
    }

    /// Returns a map of `len` elements, none of which has been written.
    pub fn unwritten(len: usize) -> Self {
        Self::from_numbers(&vec![f32::from_bits(POISON); len])
    }

    /// Returns the map, after asserting that all of its elements were written and that its margins
    /// were not.
    pub fn written(&self, case: &str) -> &[f32] {
        let end = self.with_margins.len() - MARGIN;
        let margins = self.with_margins[..MARGIN].iter().chain(&self.with_margins[end..]);
        assert!(margins.into_iter().all(|x| x.to_bits() == POISON), "a margin was written: {case}");
        assert!(self.iter().all(|x| x.to_bits() != POISON), "an element was not written: {case}");
        self
    }
}

impl Deref for Guarded {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.with_margins[MARGIN..self.with_margins.len() - MARGIN]
    }
}

impl DerefMut for Guarded {
    fn deref_mut(&mut self) -> &mut [f32] {
        let end = self.with_margins.len() - MARGIN;
        &mut self.with_margins[MARGIN..end]
    }
}
