//! The second layer of a hyperfunction: from the hidden layer to the coefficients.
//!
//! `coefficient = init + lambda * squash(W h + c)`, the canonical form of the paper's equations.
//! Weights are stored a hidden unit at a time, so that the units that the hidden ReLU set to zero,
//! about half of them, are not read at all. The others are read several at a time from one end to
//! the other, as fast as memory gives them, into sums that stay in the nearest cache.
#![allow(unsafe_code)]

use half::f16;

use super::block::Block;
use super::fits::assert_whole_vectors;
use super::packing::{PartSize, Unaligned, pack_alone, transpose_rows};
use super::sizes::product_of;
use crate::simd::{Isa, LANES, Simd, Vectorised, padded, tanh};
use crate::tensor::{DType, Numbers, Tensor};

/// Numbers of a line of the cache.
const LINE: usize = 16;

/// What bounds a coefficient's deviation from its initial value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// `2 sigmoid(z) - 1 = tanh(z / 2)`
    Tanh,
    /// `min(max(z / 3, -1), 1)`
    Clamp,
    /// Nothing.
    None,
}

/// The packed second layer.
pub struct Coefficients {
    weights: Stored,
    bias: Numbers<f32>,
    init: Vec<f32>,
    lambda: Vec<f32>,
    bound: Bound,
    hidden: usize,
    /// Padded channels.
    width: usize,
    /// Whether a hidden unit of zero contributes nothing, which infinite weights would break.
    skips_zeros: bool,
}

/// `[hidden][2K * padded channels]`
enum Stored {
    F32(Numbers<f32>),
    F16(Numbers<f16>),
}

/// Whether all weights are exact in half precision.
pub fn are_half(weights: &[Unaligned]) -> bool {
    let mut weights = weights.iter().map(|&w| f32::from_ne_bytes(w));
    weights.all(|w| f16::from_f32(w).to_f32() == w)
}

/// Whether no weight is infinite or NaN.
pub fn are_finite(weights: &[Unaligned]) -> bool {
    // Without a branch for each number, so that many are looked at together.
    let is_finite = |&w: &Unaligned| f32::from_ne_bytes(w).is_finite();
    weights.chunks(1024).all(|some| some.iter().fold(true, |all, w| all & is_finite(w)))
}

/// Packs `weight [rows][channels][hidden]` into `[hidden][rows * padded channels]`.
fn fill<T>(
    packed: &mut [T],
    weight: &[Unaligned],
    [rows, channels, hidden]: [usize; 3],
    convert: impl Fn(f32) -> T,
) {
    let width = padded(channels);
    // As many outputs at a time as a line of the cache has numbers.
    for row in 0..rows {
        for channel in (0..channels).step_by(LINE) {
            let outputs = row * channels + channel..row * channels + channels.min(channel + LINE);
            let weight = &weight[outputs.start * hidden..outputs.end * hidden];
            transpose_rows(weight, hidden, |unit, first, numbers| {
                let at = unit * rows * width + row * width + channel + first;
                for (to, &number) in packed[at..][..LANES].iter_mut().zip(numbers) {
                    *to = convert(number);
                }
            });
        }
    }
}

impl Coefficients {
    /// Packs `weight [2K * channels][hidden]` and `bias [2K * channels]`; `init` and `lambda` have
    /// `2K` numbers. Weights that are all exact in half precision are stored so.
    ///
    /// # Panics
    /// Where the lengths do not fit together.
    pub fn new(
        weight: &[f32],
        bias: Option<&[f32]>,
        init: &[f32],
        lambda: &[f32],
        bound: Bound,
        hidden: usize,
    ) -> Self {
        let rows = init.len();
        let channels = weight.len() / hidden.max(1) / rows.max(1);
        assert_eq!(lambda.len(), rows);
        let weight = bytemuck::cast_slice(weight);
        let sizes = Self::sizes(rows, channels, hidden, are_half(weight));
        let parts = pack_alone(sizes, |parts| {
            Self::pack(weight, bias, [rows, channels, hidden], parts);
        });
        Self::of(&parts, channels, init, lambda, bound, hidden, are_finite(weight))
            .expect("the lengths were made to fit")
    }

    /// The sizes of the parts of a layer of `2K` rows, whose weights may all be exact in half
    /// precision.
    pub fn sizes(rows: usize, channels: usize, hidden: usize, are_half: bool) -> Vec<PartSize> {
        let outputs = rows * padded(channels);
        let dtype = if are_half { DType::F16 } else { DType::F32 };
        vec![PartSize { dtype, len: outputs * hidden }, PartSize::f32(outputs)]
    }

