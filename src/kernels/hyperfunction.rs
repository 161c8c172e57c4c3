//! The second layer of a hyperfunction: from the hidden layer to the coefficients.
//!
//! `coefficient = init + lambda * squash(W h + c)`, the canonical form of the paper's equations.
//! The weights of a hidden unit lie together, so that those of units that the ReLU of the hidden layer
//! set to zero, about half of them, are not read. The weights of the other units are streamed, several
//! units at a time, at the bandwidth of memory; the sums stay in the L1 cache. Weights of 16 bits halve
//! that time: see [`storage`].
#![allow(unsafe_code)]

use std::ops::Range;

use half::f16;

use super::block::Block;
use super::fits::assert_whole_vectors;
use super::packing::{PartSize, Unaligned, pack_alone, transpose_rows};
use super::sizes::product_of;
use crate::simd::{Isa, LANES, Simd, Vectorised, padded, tanh};
use crate::tensor::{DType, Numbers, Tensor};

/// Elements of type f32 per cache line.
const LINE: usize = 16;

/// The function that bounds the difference between a coefficient and its initial value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Squash {
    /// `2 sigmoid(z) - 1 = tanh(z / 2)`
    Tanh,
    /// `min(max(z / 3, -1), 1)`
    Clamp,
    /// The identity.
    None,
}

/// The packed second layer.
pub struct Coefficients {
    weights: Stored,
    bias: Numbers<f32>,
    init: Vec<f32>,
    lambda: Vec<f32>,
    squash: Squash,
    hidden: usize,
    /// The number of channels, padded to a multiple of eight.
    width: usize,
    /// Whether units of value zero are skipped. They contribute nothing unless a weight is infinite or
    /// NaN.
    skips_zeros: bool,
}

/// The weights `[hidden][2K * padded channels]`.
enum Stored {
    F32(Numbers<f32>),
    F16(Numbers<f16>),
    /// Integers, and for each hidden unit the factor that turns them into its weights.
    I16(Numbers<i16>, Numbers<f32>),
}

/// The largest root mean square of rounding errors, as a share of the mean magnitude of the weights. A mean
/// square of the weights would hide that a few large ones make the steps too coarse for all others.
///
/// With errors of this size in every hyperfunction, the outputs of the compared networks move by less than
/// 1e-4 of their largest. Half precision has errors of twice this size. With normally distributed weights,
/// 16-bit integers with a factor per hidden unit have a third of it.
const MOST_ROUNDING: f64 = 1e-4;

/// The largest of the 16-bit integers that weights are rounded to.
const LARGEST: f32 = i16::MAX as f32;

/// Returns the type in which a layer of `hidden` units stores `weights [outputs][hidden]`: half precision
/// if that is exact, 16-bit integers if the weights `may_round` and are little changed by it, or else
/// single precision.
pub fn storage(weights: &[Unaligned], hidden: usize, may_round: bool) -> DType {
    if are_half(weights) {
        DType::F16
    } else if may_round && round_well(weights, hidden) {
        DType::I16
    } else {
        DType::F32
    }
}

/// Returns whether half precision represents all weights exactly.
fn are_half(weights: &[Unaligned]) -> bool {
    let mut weights = weights.iter().map(|&w| f32::from_ne_bytes(w));
    weights.all(|w| f16::from_f32(w).to_f32() == w)
}

/// Returns whether rounding to 16-bit integers changes `weights [outputs][hidden]` by at most
/// [`MOST_ROUNDING`].
fn round_well(weights: &[Unaligned], hidden: usize) -> bool {
    let magnitudes = weights.chunks(1024).map(|chunk| f64::from(sum_of_magnitudes(chunk)));
    let mean = magnitudes.sum::<f64>() / weights.len() as f64;
    // The error of rounding to multiples of a step is uniformly distributed over the step.
    let steps = factors(weights, hidden).into_iter().map(f64::from);
    let error = steps.map(|step| step * step / 12.0).sum::<f64>() / hidden as f64;
    mean.is_finite() && error.sqrt() <= MOST_ROUNDING * mean
}

fn sum_of_magnitudes(weights: &[Unaligned]) -> f32 {
    // Partial sums, so that the loop is vectorised.
    let mut sums = [0.0; LANES];
    let mut lines = weights.chunks_exact(LANES);
    for line in &mut lines {
        for (sum, &w) in sums.iter_mut().zip(line) {
            *sum += f32::from_ne_bytes(w).abs();
        }
    }
    let rest = lines.remainder().iter().map(|&w| f32::from_ne_bytes(w).abs());
    sums.into_iter().chain(rest).sum()
}

