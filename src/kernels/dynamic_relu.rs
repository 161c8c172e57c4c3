//! A whole dynamic ReLU of form A or B, for those who want the operation alone. In a network its
//! parts are fused with the convolutions around it.
//!
//! ```text
//! h = relu(W1 mean(x) + c1)
//! [a_1 .. a_K, b_1 .. b_K] = init + lambda * squash(W2 h + c2)
//! y = max over k of (a_k x + b_k)
//! ```
//!
//! The formulas are equations 1 to 3 of [arXiv 2003.10027](https://arxiv.org/abs/2003.10027).
#![allow(unsafe_code)]

use super::hyperfunction::{Bound, Coefficients, coefficients};
use super::max_affine::{
    MOST_PIECES, max_affine_nchw, max_affine_nchw_into, max_affine_nhwc, max_affine_nhwc_into,
};
use crate::simd::{Isa, LANES, Simd, Vectorised, padded};
use crate::tensor::Block;

/// A fully connected layer, `weight` as PyTorch has it: `[outputs][inputs]`.
#[derive(Clone, Copy, Debug)]
pub struct Linear<'a> {
    /// `[outputs][inputs]`
    pub weight: &'a [f32],
    /// `[outputs]`
    pub bias: &'a [f32],
}

/// A dynamic ReLU with its weights.
///
/// ```
/// use dyrelu::kernels::dynamic_relu::{DynamicRelu, Linear};
/// use dyrelu::kernels::hyperfunction::Bound;
/// use dyrelu::simd::Isa;
///
/// // Form B, K = 2, 16 channels, 4 hidden units; a second layer of zeros makes it a plain ReLU.
/// let fc1 = Linear { weight: &[0.1; 4 * 16], bias: &[0.0; 4] };
/// let fc2 = Linear { weight: &[0.0; 64 * 4], bias: &[0.0; 64] };
/// let (init, lambda) = ([1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.5, 0.5]);
/// let dynamic = DynamicRelu::new(16, fc1, fc2, &init, &lambda, Bound::Tanh);
/// let mut work = vec![0.0; dynamic.workspace()];
/// let mut x = vec![-1.0; 16 * 7 * 7];
/// dynamic.apply_nchw(Isa::get(), &mut x, &mut work);
/// assert!(x.iter().all(|&y| y == 0.0));
/// ```
pub struct DynamicRelu {
    channels: usize,
    fc1: Vec<f32>,
    fc1_bias: Vec<f32>,
    fc2: Coefficients,
    k: usize,
}

impl DynamicRelu {
    /// Packs `fc1` from `channels` to any number of hidden units and `fc2` from these to the
    /// coefficients: in the order a_1 .. a_K, b_1 .. b_K, of each one for all channels (form A) or
    /// one for every channel (form B). `init` and `lambda` have `2K` numbers.
    ///
    /// # Panics
    /// Where the lengths do not fit together, or K is not from 1 to [`MOST_PIECES`].
    pub fn new(
        channels: usize,
        fc1: Linear,
        fc2: Linear,
        init: &[f32],
        lambda: &[f32],
        bound: Bound,
    ) -> Self {
        let (hidden, k) = (fc1.bias.len(), init.len() / 2);
        assert!(channels > 0 && hidden > 0, "channels and hidden units");
        assert_eq!(fc1.weight.len(), hidden * channels, "weights of the first layer");
        assert_eq!(init.len(), 2 * k, "as many slopes as offsets");
        assert!((1..=MOST_PIECES).contains(&k), "K is from 1 to {MOST_PIECES}");
        assert_eq!(fc2.weight.len(), fc2.bias.len() * hidden, "weights of the second layer");
        let is_shared = fc2.bias.len() == 2 * k;
        assert!(is_shared || fc2.bias.len() == 2 * k * channels, "outputs of the second layer");
        let of_channels = |rows: &[f32], width: usize| -> Vec<f32> {
            let copies = if is_shared { channels } else { 1 };
            rows.chunks_exact(width).flat_map(|row| row.repeat(copies)).collect()
        };
        let (weight, bias) = (of_channels(fc2.weight, hidden), of_channels(fc2.bias, 1));
        DynamicRelu {
            channels,
            fc1: fc1.weight.to_vec(),
            fc1_bias: fc1.bias.to_vec(),
            fc2: Coefficients::new(&weight, Some(&bias), init, lambda, bound, hidden),
            k,
        }
    }

