//! Small numbers, worked by hand.

use super::*;
use crate::graph::{Conv, Op, Padding, SampleMode, SamplePadding};
use crate::reference::evaluate;

fn floats_of(shape: &[usize], data: &[f32]) -> Tensor {
    Tensor::new(shape, data.to_vec()).unwrap()
}

fn run(op: Op, inputs: &[&Tensor]) -> Result<Tensor> {
    let inputs: Vec<Option<&Tensor>> = inputs.iter().map(|&tensor| Some(tensor)).collect();
    evaluate(&op, &inputs, 1).map(|mut outputs| outputs.remove(0))
}

#[track_caller]
fn close(found: &Tensor, expected: &[f32]) {
    let found = found.as_f32().unwrap();
    let fits = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(found.len() == expected.len() && fits, "{found:?}, expected {expected:?}");
}

/// Samples a row of the numbers 1, 2 and 4 at x.
fn sampled(mode: SampleMode, padding: SamplePadding, align_corners: bool, x: &[f32]) -> Tensor {
    let row = floats_of(&[1, 1, 1, 3], &[1.0, 2.0, 4.0]);
    let grid: Vec<f32> = x.iter().flat_map(|&x| [x, 0.0]).collect();
    let grid = floats_of(&[1, 1, x.len(), 2], &grid);
    run(Op::GridSample(GridSample { mode, padding, align_corners }), &[&row, &grid]).unwrap()
}

#[test]
fn grids_interpolate() {
    use SampleMode::{Cubic, Linear, Nearest};
    use SamplePadding::{Border, Reflection, Zeros};
    // With aligned corners, -1, 0 and 1 are the three elements.
    let x = [-1.0, -0.5, 0.5, 1.0, 1.5];
    close(&sampled(Linear, Zeros, true, &x), &[1.0, 1.5, 3.0, 4.0, 2.0]);
    close(&sampled(Linear, Border, true, &x), &[1.0, 1.5, 3.0, 4.0, 4.0]);
    close(&sampled(Linear, Reflection, true, &x), &[1.0, 1.5, 3.0, 4.0, 3.0]);
    // Element 0.5 and 1.5 are rounded to the even one.
    close(&sampled(Nearest, Zeros, true, &x), &[1.0, 1.0, 4.0, 4.0, 4.0]);
    // Half-way, Keys' weights with a = -0.75 are -3/32, 19/32, 19/32 and -3/32.
    close(&sampled(Cubic, Border, true, &[-0.5]), &[(-3.0 + 19.0 + 38.0 - 12.0) / 32.0]);
    close(&sampled(Cubic, Zeros, true, &[-0.5]), &[(19.0 + 38.0 - 12.0) / 32.0]);
    close(&sampled(Cubic, Reflection, true, &[-0.5]), &[(-6.0 + 19.0 + 38.0 - 12.0) / 32.0]);
    // Otherwise they are the edges: -1 is half an element before the first.
    let x = [-1.0, 0.0, 2.0 / 3.0, 1.0];
    close(&sampled(Linear, Zeros, false, &x), &[0.5, 2.0, 4.0, 2.0]);
    close(&sampled(Linear, Reflection, false, &[-5.0 / 3.0, 5.0 / 3.0]), &[1.5, 3.0]);
    // What is nowhere is outside.
    close(&sampled(Linear, Zeros, false, &[f32::NAN, f32::INFINITY, 1e30]), &[0.0; 3]);
}

#[test]
fn a_grid_names_the_last_axis_first() {
    let x = floats_of(&[1, 2, 2, 2], &[1.0, 2.0, 3.0, 4.0, 10.0, 20.0, 30.0, 40.0]);
    let op = || {
        let (mode, padding) = (SampleMode::Linear, SamplePadding::Zeros);
        Op::GridSample(GridSample { mode, padding, align_corners: true })
    };
    let grid = floats_of(&[1, 1, 2, 2], &[1.0, -1.0, 0.0, 1.0]);
    close(&run(op(), &[&x, &grid]).unwrap(), &[2.0, 3.5, 20.0, 35.0]);
    // A row of volume, at depth, height and width in the middle.
    let volume = floats_of(&[1, 1, 2, 1, 2], &[1.0, 2.0, 3.0, 4.0]);
    close(&run(op(), &[&volume, &floats_of(&[1, 1, 1, 1, 3], &[0.0; 3])]).unwrap(), &[2.5]);
    assert!(run(op(), &[&x, &floats_of(&[2, 1, 1, 2], &[0.0; 4])]).is_err());
    assert!(run(op(), &[&x, &floats_of(&[1, 1, 1, 3], &[0.0; 3])]).is_err());
    assert!(run(op(), &[&floats_of(&[1, 1, 0, 2], &[]), &grid]).is_err());
}