/// Returns for each hidden unit the factor from integers to weights. `weights` is `[outputs][hidden]`.
fn factors(weights: &[Unaligned], hidden: usize) -> Vec<f32> {
    let mut largest = vec![0.0f32; hidden];
    for weights in weights.chunks_exact(hidden.max(1)) {
        for (largest, &w) in largest.iter_mut().zip(weights) {
            *largest = largest.max(f32::from_ne_bytes(w).abs());
        }
    }
    largest.into_iter().map(|largest| largest / LARGEST).collect()
}

/// Returns whether no weight is infinite or NaN.
pub fn are_finite(weights: &[Unaligned]) -> bool {
    // Chunks without an early exit inside, so that the loop over a chunk is vectorised.
    let is_finite = |&w: &Unaligned| f32::from_ne_bytes(w).is_finite();
    weights.chunks(1024).all(|chunk| chunk.iter().fold(true, |all, w| all & is_finite(w)))
}

/// Packs `weight [rows][channels][hidden]` into `packed [hidden][rows * padded channels]`. `convert`
/// gets a weight and its hidden unit.
fn fill<T>(
    packed: &mut [T],
    weight: &[Unaligned],
    [rows, channels, hidden]: [usize; 3],
    convert: impl Fn(f32, usize) -> T,
) {
    let width = padded(channels);
    // One cache line of outputs at a time.
    for row in 0..rows {
        for channel in (0..channels).step_by(LINE) {
            let outputs = row * channels + channel..row * channels + channels.min(channel + LINE);
            let weight = &weight[outputs.start * hidden..outputs.end * hidden];
            transpose_rows(weight, hidden, |unit, first, numbers| {
                let at = unit * rows * width + row * width + channel + first;
                for (to, &number) in packed[at..][..LANES].iter_mut().zip(numbers) {
                    *to = convert(number, unit);
                }
            });
        }
    }
}

impl Coefficients {
    /// Packs `weight [2K * channels][hidden]` and `bias [2K * channels]`; `init` and `lambda` have
    /// `2K` elements. `may_round` is that of [`storage`].
    ///
    /// # Panics
    /// Panics if a length does not match these shapes.
    pub fn new(
        weight: &[f32],
        bias: Option<&[f32]>,
        init: &[f32],
        lambda: &[f32],
        squash: Squash,
        hidden: usize,
        may_round: bool,
    ) -> Self {
        let rows = init.len();
        let channels = weight.len() / hidden.max(1) / rows.max(1);
        assert_eq!(lambda.len(), rows);
        let weight = bytemuck::cast_slice(weight);
        let sizes = Self::sizes(rows, channels, hidden, storage(weight, hidden, may_round));
        let parts = pack_alone(sizes, |parts| {
            Self::pack(weight, bias, [rows, channels, hidden], parts);
        });
        Self::from_parts(&parts, channels, init, lambda, squash, hidden, are_finite(weight))
            .expect("the parts have the sizes of the layer")
    }

    /// Returns the sizes of the parts of a layer of `rows`, `2K`, coefficients per channel. `dtype` is that
    /// of [`storage`].
    pub fn sizes(rows: usize, channels: usize, hidden: usize, dtype: DType) -> Vec<PartSize> {
        let outputs = rows * padded(channels);
        let mut sizes = vec![PartSize { dtype, len: outputs * hidden }, PartSize::f32(outputs)];
        if dtype == DType::I16 {
            sizes.push(PartSize::f32(hidden));
        }
        sizes
    }

    /// Packs `weight [rows * channels][hidden]` and `bias [rows * channels]` into `parts`, which have the
    /// [sizes](Self::sizes) of the layer and are zeros. `sizes` is `[rows, channels, hidden]`.
    ///
    /// # Panics
    /// Panics if a length does not match these shapes.
    pub fn pack(
        weight: &[Unaligned],
        bias: Option<&[f32]>,
        sizes: [usize; 3],
        parts: &mut [&mut [u8]],
    ) {
        let [rows, channels, hidden] = sizes;
        assert_eq!(weight.len(), rows * channels * hidden);
        let is_f32 = parts[0].len() == 4 * rows * padded(channels) * hidden;
        if let [packed, _, stored_factors] = parts {
            let factors = factors(weight, hidden);
            let inverse: Vec<f32> =
                factors.iter().map(|f| 1.0 / f.max(f32::MIN_POSITIVE)).collect();
            let round = |w: f32, unit: usize| (w * inverse[unit]).round_ties_even() as i16;
            fill(bytemuck::cast_slice_mut(packed), weight, sizes, round);
            bytemuck::cast_slice_mut(stored_factors).copy_from_slice(&factors);
        } else if is_f32 {
            fill(bytemuck::cast_slice_mut(parts[0]), weight, sizes, |w, _| w);
        } else {
            fill(bytemuck::cast_slice_mut(parts[0]), weight, sizes, |w, _| f16::from_f32(w));
        }
        let padded_bias: &mut [f32] = bytemuck::cast_slice_mut(parts[1]);
        if let Some(bias) = bias {
            let rows = padded_bias.chunks_exact_mut(padded(channels).max(1));
            for (row, bias) in rows.zip(bias.chunks_exact(channels.max(1))) {
                row[..channels].copy_from_slice(bias);
            }
        }
    }

