//! The second layer of a hyperfunction: from the hidden layer to the coefficients.
//!
//! `coefficient = init + lambda * squash(W h + c)`, the canonical form of the paper's equations.
//! Weights are stored a hidden unit at a time within tiles of 64 outputs, so that the units that
//! the hidden ReLU set to zero, about half of them, are not read at all.
#![allow(unsafe_code)]

use half::f16;

use crate::simd::{Isa, LANES, Simd, Vectorised, padded, tanh};
use crate::tensor::Block;

/// Outputs of a tile.
const TILE: usize = 64;

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
    bias: Vec<f32>,
    init: Vec<f32>,
    lambda: Vec<f32>,
    bound: Bound,
    hidden: usize,
    /// Padded channels.
    width: usize,
    /// Whether a hidden unit of zero contributes nothing, which infinite weights would break.
    skips_zeros: bool,
}

enum Stored {
    F32(Vec<f32>),
    F16(Vec<f16>),
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
        assert_eq!(weight.len(), rows * channels * hidden);
        assert_eq!(lambda.len(), rows);
        let width = padded(channels);
        let source = |output: usize| {
            let (row, channel) = (output / width, output % width);
            (channel < channels).then_some(row * channels + channel)
        };
        let outputs = rows * width;
        let mut weights = Vec::with_capacity(outputs * hidden);
        for first in (0..outputs).step_by(TILE) {
            for j in 0..hidden {
                let tile = first..outputs.min(first + TILE);
                weights.extend(tile.map(|o| source(o).map_or(0.0, |o| weight[o * hidden + j])));
            }
        }
        let bias = (0..outputs).map(|o| match (bias, source(o)) {
            (Some(bias), Some(o)) => bias[o],
            _ => 0.0,
        });
        let exact = weights.iter().all(|&w| f16::from_f32(w).to_f32() == w);
        Coefficients {
            bias: bias.collect(),
            init: init.to_vec(),
            lambda: lambda.to_vec(),
            bound,
            hidden,
            width,
            skips_zeros: weights.iter().all(|w| w.is_finite()),
            weights: if exact {
                Stored::F16(weights.into_iter().map(f16::from_f32).collect())
            } else {
                Stored::F32(weights)
            },
        }
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
/// `[images][padded hidden]`. Columns of a block start at multiples of 64 or are all of them.
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
    assert_eq!(block.width, layer.outputs());
    assert!(hidden.len() >= block.rows.end * padded(layer.hidden));
    isa.run_narrow(Run { layer, hidden, block, work });
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
        for image in block.rows.clone() {
            let hidden = &hidden[image * padded(layer.hidden)..][..layer.hidden];
            let mut count = 0;
            for (j, &h) in hidden.iter().enumerate() {
                units[count] = j as u32;
                values[count] = h;
                count += usize::from(h != 0.0 || !layer.skips_zeros);
            }
            let active = Active { units: &units[..count], values: &values[..count] };
            match &layer.weights {
                Stored::F32(weights) => layer.image(s, weights, active, block, image),
                Stored::F16(weights) => layer.image(s, weights, active, block, image),
            }
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
    /// Eight of them are readable.
    unsafe fn load<S: Simd>(s: S, from: *const Self) -> S::Vector;
}

impl Load for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const f32) -> S::Vector {
        // SAFETY: the caller's.
        unsafe { s.load(from) }
    }
}

impl Load for f16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const f16) -> S::Vector {
        // SAFETY: the caller's.
        unsafe { s.load_f16(from) }
    }
}

impl Coefficients {
    #[inline(always)]
    fn image<S: Simd, W: Load>(
        &self,
        s: S,
        weights: &[W],
        active: Active,
        block: &mut Block,
        image: usize,
    ) {
        let mut column = block.columns.start;
        while column < block.columns.end {
            let first = column / TILE * TILE;
            let tile_width = TILE.min(self.outputs() - first);
            let tile_weights = &weights[first * self.hidden..][..tile_width * self.hidden];
            if tile_width == TILE && column == first && block.columns.end - column >= TILE {
                // SAFETY: the tile is whole, and units are below `hidden`.
                unsafe {
                    self.part::<S, W, 8>(s, tile_weights, tile_width, active, block, image, column);
                }
                column += TILE;
            } else {
                // SAFETY: the vector lies in the tile, and units are below `hidden`.
                unsafe {
                    self.part::<S, W, 1>(s, tile_weights, tile_width, active, block, image, column);
                }
                column += LANES;
            }
        }
    }

    /// `V` vectors of outputs from `column` on.
    ///
    /// # Safety
    /// They lie in the block and in the tile whose weights are `[hidden][tile_width]`.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    unsafe fn part<S: Simd, W: Load, const V: usize>(
        &self,
        s: S,
        weights: &[W],
        tile_width: usize,
        active: Active,
        block: &mut Block,
        image: usize,
        column: usize,
    ) {
        // SAFETY: the caller's.
        unsafe {
            let weights = weights.as_ptr().add(column % TILE);
            let mut z = [s.splat(0.0); V];
            for (v, z) in z.iter_mut().enumerate() {
                *z = s.load(self.bias.as_ptr().add(column + v * LANES));
            }
            for (&unit, &value) in active.units.iter().zip(active.values) {
                let row = weights.add(unit as usize * tile_width);
                let value = s.splat(value);
                for (v, z) in z.iter_mut().enumerate() {
                    *z = s.mul_add(value, W::load(s, row.add(v * LANES)), *z);
                }
            }
            for (v, z) in z.iter().enumerate() {
                let at = column + v * LANES;
                let row = at / self.width;
                let bounded = match self.bound {
                    Bound::Tanh => tanh(s, s.mul(*z, s.splat(0.5))),
                    Bound::Clamp => {
                        let third = s.mul(*z, s.splat(1.0 / 3.0));
                        s.at_most(s.at_least(third, s.splat(-1.0)), s.splat(1.0))
                    }
                    Bound::None => *z,
                };
                let (init, lambda) = (s.splat(self.init[row]), s.splat(self.lambda[row]));
                s.store(block.at(image, at), s.mul_add(lambda, bounded, init));
            }
        }
    }
}
