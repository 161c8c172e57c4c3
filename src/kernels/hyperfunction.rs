//! The second layer of a hyperfunction: from the hidden layer to the coefficients.
//!
//! `coefficient = init + lambda * squash(W h + c)`, the canonical form of the paper's equations.
//! The weights of a hidden unit lie together, so that those of units that the ReLU of the hidden layer
//! set to zero, about half of them, are not read. The weights of the other units are streamed, several
//! units at a time, at the bandwidth of memory; the sums stay in the L1 cache. Weights of 16 and of 8
//! bits need a half and a quarter of that time: see [`storage()`].
#![allow(unsafe_code)]

mod storage;

use std::ops::Range;

use half::f16;

use super::block::Block;
use super::fits::assert_whole_vectors;
use super::packing::{PartSize, Unaligned, pack_alone, transpose_rows};
use super::sizes::product_of;
use crate::simd::{Isa, Simd, Vectorised, padded, tanh};
use crate::tensor::{DType, Numbers, Tensor};

pub use storage::{are_finite, storage};

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
    /// Integers, and for each output the factor that turns them into its weights.
    I8(Numbers<i8>, Numbers<f32>),
}

/// Packs `weight [rows][channels][hidden]` into `packed [hidden][rows * padded channels]`. `convert`
/// gets a weight, its output in `rows * channels` and its hidden unit.
fn fill<T>(
    packed: &mut [T],
    weight: &[Unaligned],
    [rows, channels, hidden]: [usize; 3],
    convert: impl Fn(f32, usize, usize) -> T,
) {
    let width = padded(channels);
    // One cache line of outputs at a time.
    for row in 0..rows {
        for channel in (0..channels).step_by(LINE) {
            let outputs = row * channels + channel..row * channels + channels.min(channel + LINE);
            let weight = &weight[outputs.start * hidden..outputs.end * hidden];
            transpose_rows(weight, hidden, |unit, first, numbers| {
                let at = unit * rows * width + row * width + channel + first;
                let outputs = outputs.start + first..outputs.end;
                for ((to, &number), output) in packed[at..].iter_mut().zip(numbers).zip(outputs) {
                    *to = convert(number, output, unit);
                }
            });
        }
    }
}

/// Copies `numbers [rows][channels]` to `to [rows][padded channels]`.
fn fill_rows(to: &mut [f32], numbers: &[f32], channels: usize) {
    let rows = to.chunks_exact_mut(padded(channels).max(1));
    for (to, numbers) in rows.zip(numbers.chunks_exact(channels.max(1))) {
        to[..channels].copy_from_slice(numbers);
    }
}

impl Coefficients {
    /// Packs `weight [2K * channels][hidden]` and `bias [2K * channels]`; `init` and `lambda` have
    /// `2K` elements. `may_round` is that of [`storage()`].
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
    /// of [`storage()`].
    pub fn sizes(rows: usize, channels: usize, hidden: usize, dtype: DType) -> Vec<PartSize> {
        let outputs = rows * padded(channels);
        let mut sizes = vec![PartSize { dtype, len: outputs * hidden }, PartSize::f32(outputs)];
        match dtype {
            DType::I16 => sizes.push(PartSize::f32(hidden)),
            DType::I8 => sizes.push(PartSize::f32(outputs)),
            _ => {}
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
        let elements = rows * padded(channels) * hidden;
        if let [packed, _, stored] = parts
            && packed.len() == elements
        {
            let factors = weight.chunks_exact(hidden.max(1)).map(storage::output_factor);
            let (factors, inverse): (Vec<f32>, Vec<f32>) = factors.unzip();
            let round = |w: f32, output: usize, _| storage::as_i8(w, inverse[output]) as i8;
            fill(bytemuck::cast_slice_mut(packed), weight, sizes, round);
            fill_rows(bytemuck::cast_slice_mut(stored), &factors, channels);
        } else if let [packed, _, stored] = parts {
            let factors = storage::unit_factors(weight, hidden);
            let inverse: Vec<f32> =
                factors.iter().map(|f| 1.0 / f.max(f32::MIN_POSITIVE)).collect();
            let round = |w: f32, _, unit: usize| (w * inverse[unit]).round_ties_even() as i16;
            fill(bytemuck::cast_slice_mut(packed), weight, sizes, round);
            bytemuck::cast_slice_mut(stored).copy_from_slice(&factors);
        } else if parts[0].len() == size_of::<f32>() * elements {
            fill(bytemuck::cast_slice_mut(parts[0]), weight, sizes, |w, _, _| w);
        } else {
            fill(bytemuck::cast_slice_mut(parts[0]), weight, sizes, |w, _, _| f16::from_f32(w));
        }
        if let Some(bias) = bias {
            fill_rows(bytemuck::cast_slice_mut(parts[1]), bias, channels);
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
                let factors = factors.to_numbers()?;
                let weights = match weights.to_numbers() {
                    Some(integers) => Stored::I8(integers, factors),
                    None => Stored::I16(weights.to_numbers()?, factors),
                };
                (weights, bias)
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
            Stored::I8(weights, factors) if factors.len() == outputs => weights.len(),
            Stored::I16(..) | Stored::I8(..) => return None,
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
                Stored::I8(w, factors) => w.len() + 4 * factors.len(),
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
            match layer.weights {
                Stored::I8(..) => row.fill(0.0),
                _ => row.copy_from_slice(&layer.bias[columns.clone()]),
            }
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
                Stored::I8(weights, _) => active.add_all(s, weights, layer.outputs(), &sums),
            }
        }
        for g in 0..G {
            let row = self.block.row(image + g);
            if let Stored::I8(_, factors) = &layer.weights {
                let (factors, bias) = (&factors[columns.clone()], &layer.bias[columns.clone()]);
                scale(s.narrow(), row, factors, bias);
            }
            layer.finish(s, row, columns.start);
        }
        G
    }
}

/// Replaces each sum by its product with a factor, plus a bias. All have the same length, which is a
/// multiple of eight.
#[inline(always)]
fn scale<S: Simd>(s: S, sums: &mut [f32], factors: &[f32], bias: &[f32]) {
    let vectors = factors.chunks_exact(S::WIDTH).zip(bias.chunks_exact(S::WIDTH));
    for (sums, (factors, bias)) in sums.chunks_exact_mut(S::WIDTH).zip(vectors) {
        // SAFETY: each chunk is a whole vector.
        unsafe {
            let (x, factor) = (s.load(sums.as_ptr()), s.load(factors.as_ptr()));
            s.store(sums.as_mut_ptr(), s.mul_add(x, factor, s.load(bias.as_ptr())));
        }
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

macro_rules! load {
    ($($weight:ty => $load:ident),*) => {$(
        impl Load for $weight {
            #[inline(always)]
            unsafe fn load<S: Simd>(s: S, from: *const $weight) -> S::Vector {
                // SAFETY: as the caller guarantees.
                unsafe { s.$load(from) }
            }
        }
    )*};
}

load!(f32 => load, f16 => load_f16, i16 => load_i16, i8 => load_i8);

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