    /// Returns a layer that was packed earlier; `None` if `parts` do not have the types and sizes of the
    /// layer. `channels` is the number of channels of the feature map. `is_finite` says that no weight
    /// is infinite or NaN.
    #[allow(clippy::too_many_arguments)] // Each is a property of the layer.
    pub fn from_parts(
        parts: &[Tensor],
        channels: usize,
        init: &[f32],
        lambda: &[f32],
        squash: Squash,
        hidden: usize,
        is_finite: bool,
    ) -> Option<Self> {
        let (weights, bias) = match parts {
            [weights, bias, factors] => {
                (Stored::I16(weights.to_numbers()?, factors.to_numbers()?), bias)
            }
            [weights, bias] => match weights.to_numbers() {
                Some(halves) => (Stored::F16(halves), bias),
                None => (Stored::F32(weights.to_numbers()?), bias),
            },
            _ => return None,
        };
        let layer = Coefficients {
            weights,
            bias: bias.to_numbers()?,
            // Zero in place of minus zero: a coefficient then does not depend on the sign of a zero.
            init: init.iter().map(|init| init + 0.0).collect(),
            lambda: lambda.to_vec(),
            squash,
            hidden,
            width: padded(channels),
            skips_zeros: is_finite,
        };
        let outputs = init.len().checked_mul(layer.width)?;
        let weights_len = match &layer.weights {
            Stored::F16(weights) => weights.len(),
            Stored::F32(weights) => weights.len(),
            Stored::I16(weights, factors) if factors.len() == hidden => weights.len(),
            Stored::I16(..) => return None,
        };
        let fits = layer.outputs() == outputs
            && lambda.len() == init.len()
            && Some(weights_len) == outputs.checked_mul(hidden);
        fits.then_some(layer)
    }

    /// Returns the number of coefficients of an image, with padding: `2K * padded channels`.
    pub fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// Returns the number of units of the hidden layer.
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// Returns the size of the workspace of [`coefficients`], in elements.
    pub fn workspace(&self) -> usize {
        (1 + TOGETHER).saturating_mul(self.hidden)
    }

    /// Returns the size of the packed weights, in bytes.
    pub fn bytes(&self) -> usize {
        4 * self.bias.len()
            + match &self.weights {
                Stored::F32(w) => 4 * w.len(),
                Stored::F16(w) => 2 * w.len(),
                Stored::I16(w, factors) => 2 * w.len() + 4 * factors.len(),
            }
    }
}

/// Computes the coefficients that `block` covers: its rows are images, its columns are coefficients.
/// `hidden` is `[images][padded hidden]`, and `work` has [`Coefficients::workspace`] elements.
///
/// # Panics
/// Panics if the shapes of the layer, `hidden` and the block do not match, if the columns of the block
/// are not whole vectors, or if the workspace is too small.
pub fn coefficients(
    isa: Isa,
    layer: &Coefficients,
    hidden: &[f32],
    block: &mut Block,
    work: &mut [f32],
) {
    assert_eq!(block.width(), layer.outputs());
    assert!(hidden.len() >= product_of([block.rows().end, padded(layer.hidden)]));
    assert!(u32::try_from(layer.hidden).is_ok(), "the hidden layer has too many units");
    assert_whole_vectors(block);
    isa.run(Run { layer, hidden, block, work });
}

struct Run<'a, 'b, 'c> {
    layer: &'a Coefficients,
    hidden: &'a [f32],
    block: &'c mut Block<'b>,
    work: &'c mut [f32],
}

impl Vectorised for Run<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let images = self.block.rows();
        let mut image = images.start;
        while image < images.end {
            image += match images.end - image {
                TOGETHER.. => self.images::<S, TOGETHER>(s, image),
                2.. => self.images::<S, 2>(s, image),
                _ => self.images::<S, 1>(s, image),
            };
        }
    }
}

