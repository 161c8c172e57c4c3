//! Maps between margins that nobody may touch: whoever reads one gets a NaN, whoever writes into one
//! is found out.

use std::ops::{Deref, DerefMut};

use crate::tensor::Aligned;

const MARGIN: usize = 64;
const POISON: u32 = 0x7fc5_5aa5;

pub(super) struct Guarded {
    all: Aligned<f32>,
}

impl Guarded {
    /// A map of these numbers.
    pub fn of(numbers: &[f32]) -> Self {
        let mut all = Aligned::zeroed(numbers.len() + 2 * MARGIN);
        all.fill(f32::from_bits(POISON));
        all[MARGIN..][..numbers.len()].copy_from_slice(numbers);
        Guarded { all }
    }

    /// A map to be written.
    pub fn unwritten(len: usize) -> Self {
        Self::of(&vec![f32::from_bits(POISON); len])
    }

    /// The map, after a kernel has written all of it and nothing else.
    pub fn written(&self, case: &str) -> &[f32] {
        let end = self.all.len() - MARGIN;
        let margins = self.all[..MARGIN].iter().chain(&self.all[end..]);
        assert!(margins.into_iter().all(|x| x.to_bits() == POISON), "margins are touched: {case}");
        assert!(self.iter().all(|x| x.to_bits() != POISON), "some elements are not: {case}");
        self
    }
}

impl Deref for Guarded {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.all[MARGIN..self.all.len() - MARGIN]
    }
}

impl DerefMut for Guarded {
    fn deref_mut(&mut self) -> &mut [f32] {
        let end = self.all.len() - MARGIN;
        &mut self.all[MARGIN..end]
    }
}