fn deform(groups: usize, offset_groups: usize, pad: i64) -> Op {
    let padding = Padding::Explicit(vec![pad; 4]);
    let conv = Conv { padding, strides: vec![], dilations: vec![], groups };
    Op::DeformConv(DeformConv { conv, offset_groups })
}

#[test]
fn offsets_move_the_taps_and_masks_weaken_them() {
    let x = floats_of(&[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let weight = floats_of(&[1, 1, 1, 1], &[2.0]);
    // The first two positions move down by half a row, the others right by one column.
    let offset = floats_of(&[1, 2, 2, 2], &[0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
    let y = run(deform(1, 1, 0), &[&x, &weight, &offset]).unwrap();
    close(&y, &[4.0, 6.0, 8.0, 0.0]);
    let (bias, mask) = (floats_of(&[1], &[1.0]), floats_of(&[1, 1, 2, 2], &[0.5, 0.0, 1.0, 1.0]));
    let y = run(deform(1, 1, 0), &[&x, &weight, &offset, &bias, &mask]).unwrap();
    close(&y, &[3.0, 1.0, 9.0, 1.0]);
}

/// Without offsets it is a convolution.
#[test]
fn a_deformable_convolution_without_offsets_is_a_convolution() {
    let wave = |count: usize| (0..count).map(|i| (i as f32 * 0.7).sin()).collect::<Vec<f32>>();
    let x = floats_of(&[2, 4, 3, 5], &wave(120));
    let weight = floats_of(&[6, 2, 3, 3], &wave(108));
    let zeros = floats_of(&[2, 36, 3, 5], &[0.0; 1080]);
    let y = run(deform(2, 2, 1), &[&x, &weight, &zeros]).unwrap();
    let padding = Padding::Explicit(vec![1; 4]);
    let conv = Conv { padding, strides: vec![], dilations: vec![], groups: 2 };
    let expected = run(Op::Conv(conv), &[&x, &weight]).unwrap();
    close(&y, expected.as_f32().unwrap());
    assert!(run(deform(2, 3, 1), &[&x, &weight, &zeros]).is_err());
    assert!(run(deform(2, 0, 1), &[&x, &weight, &zeros]).is_err());
    assert!(run(deform(2, 2, 0), &[&x, &weight, &zeros]).is_err());
}

fn align(kind: PoolKind, sampling_ratio: usize, half_pixel: bool) -> RoiAlign {
    RoiAlign { kind, output: [1, 2], sampling_ratio, spatial_scale: 0.5, half_pixel }
}

#[test]
fn cells_of_regions_are_sampled() {
    let x = floats_of(&[1, 1, 2, 4], &[0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 13.0]);
    let images = Tensor::vector(vec![0i64]);
    let region = floats_of(&[1, 4], &[0.0, 0.0, 8.0, 4.0]);
    let run = |op: RoiAlign, region: &Tensor, images: &Tensor| {
        super::tests::run(Op::RoiAlign(op), &[&x, region, images])
    };
    // The region is the whole map: the centre of a cell lies between its four elements.
    let y = run(align(PoolKind::Average, 1, true), &region, &images).unwrap();
    close(&y, &[5.5, 7.5]);
    // With as many samples as elements, a cell is the mean of its elements.
    close(&run(align(PoolKind::Average, 0, true), &region, &images).unwrap(), &[5.5, 7.5]);
    // The largest weighted element of a cell, as in ONNX.
    close(&run(align(PoolKind::Max, 2, true), &region, &images).unwrap(), &[11.0, 13.0]);
    // Without the shift by half a pixel, a sample at 1, 1 is element 1 of the second row.
    close(&run(align(PoolKind::Average, 1, false), &region, &images).unwrap(), &[11.0, 13.0]);
    assert!(run(align(PoolKind::Average, 1, true), &region, &Tensor::vector(vec![1i64])).is_err());
    // Regions come from data.
    for end in [f32::NAN, f32::INFINITY, 1e30] {
        let region = floats_of(&[1, 4], &[0.0, 0.0, end, 4.0]);
        assert!(run(align(PoolKind::Average, 0, true), &region, &images).is_err());
    }
}