    /// Packs `weight [2K * channels][hidden]` and `bias [2K * channels]` into parts of zeros, which
    /// have `2K` rows.
    ///
    /// # Panics
    /// Where the lengths do not fit together.
    pub fn pack(
        weight: &[Unaligned],
        bias: Option<&[f32]>,
        sizes: [usize; 3],
        parts: &mut [&mut [u8]],
    ) {
        let [rows, channels, hidden] = sizes;
        assert_eq!(weight.len(), rows * channels * hidden);
        if parts[0].len() == 2 * rows * padded(channels) * hidden {
            fill(bytemuck::cast_slice_mut(parts[0]), weight, sizes, f16::from_f32);
        } else {
            fill(bytemuck::cast_slice_mut(parts[0]), weight, sizes, |w| w);
        }
        let padded_bias: &mut [f32] = bytemuck::cast_slice_mut(parts[1]);
        if let Some(bias) = bias {
            let rows = padded_bias.chunks_exact_mut(padded(channels).max(1));
            for (row, bias) in rows.zip(bias.chunks_exact(channels.max(1))) {
                row[..channels].copy_from_slice(bias);
            }
        }
    }

    /// A layer that was packed earlier; `None` where these are not its parts. `channels` are those
    /// of the feature map; `is_finite` says that no weight is infinite or NaN.
    #[allow(clippy::too_many_arguments)] // A layer is that many things.
    pub fn of(
        parts: &[Tensor],
        channels: usize,
        init: &[f32],
        lambda: &[f32],
        bound: Bound,
        hidden: usize,
        is_finite: bool,
    ) -> Option<Self> {
        let [weights, bias] = parts else { return None };
        let weights = match weights.to_numbers() {
            Some(halves) => Stored::F16(halves),
            None => Stored::F32(weights.to_numbers()?),
        };
        let layer = Coefficients {
            weights,
            bias: bias.to_numbers()?,
            init: init.to_vec(),
            lambda: lambda.to_vec(),
            bound,
            hidden,
            width: padded(channels),
            skips_zeros: is_finite,
        };
        let outputs = init.len().checked_mul(layer.width)?;
        let found = match &layer.weights {
            Stored::F16(weights) => weights.len(),
            Stored::F32(weights) => weights.len(),
        };
        let fits = layer.outputs() == outputs
            && lambda.len() == init.len()
            && Some(found) == outputs.checked_mul(hidden);
        fits.then_some(layer)
    }

    /// All coefficients of an image: `2K` rows of padded channels.
    pub fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// Units of the hidden layer.
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// Elements of workspace.
    pub fn workspace(&self) -> usize {
        2 * self.hidden
    }

    /// Bytes of the packed weights.
    pub fn bytes(&self) -> usize {
        4 * self.bias.len()
            + match &self.weights {
                Stored::F32(w) => 4 * w.len(),
                Stored::F16(w) => 2 * w.len(),
            }
    }
}

/// Computes the block's coefficients for the block's images, which are its rows: `hidden` is
/// `[images][padded hidden]`.
///
/// # Panics
/// Where layer, block and workspace do not fit together.
pub fn coefficients(
    isa: Isa,
    layer: &Coefficients,
    hidden: &[f32],
    block: &mut Block,
    work: &mut [f32],
) {
    assert_eq!(block.width(), layer.outputs());
    assert!(hidden.len() >= product_of([block.rows().end, padded(layer.hidden)]));
    assert!(u32::try_from(layer.hidden).is_ok(), "a hidden layer of too many units");
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
    fn run<S: Simd>(self, s: S) {
        let Run { layer, hidden, block, work } = self;
        let (units, values) = work.split_at_mut(layer.hidden);
        let units: &mut [u32] = bytemuck::cast_slice_mut(units);
        let columns = block.columns();
        for image in block.rows() {
            let hidden = &hidden[image * padded(layer.hidden)..][..layer.hidden];
            let mut count = 0;
            for (j, &h) in hidden.iter().enumerate() {
                units[count] = j as u32;
                values[count] = h;
                count += usize::from(h != 0.0 || !layer.skips_zeros);
            }
            let active = Active { units: &units[..count], values: &values[..count] };
            let z = &mut *block.row(image);
            z.copy_from_slice(&layer.bias[columns.clone()]);
            match &layer.weights {
                Stored::F32(weights) => {
                    active.add_all(s, weights, layer.outputs(), columns.start, z)
                }
                Stored::F16(weights) => {
                    active.add_all(s, weights, layer.outputs(), columns.start, z)
                }
            }
            layer.finish(s, z, columns.start);
        }
    }
}

/// The hidden units that are read.
#[derive(Clone, Copy)]
struct Active<'a> {
    units: &'a [u32],
    values: &'a [f32],
}

/// Numbers that load as f32.
trait Load: Copy {
    /// # Safety
    /// A vector of them is readable.
    unsafe fn load<S: Simd>(s: S, from: *const Self) -> S::Vector;
}

impl Load for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const f32) -> S::Vector {
        // SAFETY: the caller guarantees that a vector is readable.
        unsafe { s.load(from) }
    }
}

