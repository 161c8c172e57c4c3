//! Arguments that do not fit together panic: no safe call reads or writes outside of its slices.

use super::super::activation::Activation;
use super::super::conv::{ConvWeights, Image, conv};
use super::super::depthwise::{DepthwiseWeights, depthwise};
use super::super::epilogue::Epilogue;
use super::super::hyperfunction::{Coefficients, Squash, coefficients};
use super::super::pool::{Pooling, pool};
use super::super::product::{Packed, Rows, product};
use super::super::scalar_product::{SingleOutput, scalar_products};
use super::super::transform::{transform, transform_in_place};
use super::super::winograd::{WinogradWeights, winograd};
use super::super::{Block, Blocks, Cut, Window};
use crate::simd::Isa;
use crate::tensor::{Aligned, Layout};

fn window(input: [usize; 2], kernel: [usize; 2]) -> Window {
    Window { kernel, stride: [1, 1], dilation: [1, 1], before: [0, 0], input, output: input }
}

/// A window over more pixels than can be counted: their number, times eight, is 0 without a check.
fn endless(output: [usize; 2], kernel: [usize; 2]) -> Window {
    Window { input: [1 << 32, 1 << 32], ..window(output, kernel) }
}

/// Packed weights of ones.
fn packed(outputs: usize, length: usize) -> Packed {
    let numbers = |count: usize| Aligned::from(vec![1f32; count].as_slice()).into();
    Packed::of(numbers(outputs * length), numbers(outputs), length).unwrap()
}

/// An epilogue that reads an empty map.
const EMPTY_MAP: Epilogue = Epilogue { before: Some(&[]), ..Epilogue::NONE };

fn run_product(rows: Rows, weights: &Packed, epilogue: &Epilogue, block: &mut Block) {
    product(Isa::get(), rows, weights, &[], epilogue, block);
}

#[test]
#[should_panic(expected = "is none of the block's")]
fn a_row_outside_of_a_block() {
    let mut map = [0f32; 64];
    Block::whole(&mut map, 8).row(8).fill(1.0);
}

#[test]
#[should_panic(expected = "columns.end <= self.columns.end")]
fn columns_outside_of_a_block() {
    let mut map = [0f32; 64];
    let _ = Block::whole(&mut map, 8).with_columns(0..16);
}

#[test]
#[should_panic(expected = "rows.end <= self.rows.end")]
fn rows_outside_of_a_block() {
    let mut map = [0f32; 64];
    let mut block = Block::whole(&mut map, 8);
    block.part(4..9);
}

#[test]
#[should_panic(expected = "are too large")]
fn a_cut_of_more_than_can_be_counted() {
    let (images, rows) = (1 << 32, 1 << 32);
    let cut = Cut { images, rows, width: 16, row_blocks: 1, column_blocks: 1, row_unit: 1 };
    Blocks::new(&mut [], cut);
}

#[test]
#[should_panic(expected = "the epilogue does not fit")]
fn a_product_with_an_epilogue_of_another_map() {
    let (x, mut map) = ([1f32; 8], [0f32; 8]);
    let rows = Rows { base: &x, offsets: &[0], depth: 8, step: 1 };
    run_product(rows, &packed(8, 8), &EMPTY_MAP, &mut Block::whole(&mut map, 8));
}

#[test]
#[should_panic(expected = "a sum for every column")]
fn a_product_with_too_few_sums() {
    let (x, mut map, mut sums) = ([1f32; 8], [0f32; 64], [0f32; 8]);
    let rows = Rows { base: &x, offsets: &[0], depth: 8, step: 1 };
    let mut block = Block::whole(&mut map, 64).with_sums(&mut sums);
    run_product(rows, &packed(64, 8), &Epilogue::NONE, &mut block);
}

#[test]
fn products_of_rows_outside_of_the_map() {
    let x = [1f32; 8];
    // The distance of the last element wraps to a small one, or to zero.
    for (offset, depth, step) in
        [(4, 2, usize::MAX), (0, 9, 1 << 61), (0, 65, 1 << 58), (1, 8, 1), (8, 1, 1)]
    {
        let result = std::panic::catch_unwind(|| {
            let mut map = [0f32; 8];
            let rows = Rows { base: &x, offsets: &[offset], depth, step };
            run_product(rows, &packed(8, depth), &Epilogue::NONE, &mut Block::whole(&mut map, 8));
        });
        assert!(result.is_err(), "offset {offset}, depth {depth}, step {step}");
    }
}

#[test]
#[should_panic(expected = "columns are whole panels")]
fn a_product_of_a_part_of_a_panel() {
    let (x, mut map) = ([1f32; 8], [0f32; 40]);
    let rows = Rows { base: &x, offsets: &[0], depth: 8, step: 1 };
    let mut block = Block::whole(&mut map, 40).with_columns(0..32);
    run_product(rows, &packed(40, 8), &Epilogue::NONE, &mut block);
}