    /// Elements of workspace.
    pub fn workspace(&self) -> usize {
        let hidden = padded(self.fc2.hidden());
        self.channels + hidden + self.fc2.outputs() + self.fc2.workspace()
    }

    /// Applies it in place to one image, NCHW.
    ///
    /// # Panics
    /// Where `x` is no image of whole planes, or `work` is shorter than
    /// [`workspace`](Self::workspace).
    pub fn apply_nchw(&self, isa: Isa, x: &mut [f32], work: &mut [f32]) {
        let plane = self.pixels(x);
        let (a, b) = self.coefficients(isa, Means::Nchw { x, plane }, work);
        max_affine_nchw(isa, x, plane, a, b);
    }

    /// As [`apply_nchw`](Self::apply_nchw), from `x` to `y`.
    ///
    /// # Panics
    /// As `apply_nchw`, and where `x` and `y` differ in length.
    pub fn apply_nchw_into(&self, isa: Isa, x: &[f32], y: &mut [f32], work: &mut [f32]) {
        let plane = self.pixels(x);
        let (a, b) = self.coefficients(isa, Means::Nchw { x, plane }, work);
        max_affine_nchw_into(isa, x, y, plane, a, b);
    }

    /// Applies it in place to one image, NHWC.
    ///
    /// # Panics
    /// As [`apply_nchw`](Self::apply_nchw).
    pub fn apply_nhwc(&self, isa: Isa, x: &mut [f32], work: &mut [f32]) {
        self.pixels(x);
        let (a, b) = self.coefficients(isa, Means::Nhwc { x, channels: self.channels }, work);
        max_affine_nhwc(isa, x, self.channels, a, b);
    }

    /// As [`apply_nhwc`](Self::apply_nhwc), from `x` to `y`.
    ///
    /// # Panics
    /// As `apply_nhwc`, and where `x` and `y` differ in length.
    pub fn apply_nhwc_into(&self, isa: Isa, x: &[f32], y: &mut [f32], work: &mut [f32]) {
        self.pixels(x);
        let (a, b) = self.coefficients(isa, Means::Nhwc { x, channels: self.channels }, work);
        max_affine_nhwc_into(isa, x, y, self.channels, a, b);
    }

    fn pixels(&self, x: &[f32]) -> usize {
        assert!(!x.is_empty() && x.len().is_multiple_of(self.channels), "an image of whole planes");
        x.len() / self.channels
    }

    /// The slopes and the offsets, each `[K][channels]`, for an image with these means.
    fn coefficients<'w>(
        &self,
        isa: Isa,
        means: Means,
        work: &'w mut [f32],
    ) -> (&'w [f32], &'w [f32]) {
        let outputs = self.fc2.outputs();
        let (mean, work) = work.split_at_mut(self.channels);
        let (hidden, work) = work.split_at_mut(padded(self.fc2.hidden()));
        let (all, work) = work.split_at_mut(outputs);
        isa.run_narrow(Reduce { means, to: mean });
        isa.run_narrow(Hidden { weight: &self.fc1, bias: &self.fc1_bias, x: mean, to: hidden });
        let block = &mut Block::whole(all, outputs);
        coefficients(isa, &self.fc2, hidden, block, &mut work[..self.fc2.workspace()]);
        let (rows, width) = (2 * self.k, outputs / (2 * self.k));
        for row in 1..rows {
            all.copy_within(row * width..row * width + self.channels, row * self.channels);
        }
        all[..rows * self.channels].split_at(self.k * self.channels)
    }
}

