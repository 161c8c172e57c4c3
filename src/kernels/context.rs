//! The context of a hyperfunction and its hidden layer, from one image without padding, in NCHW or
//! NHWC.
//!
//! ```text
//! context = mean over height and width of x
//! hidden  = relu(W1 context + c1)
//! ```
#![allow(unsafe_code)]

use crate::simd::{Isa, LANES, Simd, Vectorised};

/// Writes the mean of each channel of `x`, one image in NCHW, to `means [channels]`.
///
/// # Panics
/// Panics if either slice is empty, or if the length of `x` is not a multiple of the number of means.
pub fn means_nchw(isa: Isa, x: &[f32], means: &mut [f32]) {
    assert!(!means.is_empty() && !x.is_empty() && x.len().is_multiple_of(means.len()));
    isa.run_narrow(MeansNchw { x, plane: x.len() / means.len(), means });
}

/// Writes the mean of each channel of `x`, one image in NHWC without padding, to `means [channels]`.
///
/// # Panics
/// Panics if either slice is empty, or if the length of `x` is not a multiple of the number of means.
pub fn means_nhwc(isa: Isa, x: &[f32], means: &mut [f32]) {
    assert!(!means.is_empty() && !x.is_empty() && x.len().is_multiple_of(means.len()));
    isa.run_narrow(MeansNhwc { x, means });
}

/// Writes `relu(weight x + bias)` to the start of `to`, and zeros to the rest of `to`.
///
/// # Panics
/// Panics if `weight` is not `[bias.len()][x.len()]` or `to` is shorter than `bias`.
pub fn hidden_layer(isa: Isa, weight: &[f32], bias: &[f32], x: &[f32], to: &mut [f32]) {
    assert_eq!(weight.len(), bias.len() * x.len(), "the weights are not [bias.len()][x.len()]");
    assert!(to.len() >= bias.len(), "the output is shorter than the bias");
    isa.run_narrow(Hidden { weight, bias, x, to });
}

struct MeansNchw<'a, 'b> {
    x: &'a [f32],
    plane: usize,
    means: &'b mut [f32],
}

impl Vectorised for MeansNchw<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (mean, plane) in self.means.iter_mut().zip(self.x.chunks_exact(self.plane)) {
            *mean = sum(s, plane) / self.plane as f32;
        }
    }
}

struct MeansNhwc<'a, 'b> {
    x: &'a [f32],
    means: &'b mut [f32],
}

impl Vectorised for MeansNhwc<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let MeansNhwc { x, means } = self;
        let channels = means.len();
        means.fill(0.0);
        let rows = x.chunks_exact(ROWS * channels);
        rows.remainder().chunks_exact(channels).for_each(|x| add_rows::<S, 1>(s, x, means));
        rows.for_each(|x| add_rows::<S, ROWS>(s, x, means));
        let pixels = (x.len() / channels) as f32;
        means.iter_mut().for_each(|mean| *mean /= pixels);
    }
}

/// Pixels per pass over the sums, which are loaded and stored once per pass.
const ROWS: usize = 8;

/// Returns the sum of any number of elements, computed in four vectors of partial sums.
#[inline(always)]
fn sum<S: Simd>(s: S, x: &[f32]) -> f32 {
    let (parts, rest) = x.as_chunks::<{ 4 * LANES }>();
    let mut sums = [s.splat(0.0); 4];
    for part in parts {
        for (i, sum) in sums.iter_mut().enumerate() {
            // SAFETY: a part has `4 * LANES` elements.
            *sum = s.add(*sum, unsafe { s.load(part.as_ptr().add(i * LANES)) });
        }
    }
    let sums = s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3]));
    s.sum(sums) + rest.iter().sum::<f32>()
}

/// Adds `R` pixels of `sums.len()` channels each to `sums`.
#[inline(always)]
fn add_rows<S: Simd, const R: usize>(s: S, x: &[f32], sums: &mut [f32]) {
    let channels = sums.len();
    assert_eq!(x.len(), R * channels);
    let whole = channels / LANES * LANES;
    for channel in (0..whole).step_by(LANES) {
        // SAFETY: `channel + LANES <= channels`, each of the `R` pixels has `channels` elements, as
        // asserted above, and so has `sums`.
        unsafe {
            let to = sums.as_mut_ptr().add(channel);
            let mut sum = s.load(to);
            for row in 0..R {
                sum = s.add(sum, s.load(x.as_ptr().add(row * channels + channel)));
            }
            s.store(to, sum);
        }
    }
    for (channel, sum) in sums.iter_mut().enumerate().skip(whole) {
        *sum += (0..R).map(|row| x[row * channels + channel]).sum::<f32>();
    }
}

/// The arguments of [`hidden_layer`].
struct Hidden<'a, 'b> {
    weight: &'a [f32],
    bias: &'a [f32],
    x: &'a [f32],
    to: &'b mut [f32],
}

impl Vectorised for Hidden<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.to.fill(0.0);
        let (x, x_rest) = self.x.as_chunks::<LANES>();
        let rows = self.weight.chunks_exact(self.x.len()).zip(self.bias);
        for (to, (row, bias)) in self.to.iter_mut().zip(rows) {
            let (row, row_rest) = row.as_chunks::<LANES>();
            let mut sums = s.splat(0.0);
            for (w, x) in row.iter().zip(x) {
                // SAFETY: `w` and `x` are chunks of eight elements.
                sums = unsafe { s.mul_add(s.load(w.as_ptr()), s.load(x.as_ptr()), sums) };
            }
            let rest: f32 = row_rest.iter().zip(x_rest).map(|(w, x)| w * x).sum();
            let z = s.sum(sums) + rest + bias;
            // `f32::max` would turn a NaN into zero.
            *to = if z < 0.0 { 0.0 } else { z };
        }
    }
}
