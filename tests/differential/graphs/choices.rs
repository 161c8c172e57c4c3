//! Random choices, read from bytes of a fuzzer or of a seeded generator.

use arbitrary::Unstructured;
use dyrelu::{DType, Tensor};

/// A source of choices. Once its bytes are used up, every choice is the first alternative.
pub struct Choices<'b>(Unstructured<'b>);

impl<'b> Choices<'b> {
    pub fn new(bytes: &'b [u8]) -> Self {
        Choices(Unstructured::new(bytes))
    }

    /// Whether all bytes are used up.
    pub fn is_exhausted(&self) -> bool {
        self.0.is_empty()
    }

    /// Chooses an integer in `low..=high`.
    pub fn within(&mut self, low: i64, high: i64) -> i64 {
        self.0.int_in_range(low..=high).unwrap_or(low)
    }

    /// Chooses a size in `low..=high`.
    pub fn size(&mut self, low: usize, high: usize) -> usize {
        self.within(low as i64, high as i64) as usize
    }

    /// Returns true with a probability of 1 / `times`, and false once the bytes are used up.
    pub fn once_in(&mut self, times: u8) -> bool {
        self.within(0, i64::from(times) - 1) == i64::from(times) - 1
    }

    /// Chooses one of `alternatives`.
    pub fn pick<T: Clone>(&mut self, alternatives: &[T]) -> T {
        alternatives[self.size(0, alternatives.len() - 1)].clone()
    }

    /// Chooses a number between -2 and 2, often a simple one such as 1 or 0.5.
    pub fn number(&mut self) -> f32 {
        match self.within(0, 3) {
            0 => self.pick(&[1.0, 0.0, -1.0, 0.5, 2.0]),
            _ => self.within(-2000, 2000) as f32 / 1000.0,
        }
    }

    /// Generates a tensor whose elements are between `low` and `high`.
    pub fn tensor(&mut self, dtype: DType, shape: &[usize], (low, high): (f32, f32)) -> Tensor {
        let mut generator = fastrand::Rng::with_seed(self.within(0, 0xffff) as u64);
        let count = shape.iter().product();
        // One element in 64 is exactly zero.
        let mut element = || match generator.u8(..) {
            0..4 => 0.0f32.clamp(low, high),
            _ => low + (high - low) * generator.f32(),
        };
        let values: Vec<f32> = (0..count).map(|_| element()).collect();
        let tensor = Tensor::new(shape, values).and_then(|tensor| match dtype {
            DType::Bool => {
                let middle = (low + high) / 2.0;
                Tensor::from_bools(shape, tensor.as_f32()?.iter().map(|&x| x > middle))
            }
            _ => tensor.cast(dtype),
        });
        tensor.expect("the number of elements is that of the shape")
    }
}
