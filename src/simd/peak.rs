//! What a processor can do at best.

use std::hint::black_box;
use std::time::Instant;

use super::{Isa, Simd, Vectorised};

/// Sums that are computed side by side: more than the latency of an addition hides.
const SUMS: usize = 12;

/// Multiply-adds of a run: about a millisecond.
const ROUNDS: usize = 200_000;

struct MultiplyAdds;

impl Vectorised for MultiplyAdds {
    /// How many there were.
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

/// The f32 multiply-adds that one thread does in a second with these instructions, measured: the
/// best of a few milliseconds.
pub fn peak(isa: Isa) -> f64 {
    let rates = (0..10).map(|_| {
        let start = Instant::now();
        isa.run(MultiplyAdds) as f64 / start.elapsed().as_secs_f64()
    });
    rates.fold(0.0, f64::max)
}
