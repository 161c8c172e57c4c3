//! A pointwise convolution to one channel, such as the logits of a spatial attention: one scalar
//! product per pixel.
//!
//! [`scalar_products`] computes a map of its own. [`scalar_products_of`] computes them for the pixels of
//! a block that has just been written, so that they are read from the cache.
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
        let (rows, depth) = (self.block.rows(), self.weight.len());
        let mut row = rows.start;
        // SAFETY: the block has these rows, and so has the image, as `scalar_products` asserted.
        unsafe {
            while row + PIXELS <= rows.end {
                let x = self.x.as_ptr().add(row * depth);
                let products = partial_sums::<S, PIXELS>(s, x, depth, self.weight);
                self.finish(s, row, lane_sums(s, &products));
                row += PIXELS;
            }
            for row in row..rows.end {
                let x = self.x.as_ptr().add(row * depth);
                let [products] = partial_sums::<S, 1>(s, x, depth, self.weight);
                self.finish(s, row, [s.sum(products)]);
            }
        }
    }
}

/// Computes the products of `block`, if they are wanted: the scalar product of each pixel with the
/// weights, plus the bias.
///
/// # Panics
/// Panics if the rows of the block do not consist of pixels with as many elements as there are weights,
/// or if the weights are not whole vectors.
pub fn scalar_products_of(isa: Isa, layer: &SingleOutput, block: &mut Block) {
    let weight = &*layer.weight;
    let Some((x, to)) = block.products() else { return };
    assert!(weight.len().is_multiple_of(LANES));
    assert_eq!(x.len(), product_of([to.len(), weight.len()]));
    isa.run_narrow(RunDense { x, weight, bias: layer.bias, to });
}

struct RunDense<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: f32,
    to: &'a mut [f32],
}

impl Vectorised for RunDense<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let RunDense { x, weight, bias, to } = self;
        let depth = weight.len();
        let (groups, rest) = to.as_chunks_mut::<PIXELS>();
        let mut from = x.as_ptr();
        // SAFETY: `x` has a pixel for each element of `to`, as `scalar_products_of` asserted.
        unsafe {
            for to in groups {
                let sums = lane_sums(s, &partial_sums::<S, PIXELS>(s, from, depth, weight));
                for (to, sum) in to.iter_mut().zip(sums) {
                    *to = sum + bias;
                }
                from = from.add(PIXELS * depth);
            }
            for to in rest {
                let [sums] = partial_sums::<S, 1>(s, from, depth, weight);
                *to = s.sum(sums) + bias;
                from = from.add(depth);
            }
        }
    }
}

/// Returns a vector of partial sums for each of `M` pixels, which are `depth` elements apart. The scalar
/// product of a pixel with the weights is the sum of its lanes.
///
/// # Safety
/// There are `M` pixels at `from`, which are at least as long as the weights, and these are whole vectors.
#[inline(always)]
unsafe fn partial_sums<S: Simd, const M: usize>(
    s: S,
    from: *const f32,
    depth: usize,
    weight: &[f32],
) -> [S::Vector; M] {
    let mut sums = [s.splat(0.0); M];
    for i in (0..weight.len()).step_by(S::WIDTH) {
        // SAFETY: the caller guarantees the pixels and whole vectors.
        unsafe {
            let weight = s.load(weight.as_ptr().add(i));
            for (m, sum) in sums.iter_mut().enumerate() {
                *sum = s.mul_add(s.load(from.add(m * depth + i)), weight, *sum);
            }
        }
    }
    sums
}

impl Run<'_, '_, '_> {
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
    use super::super::block::{Blocks, Cut};
    use super::*;
    use crate::simd::padded;
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

    fn products_of_blocks_match_the_definition(isa: Isa) {
        // Rows of pixels, and rows that are lines of several pixels.
        for (images, rows, per_row, depth) in
            [(1, 1, 1, 8), (2, 3, 1, 24), (1, 21, 1, 16), (3, 5, 7, 40), (1, 2, 16, 96)]
        {
            let wave = |len: usize, frequency: f32| -> Vec<f32> {
                (0..len).map(|i| (i as f32 * frequency).sin()).collect()
            };
            let width = per_row * depth;
            let (mut map, weight) = (wave(images * rows * width, 0.7), wave(depth, 0.3));
            let layer =
                SingleOutput { weight: Aligned::from(weight.as_slice()).into(), bias: 0.25 };
            let pixels = rows * per_row;
            let mut plane = vec![f32::NAN; images * padded(pixels)];
            let row_blocks = rows.min(2);
            let cut = Cut { images, rows, width, row_blocks, column_blocks: 1, row_unit: 1 };
            let x = map.clone();
            let blocks = Blocks::new(&mut map, cut).with_products(&mut plane, depth);
            while let Some(mut block) = blocks.next() {
                scalar_products_of(isa, &layer, &mut block);
            }
            let planes = plane.chunks_exact(padded(pixels));
            for (x, plane) in x.chunks_exact(rows * width).zip(planes) {
                for (x, y) in x.chunks_exact(depth).zip(plane) {
                    let products = x.iter().zip(&weight).map(|(x, w)| f64::from(x * w));
                    let want = (products.sum::<f64>() + 0.25) as f32;
                    assert!((y - want).abs() < 1e-5, "expected {want}, found {y}: {}", isa.name());
                }
                assert!(plane[pixels..].iter().all(|y| y.is_nan()), "{}", isa.name());
            }
        }
    }

    /// [`products_of_blocks_match_the_definition`] on each instruction set.
    mod products_of_blocks_match_the_definition {
        crate::simd::testing::isa_tests!(super::products_of_blocks_match_the_definition);
    }

    #[test]
    fn a_block_without_products_is_left_alone() {
        let layer = SingleOutput { weight: Aligned::from(&[1f32; 8][..]).into(), bias: 0.0 };
        // Its rows are not pixels of this layer, which is an error where products are wanted.
        let mut map = [2.0; 12];
        scalar_products_of(Isa::get(), &layer, &mut Block::whole(&mut map, 12));
        assert_eq!(map, [2.0; 12]);
    }

    #[test]
    #[should_panic(expected = "assertion")]
    fn products_with_weights_of_another_depth() {
        let layer = SingleOutput { weight: Aligned::from(&[1f32; 16][..]).into(), bias: 0.0 };
        let (mut map, mut plane) = ([1f32; 64], [0f32; 8]);
        let cut =
            Cut { images: 1, rows: 8, width: 8, row_blocks: 1, column_blocks: 1, row_unit: 1 };
        let blocks = Blocks::new(&mut map, cut).with_products(&mut plane, 8);
        scalar_products_of(Isa::get(), &layer, &mut blocks.next().unwrap());
    }
}
