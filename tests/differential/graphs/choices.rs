//! The decisions that make a graph, read from bytes: a fuzzer's, or those of a seed.

use arbitrary::Unstructured;
use dyrelu::{DType, Tensor};

/// Bytes that decide. When they run out, every decision is the first of its alternatives.
pub struct Choices<'b>(Unstructured<'b>);

impl<'b> Choices<'b> {
    pub fn new(bytes: &'b [u8]) -> Self {
        Choices(Unstructured::new(bytes))
    }

    /// Whether there is nothing left to decide with.
    pub fn is_exhausted(&self) -> bool {
        self.0.is_empty()
    }

    /// One of `low..=high`.
    pub fn within(&mut self, low: i64, high: i64) -> i64 {
        self.0.int_in_range(low..=high).unwrap_or(low)
    }

    /// One of `low..=high`.
    pub fn size(&mut self, low: usize, high: usize) -> usize {
        self.within(low as i64, high as i64) as usize
    }

    /// True once in `times`, never when the bytes have run out.
    pub fn once_in(&mut self, times: u8) -> bool {
        self.within(0, i64::from(times) - 1) == i64::from(times) - 1
    }

    /// One of `alternatives`.
    pub fn pick<T: Clone>(&mut self, alternatives: &[T]) -> T {
        alternatives[self.size(0, alternatives.len() - 1)].clone()
    }

    /// A number between -2 and 2, often a simple one.
    pub fn number(&mut self) -> f32 {
        match self.within(0, 3) {
            0 => self.pick(&[1.0, 0.0, -1.0, 0.5, 2.0]),
            _ => self.within(-2000, 2000) as f32 / 1000.0,
        }
    }

    /// A tensor with elements of `dtype` between `low` and `high`.
    pub fn tensor(&mut self, dtype: DType, shape: &[usize], (low, high): (f32, f32)) -> Tensor {
        let mut generator = fastrand::Rng::with_seed(self.within(0, 0xffff) as u64);
        let count = shape.iter().product();
        // A few elements are exactly zero.
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
        tensor.expect("as many elements as the shape says")
    }
}
