//! The context of a hyperfunction and its hidden layer, of one map that lies in memory as its owner
//! keeps it, in either layout.
//!
//! ```text
//! context = mean over height and width of x
//! hidden  = relu(W1 context + c1)
//! ```
#![allow(unsafe_code)]

use crate::simd::{Isa, LANES, Simd, Vectorised};

/// Writes the mean of each plane of `x`, NCHW.
///
/// # Panics
/// Panics if `x` is not as many planes of equal size as there are means.
pub fn means_nchw(isa: Isa, x: &[f32], means: &mut [f32]) {
    assert!(!means.is_empty() && !x.is_empty() && x.len().is_multiple_of(means.len()));
    isa.run_narrow(MeansNchw { x, plane: x.len() / means.len(), means });
}

/// Writes the mean of each channel of `x`, NHWC without padding.
///
/// # Panics
/// Panics if `x` does not consist of pixels with as many channels as there are means.
pub fn means_nhwc(isa: Isa, x: &[f32], means: &mut [f32]) {
    assert!(!means.is_empty() && !x.is_empty() && x.len().is_multiple_of(means.len()));
    isa.run_narrow(MeansNhwc { x, means });
}

/// Writes `relu(weight x + bias)`, and zeros to the elements of `to` behind it.
///
/// # Panics
/// Panics if `weight` is not `[bias.len()][x.len()]` or `to` is shorter than `bias`.
pub fn hidden_layer(isa: Isa, weight: &[f32], bias: &[f32], x: &[f32], to: &mut [f32]) {
    assert_eq!(weight.len(), bias.len() * x.len(), "weights of the first layer");
    assert!(to.len() >= bias.len(), "room for the hidden layer");
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

/// Pixels that are added up before their sum goes to memory.
const ROWS: usize = 8;

/// The sum of any number of elements, in four vectors.
#[inline(always)]
fn sum<S: Simd>(s: S, x: &[f32]) -> f32 {
    let (parts, rest) = x.as_chunks::<{ 4 * LANES }>();
    let mut sums = [s.splat(0.0); 4];
    for part in parts {
        for (i, sum) in sums.iter_mut().enumerate() {
            // SAFETY: a part is four vectors of eight.
            *sum = s.add(*sum, unsafe { s.load(part.as_ptr().add(i * LANES)) });
        }
    }
    let sums = s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3]));
    s.sum(sums) + rest.iter().sum::<f32>()
}

/// Adds `R` pixels of `sums.len()` channels each.
#[inline(always)]
fn add_rows<S: Simd, const R: usize>(s: S, x: &[f32], sums: &mut [f32]) {
    let channels = sums.len();
    assert_eq!(x.len(), R * channels);
    let whole = channels / LANES * LANES;
    for channel in (0..whole).step_by(LANES) {
        // SAFETY: eight channels of each of the pixels and of the sums.
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

/// `to = relu(weight x + bias)`, with zeros behind it.
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
                // SAFETY: eight numbers each.
                sums = unsafe { s.mul_add(s.load(w.as_ptr()), s.load(x.as_ptr()), sums) };
            }
            let rest: f32 = row_rest.iter().zip(x_rest).map(|(w, x)| w * x).sum();
            let z = s.sum(sums) + rest + bias;
            // Not `max`, which would hide a NaN.
            *to = if z < 0.0 { 0.0 } else { z };
        }
    }
}