/// Whose means over the positions are wanted.
#[derive(Clone, Copy)]
enum Means<'a> {
    Nchw { x: &'a [f32], plane: usize },
    Nhwc { x: &'a [f32], channels: usize },
}

struct Reduce<'a, 'b> {
    means: Means<'a>,
    to: &'b mut [f32],
}

impl Vectorised for Reduce<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.means {
            Means::Nchw { x, plane } => {
                for (mean, plane_of_x) in self.to.iter_mut().zip(x.chunks_exact(plane)) {
                    *mean = sum(s, plane_of_x) / plane as f32;
                }
            }
            Means::Nhwc { x, channels } => {
                self.to.fill(0.0);
                let rows = x.chunks_exact(ROWS * channels);
                rows.remainder()
                    .chunks_exact(channels)
                    .for_each(|x| add_rows::<S, 1>(s, x, self.to));
                rows.for_each(|x| add_rows::<S, ROWS>(s, x, self.to));
                let pixels = (x.len() / channels) as f32;
                self.to.iter_mut().for_each(|mean| *mean /= pixels);
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(len: usize, frequency: f32) -> Vec<f32> {
        (0..len).map(|i| (i as f32 * frequency).sin()).collect()
    }

    /// The definition in double precision, NCHW.
    fn definition(x: &[f32], plane: usize, fc1: Linear, fc2: Linear, k: usize) -> Vec<f32> {
        let (channels, hidden) = (x.len() / plane, fc1.bias.len());
        let mean: Vec<f64> =
            x.chunks(plane).map(|p| p.iter().copied().map(f64::from).sum::<f64>()).collect();
        let dot = |row: &[f32], x: &[f64]| -> f64 {
            row.iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum()
        };
        let mean: Vec<f64> = mean.iter().map(|m| m / plane as f64).collect();
        let h: Vec<f64> = (0..hidden)
            .map(|j| dot(&fc1.weight[j * channels..][..channels], &mean) + f64::from(fc1.bias[j]))
            .map(|z| z.max(0.0))
            .collect();
        let per_row = fc2.bias.len() / (2 * k);
        let coefficient = |row: usize, channel: usize| {
            let o = row * per_row + channel % per_row;
            let z = dot(&fc2.weight[o * hidden..][..hidden], &h) + f64::from(fc2.bias[o]);
            let (init, lambda) =
                (if row == 0 { 1.0 } else { 0.0 }, if row < k { 1.0 } else { 0.5 });
            init + lambda * (z / 2.0).tanh()
        };
        let value = |i: usize| {
            let pieces = (0..k).map(|j| {
                coefficient(j, i / plane) * f64::from(x[i]) + coefficient(k + j, i / plane)
            });
            pieces.fold(f64::NEG_INFINITY, f64::max) as f32
        };
        (0..x.len()).map(value).collect()
    }

    #[test]
    fn forms_and_layouts_agree_with_the_definition() {
        for isa in Isa::available() {
            for (channels, plane, hidden, k) in
                [(1, 1, 1, 1), (3, 35, 4, 2), (17, 7, 5, 3), (40, 49, 8, 2), (96, 33, 12, 2)]
            {
                for is_shared in [true, false] {
                    let outputs = 2 * k * if is_shared { 1 } else { channels };
                    let x = wave(channels * plane, 0.7);
                    let (w1, c1) = (wave(hidden * channels, 1.1), wave(hidden, 0.4));
                    let (w2, c2) = (wave(outputs * hidden, 0.9), wave(outputs, 1.7));
                    let fc1 = Linear { weight: &w1, bias: &c1 };
                    let fc2 = Linear { weight: &w2, bias: &c2 };
                    let mut init = vec![0.0; 2 * k];
                    init[0] = 1.0;
                    let lambda = [vec![1.0; k], vec![0.5; k]].concat();
                    let layer = DynamicRelu::new(channels, fc1, fc2, &init, &lambda, Bound::Tanh);
                    let want = definition(&x, plane, fc1, fc2, k);
                    let case = format!("{} {channels}x{plane} K = {k} {is_shared}", isa.name());
                    let check = |got: &[f32], want: &[f32], what: &str| {
                        for (got, want) in got.iter().zip(want) {
                            assert!((got - want).abs() <= 1e-5, "{got}, {want}: {what}, {case}");
                        }
                    };
                    let nhwc = |x: &[f32]| -> Vec<f32> {
                        let at = |i: usize| x[i % channels * plane + i / channels];
                        (0..x.len()).map(at).collect()
                    };
                    let mut work = vec![f32::NAN; layer.workspace()];
                    let mut y = vec![f32::NAN; x.len()];
                    layer.apply_nchw_into(isa, &x, &mut y, &mut work);
                    check(&y, &want, "NCHW");
                    layer.apply_nhwc_into(isa, &nhwc(&x), &mut y, &mut work);
                    check(&y, &nhwc(&want), "NHWC");
                    y.copy_from_slice(&x);
                    layer.apply_nchw(isa, &mut y, &mut work);
                    check(&y, &want, "NCHW in place");
                    y.copy_from_slice(&nhwc(&x));
                    layer.apply_nhwc(isa, &mut y, &mut work);
                    check(&y, &nhwc(&want), "NHWC in place");
                }
            }
        }
    }
}