impl Load for f16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const f16) -> S::Vector {
        // SAFETY: the caller guarantees that a vector of halves is readable.
        unsafe { s.load_f16(from) }
    }
}

/// Hidden units that are read at a time.
const STREAMS: usize = 8;

impl Active<'_> {
    /// Adds what the units contribute to the outputs from `first` on, `outputs` being all of them.
    fn add_all<S: Simd, W: Load>(
        self,
        s: S,
        weights: &[W],
        outputs: usize,
        first: usize,
        z: &mut [f32],
    ) {
        let mut at = 0;
        while at < self.units.len() {
            let rest = self.units.len() - at;
            // SAFETY: units are below `hidden`, weights have a row of `outputs` for each, and `z`
            // is a part of such a row, of whole narrow vectors.
            unsafe {
                at += match rest {
                    STREAMS.. => self.add::<S, W, STREAMS>(s, at, weights, outputs, first, z),
                    2.. => self.add::<S, W, 2>(s, at, weights, outputs, first, z),
                    _ => self.add::<S, W, 1>(s, at, weights, outputs, first, z),
                }
            }
        }
    }

    /// Adds `U` units from the `at`-th on; gives `U`.
    ///
    /// # Safety
    /// They exist; weights have a row of `outputs` for each, and `z`, of whole narrow vectors, is
    /// the part of such a row from `first` on.
    unsafe fn add<S: Simd, W: Load, const U: usize>(
        self,
        s: S,
        at: usize,
        weights: &[W],
        outputs: usize,
        first: usize,
        z: &mut [f32],
    ) -> usize {
        s.vectorise(
            #[inline(always)]
            || {
                // SAFETY: the caller guarantees that the units exist, that the weights have a row for each, and
                // that `z` is a part of such a row; the loop stays inside `z`.
                unsafe {
                    let mut rows = [weights.as_ptr(); U];
                    let mut values = [0.0; U];
                    for u in 0..U {
                        rows[u] = rows[u].add(self.units[at + u] as usize * outputs + first);
                        values[u] = self.values[at + u];
                    }
                    let whole = z.len() / S::WIDTH * S::WIDTH;
                    for i in (0..whole).step_by(S::WIDTH) {
                        add_vector(s, &rows, &values, i, z.as_mut_ptr());
                    }
                    if whole < z.len() {
                        add_vector(s.narrow(), &rows, &values, whole, z.as_mut_ptr());
                    }
                }
            },
        );
        U
    }
}

/// Adds a vector of each row, times its value, to the vector of `z` at `i`.
///
/// # Safety
/// All of them have a vector there.
#[inline(always)]
unsafe fn add_vector<S: Simd, W: Load, const U: usize>(
    s: S,
    rows: &[*const W; U],
    values: &[f32; U],
    i: usize,
    z: *mut f32,
) {
    // SAFETY: the caller guarantees that `z` and all rows have a vector at `i`.
    unsafe {
        let mut sum = s.load(z.add(i));
        for u in 0..U {
            sum = s.mul_add(s.splat(values[u]), W::load(s, rows[u].add(i)), sum);
        }
        s.store(z.add(i), sum);
    }
}

impl Coefficients {
    /// Turns sums into coefficients; `z` are those from output `first` on.
    #[inline(always)]
    fn finish<S: Simd>(&self, s: S, mut z: &mut [f32], first: usize) {
        let mut column = first;
        while !z.is_empty() {
            let row = column / self.width;
            let here = z.len().min((row + 1) * self.width - column);
            let (part, rest) = z.split_at_mut(here);
            let coefficient = (self.init[row], self.lambda[row], self.bound);
            let whole = here / S::WIDTH * S::WIDTH;
            for z in part[..whole].chunks_exact_mut(S::WIDTH) {
                bounded(s, z, coefficient);
            }
            if whole < here {
                bounded(s.narrow(), &mut part[whole..], coefficient);
            }
            (z, column) = (rest, column + here);
        }
    }
}

/// `init + lambda * bound(z)` for a vector.
#[inline(always)]
fn bounded<S: Simd>(s: S, z: &mut [f32], (init, lambda, bound): (f32, f32, Bound)) {
    assert_eq!(z.len(), S::WIDTH);
    // SAFETY: there is a whole vector.
    unsafe {
        let x = s.load(z.as_ptr());
        let y = match bound {
            Bound::Tanh => tanh(s, s.mul(x, s.splat(0.5))),
            Bound::Clamp => {
                let third = s.mul(x, s.splat(1.0 / 3.0));
                s.at_most(s.at_least(third, s.splat(-1.0)), s.splat(1.0))
            }
            Bound::None => x,
        };
        s.store(z.as_mut_ptr(), s.mul_add(s.splat(lambda), y, s.splat(init)));
    }
}
