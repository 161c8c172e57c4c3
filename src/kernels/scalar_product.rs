//! A pointwise convolution to one channel, such as the logits of a spatial attention: one scalar
//! product per pixel.
#![allow(unsafe_code)]

use super::block::Block;
use super::epilogue::Epilogue;
use super::fits::assert_rows_fit;
use super::place::Place;
use super::sizes::product_of;
use crate::simd::{Isa, LANES, Simd, Vectorised};
use crate::tensor::Numbers;

/// The weights and the bias of the single output.
pub struct SingleOutput {
    /// The weights, one per channel, with zeros up to a multiple of eight.
    pub weight: Numbers<f32>,
    /// Added to each scalar product.
    pub bias: f32,
}

/// Pixels that are computed at a time.
const PIXELS: usize = LANES;

/// Computes the rows of the output that `block` covers, from one image `x [pixels][padded channels]`. A
/// row of the block is one pixel, a vector of eight elements of which the first is the result.
///
/// # Panics
/// Panics if the shapes of `x`, the weights, the epilogue and the block do not match.
pub fn scalar_products(
    isa: Isa,
    x: &[f32],
    layer: &SingleOutput,
    epilogue: &Epilogue,
    block: &mut Block,
) {
    let weight = &*layer.weight;
    let depth = weight.len();
    assert!(depth.is_multiple_of(LANES) && x.len() >= product_of([block.rows().end, depth]));
    assert_eq!((block.width(), block.columns()), (LANES, 0..LANES));
    assert_rows_fit(block, epilogue);
    isa.run_narrow(Run { x, weight, bias: layer.bias, epilogue, block });
}

struct Run<'a, 'b, 'c> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: f32,
    epilogue: &'a Epilogue<'a>,
    block: &'c mut Block<'b>,
}

impl Vectorised for Run<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let rows = self.block.rows();
        let mut row = rows.start;
        // SAFETY: the block has these rows, and so has the image, as `scalar_products` asserted.
        unsafe {
            while row + PIXELS <= rows.end {
                let products = self.products::<S, PIXELS>(s, row);
                self.finish(s, row, lane_sums(s, &products));
                row += PIXELS;
            }
            for row in row..rows.end {
                let [products] = self.products::<S, 1>(s, row);
                self.finish(s, row, [s.sum(products)]);
            }
        }
    }
}

impl Run<'_, '_, '_> {
    /// Returns a vector of partial sums for each of `M` pixels from `row` on. The scalar product of a
    /// pixel is the sum of its lanes.
    ///
    /// # Safety
    /// The image has `M` rows from `row` on.
    #[inline(always)]
    unsafe fn products<S: Simd, const M: usize>(&self, s: S, row: usize) -> [S::Vector; M] {
        let depth = self.weight.len();
        let mut products = [s.splat(0.0); M];
        // SAFETY: the caller guarantees the rows. Rows and weights consist of whole vectors, as
        // `scalar_products` asserted.
        unsafe {
            let from = self.x.as_ptr().add(row * depth);
            for i in (0..depth).step_by(LANES) {
                let weight = s.load(self.weight.as_ptr().add(i));
                for (m, product) in products.iter_mut().enumerate() {
                    let x = from.add(m * depth + i);
                    s.prefetch(x.wrapping_add(M * depth));
                    *product = s.mul_add(s.load(x), weight, *product);
                }
            }
        }
        products
    }

    /// Adds the bias to the scalar products of `M` pixels, applies the epilogue and stores the results.
    ///
    /// # Safety
    /// The block has `M` rows from `row` on.
    #[inline(always)]
    unsafe fn finish<S: Simd, const M: usize>(&mut self, s: S, row: usize, sums: [f32; M]) {
        // Not `map`: its closure would be compiled without the instruction set's features.
        let mut y = [[s.splat(0.0)]; M];
        for (y, sum) in y.iter_mut().zip(sums) {
            *y = [s.splat(sum + self.bias)];
        }
        // SAFETY: the caller guarantees the rows of the block; `scalar_products` asserted that the epilogue
        // fits them.
        unsafe { self.epilogue.finish(s, y, Place::in_block(self.block, row, 0)) };
    }
}

/// Returns the sum of the lanes of each vector, added in the order of [`Simd::sum`].
#[inline(always)]
fn lane_sums<S: Simd>(s: S, vectors: &[S::Vector; LANES]) -> [f32; LANES] {
    let (mut rows, mut columns) = ([0.0; LANES * LANES], [0.0; LANES * LANES]);
    let mut sums = [0.0; LANES];
    // SAFETY: `rows` and `columns` are tiles of eight by eight elements, and `sums` is a vector.
    unsafe {
        for (i, &vector) in vectors.iter().enumerate() {
            s.store(rows.as_mut_ptr().add(i * LANES), vector);
        }
        s.transpose(rows.as_ptr(), LANES, columns.as_mut_ptr(), LANES);
        let lane = |i: usize| s.load(columns.as_ptr().add(i * LANES));
        let pair = |i: usize| s.add(lane(i), lane(i + 4));
        let sum = s.add(s.add(pair(0), pair(2)), s.add(pair(1), pair(3)));
        s.store(sums.as_mut_ptr(), sum);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::super::activation::Activation;
    use super::*;
    use crate::tensor::Aligned;

    fn rows_match_the_definition(isa: Isa) {
        for (rows, depth) in [(1, 8), (3, 24), (8, 40), (21, 16)] {
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
            let mut y = vec![f32::NAN; (rows + 1) * LANES];
            let block = &mut Block::whole(&mut y[..rows * LANES], LANES);
            scalar_products(isa, &x, &layer, &epilogue, block);
            for (x, y) in x.chunks_exact(depth).zip(y.chunks_exact(LANES)) {
                let products = x.iter().zip(&weight).map(|(x, w)| f64::from(x * w));
                let want = (products.sum::<f64>() + 0.25).max(0.0) as f32;
                assert!((y[0] - want).abs() < 1e-5, "expected {want}, found {}", y[0]);
            }
            assert!(y[rows * LANES..].iter().all(|y| y.is_nan()), "{}", isa.name());
        }
    }

    /// [`rows_match_the_definition`] on each instruction set.
    mod rows_match_the_definition {
        crate::simd::testing::isa_tests!(super::rows_match_the_definition);
    }
}