#[test]
#[should_panic(expected = "a sum for every column")]
fn a_convolution_with_too_few_sums() {
    let weights = ConvWeights::new(&[1f32; 64 * 16], None, 64, 16);
    let (x, mut map, mut sums) = ([1f32; 16 * 4], [0f32; 64 * 4], [0f32; 8]);
    let image = Image { data: &x, layout: Layout::Nhwc };
    let block = &mut Block::whole(&mut map, 64).with_sums(&mut sums);
    let window = window([2, 2], [1, 1]);
    conv(Isa::get(), image, &weights, &window, None, &Epilogue::NONE, block, &mut [0f32; 64]);
}

fn run_winograd(x: &[f32], window: &Window, block: &mut Block) {
    let weights = WinogradWeights::new(&[0.1f32; 32 * 16 * 9], None, 32, 16);
    let mut work = vec![0f32; weights.workspace(4, 4)];
    winograd(Isa::get(), x, &weights, window, &Epilogue::NONE, block, &mut work);
}

#[test]
#[should_panic(expected = "a sum for every column")]
fn winograd_with_too_few_sums() {
    let (mut map, mut sums) = ([0f32; 32 * 16], [0f32; 8]);
    let window = Window { before: [1, 1], ..window([4, 4], [3, 3]) };
    run_winograd(&[1f32; 16 * 16], &window, &mut Block::whole(&mut map, 32).with_sums(&mut sums));
}

#[test]
#[should_panic(expected = "are too large")]
fn winograd_over_more_than_can_be_counted() {
    let mut map = [0f32; 32 * 16];
    run_winograd(&[], &endless([4, 4], [3, 3]), &mut Block::whole(&mut map, 32));
}

#[test]
#[should_panic(expected = "are too large")]
fn a_depthwise_convolution_over_more_than_can_be_counted() {
    let weights = DepthwiseWeights::new(&[1f32; 8 * 9], None, 8);
    let mut map = [0f32; 8 * 16];
    let block = &mut Block::whole(&mut map, 32);
    depthwise(Isa::get(), &[], &weights, &endless([4, 4], [3, 3]), &Epilogue::NONE, block);
}

#[test]
#[should_panic(expected = "a sum for every column")]
fn scalar_products_with_too_few_sums() {
    let layer = SingleOutput { weight: Aligned::from(&[1f32; 8][..]).into(), bias: 0.0 };
    let (x, mut map) = ([1f32; 8 * 16], [0f32; 8 * 16]);
    let block = &mut Block::whole(&mut map, 8).with_sums(&mut []);
    scalar_products(Isa::get(), &x, &layer, &Epilogue::NONE, block);
}

#[test]
#[should_panic(expected = "the epilogue does not fit")]
fn a_transformation_in_place_with_a_map_that_is_too_short() {
    let mut map = [0f32; 64];
    transform_in_place(Isa::get(), &EMPTY_MAP, &mut Block::whole(&mut map, 8));
}

#[test]
#[should_panic(expected = "x.len() >=")]
fn a_transformation_of_a_map_that_is_too_short() {
    let mut map = [0f32; 64];
    transform(Isa::get(), &[1f32; 63], &Epilogue::NONE, &mut Block::whole(&mut map, 8));
}

#[test]
#[should_panic(expected = "the epilogue does not fit")]
fn more_pieces_than_can_be_counted() {
    let mut map = [0f32; 8];
    // Twice as many rows of eight coefficients are 0 elements without a check.
    let activation = Activation::MaxAffine { k: 1 << 60 };
    let epilogue = Epilogue { activation, ..Epilogue::NONE };
    transform_in_place(Isa::get(), &epilogue, &mut Block::whole(&mut map, 8));
}

#[test]
#[should_panic(expected = "columns are whole vectors")]
fn coefficients_of_a_part_of_a_vector() {
    let (init, lambda) = ([1.0, 0.0, 0.0, 0.0], [1.0; 4]);
    let layer = Coefficients::new(&[0.5f32; 4 * 8], None, &init, &lambda, Squash::Tanh, 1, false);
    let mut map = vec![0f32; layer.outputs()];
    let columns = layer.outputs() - 4..layer.outputs();
    let block = &mut Block::whole(&mut map, layer.outputs()).with_columns(columns);
    coefficients(Isa::get(), &layer, &[1f32; 8], block, &mut [0f32; 2]);
}

#[test]
#[should_panic(expected = "are too large")]
fn pooling_over_more_than_can_be_counted() {
    let mut map = [0f32; 8];
    let block = &mut Block::whole(&mut map, 8);
    pool(Isa::get(), &[], 8, Pooling::Max, &endless([1, 1], [1, 1]), block);
}