impl Run<'_, '_, '_> {
    /// Computes the coefficients of the `G` images from `image` on. Returns `G`.
    #[inline(always)]
    fn images<S: Simd, const G: usize>(&mut self, s: S, image: usize) -> usize {
        let layer = self.layer;
        let columns = self.block.columns();
        let active = Active::<G>::find(layer, self.hidden, image, self.work);
        let mut z = [std::ptr::null_mut(); G];
        for (g, z) in z.iter_mut().enumerate() {
            let row = self.block.row(image + g);
            row.copy_from_slice(&layer.bias[columns.clone()]);
            *z = row.as_mut_ptr();
        }
        let sums = Sums { z, columns: columns.clone() };
        // SAFETY: the sums are rows of the block, which has whole vectors of columns, as `coefficients`
        // asserted; the weights have a row for each hidden unit, as `from_parts` checked.
        unsafe {
            match &layer.weights {
                Stored::F32(weights) => active.add_all(s, weights, layer.outputs(), &sums),
                Stored::F16(weights) => active.add_all(s, weights, layer.outputs(), &sums),
                Stored::I16(weights, _) => active.add_all(s, weights, layer.outputs(), &sums),
            }
        }
        for g in 0..G {
            layer.finish(s, self.block.row(image + g), columns.start);
        }
        G
    }
}

/// The hidden units that contribute to some of `G` images.
#[derive(Clone, Copy)]
struct Active<'a, const G: usize> {
    /// Their indices.
    units: &'a [u32],
    /// `[units][G]`: their values.
    values: &'a [f32],
}

/// Columns of the sums of `G` images.
struct Sums<const G: usize> {
    /// Where those of each image lie.
    z: [*mut f32; G],
    columns: Range<usize>,
}

/// A stored type of weights, which loads as f32.
trait Load: Copy {
    /// Loads a vector of weights.
    ///
    /// # Safety
    /// A vector of elements is readable at `from`.
    unsafe fn load<S: Simd>(s: S, from: *const Self) -> S::Vector;
}

impl Load for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const f32) -> S::Vector {
        // SAFETY: as the caller guarantees.
        unsafe { s.load(from) }
    }
}

impl Load for f16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const f16) -> S::Vector {
        // SAFETY: as the caller guarantees.
        unsafe { s.load_f16(from) }
    }
}

impl Load for i16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const i16) -> S::Vector {
        // SAFETY: as the caller guarantees.
        unsafe { s.load_i16(from) }
    }
}

/// Images whose coefficients are computed together, so that the weights are read and converted once. The
/// units that contribute to an image alone are added in the same order, as a unit of value zero changes no
/// sum.
const TOGETHER: usize = 4;

/// Hidden units of which the weights are read at a time, for a single image.
const STREAMS: usize = 8;

/// The same for several images, whose sums take registers.
const STREAMS_TOGETHER: usize = 4;

impl<'a, const G: usize> Active<'a, G> {
    /// Finds the hidden units that contribute to any of the `G` images from `image` on.
    fn find(layer: &Coefficients, hidden: &[f32], image: usize, work: &'a mut [f32]) -> Self {
        let (units, values) = work.split_at_mut(layer.hidden);
        let units: &mut [u32] = bytemuck::cast_slice_mut(units);
        let (mut count, mut of_image) = (0, [&[][..]; G]);
        for (g, of_image) in of_image.iter_mut().enumerate() {
            *of_image = &hidden[(image + g) * padded(layer.hidden)..][..layer.hidden];
        }
        for j in 0..layer.hidden {
            units[count] = j as u32;
            let mut contributes = !layer.skips_zeros;
            for (value, of_image) in values[count * G..][..G].iter_mut().zip(of_image) {
                *value = of_image[j];
                contributes |= of_image[j] != 0.0;
            }
            count += usize::from(contributes);
        }
        let (units, values) = (&units[..count], &mut values[..count * G]);
        if let Stored::I16(_, factors) = &layer.weights {
            for (values, &unit) in values.chunks_exact_mut(G).zip(units) {
                values.iter_mut().for_each(|value| *value *= factors[unit as usize]);
            }
        }
        Active { units, values }
    }

