//! A pointwise convolution to one channel, such as the logits of a spatial attention: a scalar
//! product for each pixel.
#![allow(unsafe_code)]

use super::epilogue::{Epilogue, add_to_sums};
use crate::simd::{Isa, LANES, Simd, Vectorised};
use crate::tensor::{Block, Numbers};

/// The weights of one output, whole vectors of them, and its bias.
pub struct SingleOutput {
    /// One for every channel.
    pub weight: Numbers<f32>,
    /// Added to every product.
    pub bias: f32,
}

/// Pixels whose products are computed side by side.
const PIXELS: usize = 4;

/// Computes the block's rows of an image `x`, whose pixels are as long as the weights.
///
/// # Panics
/// Where image, weights, epilogue and block do not fit together.
pub fn scalar_products(
    isa: Isa,
    x: &[f32],
    layer: &SingleOutput,
    epilogue: &Epilogue,
    block: &mut Block,
) {
    let depth = layer.weight.len();
    assert!(depth.is_multiple_of(LANES) && x.len() >= block.rows.end * depth);
    assert_eq!((block.width, block.columns.clone()), (LANES, 0..LANES));
    assert!(epilogue.fits(x.len() / depth, LANES));
    isa.run_narrow(Run { x, layer, epilogue, block });
}

struct Run<'a, 'b, 'c> {
    x: &'a [f32],
    layer: &'a SingleOutput,
    epilogue: &'a Epilogue<'a>,
    block: &'c mut Block<'b>,
}

impl Vectorised for Run<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let rows = self.block.rows.clone();
        let mut row = rows.start;
        // SAFETY: the image and the block have these rows.
        unsafe {
            while row + PIXELS <= rows.end {
                self.pixels::<S, PIXELS>(s, row);
                row += PIXELS;
            }
            (row..rows.end).for_each(|row| self.pixels::<S, 1>(s, row));
        }
    }
}

impl Run<'_, '_, '_> {
    /// # Safety
    /// Image and block have `M` rows from `row` on.
    #[inline(always)]
    unsafe fn pixels<S: Simd, const M: usize>(&mut self, s: S, row: usize) {
        let depth = self.layer.weight.len();
        let mut sums = [s.splat(0.0); M];
        // SAFETY: the caller's; rows and weights are whole vectors.
        unsafe {
            let from = self.x.as_ptr().add(row * depth);
            for i in (0..depth).step_by(LANES) {
                let weight = s.load(self.layer.weight.as_ptr().add(i));
                for (m, sum) in sums.iter_mut().enumerate() {
                    *sum = s.mul_add(s.load(from.add(m * depth + i)), weight, *sum);
                }
            }
            // No `map`, which would be a call for other instructions than these.
            let mut y = [[s.splat(0.0)]; M];
            for (y, sum) in y.iter_mut().zip(sums) {
                *y = [s.splat(s.sum(sum) + self.layer.bias)];
            }
            self.epilogue.apply(s, &mut y, row, 0, LANES);
            for (m, y) in y.iter().enumerate() {
                s.store(self.block.at(row + m, 0), y[0]);
            }
            if let Some(sums) = &mut self.block.sums {
                add_to_sums(s, &y, sums.as_mut_ptr());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::epilogue::Activation;
    use super::*;
    use crate::tensor::Aligned;

    #[test]
    fn every_row_on_every_instruction_set() {
        for (rows, depth) in [(1, 8), (3, 24), (4, 40), (11, 16)] {
            let wave = |len: usize, frequency: f32| -> Vec<f32> {
                (0..len).map(|i| (i as f32 * frequency).sin()).collect()
            };
            let (x, weight) = (wave(rows * depth, 0.7), wave(depth, 0.3));
            let layer =
                SingleOutput { weight: Aligned::from(weight.as_slice()).into(), bias: 0.25 };
            let epilogue = Epilogue {
                activation: Activation::Clamp { low: 0.0, high: f32::INFINITY },
                ..Epilogue::NONE
            };
            for isa in Isa::available() {
                let mut y = vec![f32::NAN; (rows + 1) * LANES];
                let block = &mut Block::whole(&mut y[..rows * LANES], LANES);
                scalar_products(isa, &x, &layer, &epilogue, block);
                for (x, y) in x.chunks_exact(depth).zip(y.chunks_exact(LANES)) {
                    let products = x.iter().zip(&weight).map(|(x, w)| f64::from(x * w));
                    let want = (products.sum::<f64>() + 0.25).max(0.0) as f32;
                    assert!((y[0] - want).abs() < 1e-5, "{} and not {want}", y[0]);
                }
                assert!(y[rows * LANES..].iter().all(|y| y.is_nan()), "{}", isa.name());
            }
        }
    }
}
