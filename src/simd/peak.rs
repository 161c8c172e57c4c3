//! The rate of multiply-adds that a processor reaches.

use std::hint::black_box;
use std::time::Instant;

use super::isa::Isa;
use super::vector::{Simd, Vectorised};

/// Independent sums: enough to hide the latency of a multiply-add.
const SUMS: usize = 12;

/// Multiply-adds per sum: a run of them takes about a millisecond.
const ROUNDS: usize = 200_000;

struct MultiplyAdds;

impl Vectorised for MultiplyAdds {
    /// The number of multiply-adds.
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> usize {
        let (a, b) = (s.splat(black_box(0.999)), s.splat(black_box(1e-3)));
        let mut sums = [s.splat(0.5); SUMS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = s.mul_add(*sum, a, b);
            }
        }
        let total = sums.into_iter().fold(s.splat(0.0), |total, sum| s.add(total, sum));
        black_box(s.sum(total));
        ROUNDS * SUMS * S::WIDTH
    }
}

/// Measures how many f32 multiply-adds one thread computes per second with `isa`: the best of ten runs of
/// about a millisecond.
pub fn peak(isa: Isa) -> f64 {
    let rates = (0..10).map(|_| {
        let start = Instant::now();
        isa.run(MultiplyAdds) as f64 / start.elapsed().as_secs_f64()
    });
    rates.fold(0.0, f64::max)
}