    /// Adds the contributions of all active units to the sums. `outputs` is the number of all outputs of
    /// the layer.
    ///
    /// # Safety
    /// The weights have a row of `outputs` elements for each hidden unit. The columns of the sums are
    /// writable and below `outputs`, and a multiple of eight.
    unsafe fn add_all<S: Simd, W: Load>(self, s: S, weights: &[W], outputs: usize, sums: &Sums<G>) {
        let mut at = 0;
        while at < self.units.len() {
            let rest = self.units.len() - at;
            // SAFETY: as the caller guarantees; no more units than are left are taken.
            unsafe {
                at += match rest {
                    STREAMS.. if G == 1 => self.add::<S, W, STREAMS>(s, at, weights, outputs, sums),
                    STREAMS_TOGETHER.. if G > 1 => {
                        self.add::<S, W, STREAMS_TOGETHER>(s, at, weights, outputs, sums)
                    }
                    2.. => self.add::<S, W, 2>(s, at, weights, outputs, sums),
                    _ => self.add::<S, W, 1>(s, at, weights, outputs, sums),
                }
            }
        }
    }

    /// Adds the contributions of the `U` active units from index `at` on. Returns `U`.
    ///
    /// # Safety
    /// There are `U` active units from `at` on, and the weights have a row of `outputs` elements for
    /// each. The columns of the sums are writable and below `outputs`, and a multiple of eight.
    unsafe fn add<S: Simd, W: Load, const U: usize>(
        self,
        s: S,
        at: usize,
        weights: &[W],
        outputs: usize,
        sums: &Sums<G>,
    ) -> usize {
        let Sums { z, ref columns } = *sums;
        s.vectorise(
            #[inline(always)]
            || {
                // SAFETY: the caller guarantees the units and a row of weights for each, which reaches as
                // far as the columns do; the loop stays inside them.
                unsafe {
                    let mut rows = [weights.as_ptr(); U];
                    let mut values = [[0.0; G]; U];
                    for u in 0..U {
                        rows[u] =
                            rows[u].add(self.units[at + u] as usize * outputs + columns.start);
                        values[u].copy_from_slice(&self.values[(at + u) * G..][..G]);
                    }
                    let whole = columns.len() / S::WIDTH * S::WIDTH;
                    for i in (0..whole).step_by(S::WIDTH) {
                        add_vector(s, &rows, &values, i, &z);
                    }
                    if whole < columns.len() {
                        add_vector(s.narrow(), &rows, &values, whole, &z);
                    }
                }
            },
        );
        U
    }
}

/// Adds the vector at `i` of each row, times the value of its unit, to the vector at `i` of the sums of
/// each image.
///
/// # Safety
/// All sums and all rows have a vector at `i`.
#[inline(always)]
unsafe fn add_vector<S: Simd, W: Load, const U: usize, const G: usize>(
    s: S,
    rows: &[*const W; U],
    values: &[[f32; G]; U],
    i: usize,
    z: &[*mut f32; G],
) {
    // SAFETY: as the caller guarantees.
    unsafe {
        let mut sums = [s.splat(0.0); G];
        for g in 0..G {
            sums[g] = s.load(z[g].add(i));
        }
        for u in 0..U {
            let weights = W::load(s, rows[u].add(i));
            for g in 0..G {
                sums[g] = s.mul_add(s.splat(values[u][g]), weights, sums[g]);
            }
        }
        for g in 0..G {
            s.store(z[g].add(i), sums[g]);
        }
    }
}

impl Coefficients {
    /// Turns sums into coefficients in place. `z` holds the outputs from `first` on.
    #[inline(always)]
    fn finish<S: Simd>(&self, s: S, mut z: &mut [f32], first: usize) {
        let mut column = first;
        while !z.is_empty() {
            let row = column / self.width;
            let count = z.len().min((row + 1) * self.width - column);
            let (part, rest) = z.split_at_mut(count);
            let coefficient = (self.init[row], self.lambda[row], self.squash);
            let whole = count / S::WIDTH * S::WIDTH;
            for z in part[..whole].chunks_exact_mut(S::WIDTH) {
                squashed(s, z, coefficient);
            }
            if whole < count {
                squashed(s.narrow(), &mut part[whole..], coefficient);
            }
            (z, column) = (rest, column + count);
        }
    }
}

/// Replaces a vector `z` by `init + lambda * squash(z)`.
#[inline(always)]
fn squashed<S: Simd>(s: S, z: &mut [f32], (init, lambda, squash): (f32, f32, Squash)) {
    assert_eq!(z.len(), S::WIDTH);
    // SAFETY: `z` is a whole vector, as asserted.
    unsafe {
        let x = s.load(z.as_ptr());
        let y = match squash {
            Squash::Tanh => tanh(s, s.mul(x, s.splat(0.5))),
            Squash::Clamp => {
                let third = s.mul(x, s.splat(1.0 / 3.0));
                s.at_most(s.at_least(third, s.splat(-1.0)), s.splat(1.0))
            }
            Squash::None => x,
        };
        s.store(z.as_mut_ptr(), s.mul_add(s.splat(lambda), y, s.splat(init)));
    }
}
