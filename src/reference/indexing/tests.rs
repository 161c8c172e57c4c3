//! Small numbers, worked by hand or from the examples of ONNX's specification.

use super::*;
use crate::graph::Op;
use crate::reference::evaluate;

fn floats_of(shape: &[usize], data: &[f32]) -> Tensor {
    Tensor::new(shape, data.to_vec()).unwrap()
}

fn ints(shape: &[usize], data: &[i64]) -> Tensor {
    Tensor::new(shape, data.to_vec()).unwrap()
}

fn run(op: Op, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
    let inputs: Vec<Option<&Tensor>> = inputs.iter().map(|&tensor| Some(tensor)).collect();
    evaluate(&op, &inputs, op.arity().outputs.end().min(&2).to_owned())
}

#[track_caller]
fn check(op: Op, inputs: &[&Tensor], shape: &[usize], data: &[f32]) {
    let y = run(op, inputs).unwrap().remove(0);
    assert_eq!((y.shape(), y.as_f32().unwrap()), (shape, data));
}

#[test]
fn elements_are_gathered_along_an_axis() {
    let x = floats_of(&[3, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
    let indices = ints(&[2, 3], &[1, 2, 0, 2, 0, 0]);
    let op = |axis| Op::GatherElements { axis };
    check(op(0), &[&x, &indices], &[2, 3], &[4.0, 8.0, 3.0, 7.0, 2.0, 3.0]);
    // Negative indices count from the end; fewer rows than the data has are the first ones.
    check(op(-1), &[&x, &ints(&[2, 1], &[-1, 0])], &[2, 1], &[3.0, 4.0]);
    for (indices, axis) in [(ints(&[1, 1], &[3]), 0), (ints(&[3], &[0; 3]), 0), (indices, 2)] {
        assert!(run(op(axis), &[&x, &indices]).is_err());
    }
    assert!(run(op(0), &[&x, &ints(&[1, 4], &[0; 4])]).is_err());
}

#[test]
fn slices_are_gathered_at_positions() {
    let x = floats_of(&[2, 2, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    let op = |batch_dims| Op::GatherNd { batch_dims };
    check(op(0), &[&x, &ints(&[2, 2], &[0, 1, 1, 0])], &[2, 2], &[2.0, 3.0, 4.0, 5.0]);
    check(op(0), &[&x, &ints(&[1, 3], &[1, -1, 0])], &[1], &[6.0]);
    // With a batch, index `i` selects within entry `i`.
    check(op(1), &[&x, &ints(&[2, 1], &[1, 0])], &[2, 2], &[2.0, 3.0, 4.0, 5.0]);
    check(op(2), &[&x, &ints(&[2, 2, 1], &[1, 0, 0, 1])], &[2, 2], &[1.0, 2.0, 4.0, 7.0]);
    for (batch_dims, indices) in [
        (0, ints(&[1, 1], &[2])),
        (0, ints(&[1, 4], &[0; 4])),
        (0, ints(&[1, 0], &[])),
        (0, ints(&[], &[0])),
        (1, ints(&[3, 1], &[0; 3])),
        (3, ints(&[2, 2, 1], &[0; 4])),
        (usize::MAX, ints(&[1], &[0])),
    ] {
        assert!(run(op(batch_dims), &[&x, &indices]).is_err(), "{batch_dims} {indices:?}");
    }
}

#[test]
fn elements_are_scattered_along_an_axis() {
    let x = floats_of(&[1, 5], &[1.0, 2.0, 3.0, 4.0, 5.0]);
    let (indices, updates) = (ints(&[1, 2], &[1, 1]), floats_of(&[1, 2], &[1.5, 2.5]));
    for (reduction, second) in [
        // The last of two updates of one element stays.
        (ScatterReduction::None, 2.5),
        (ScatterReduction::Add, 6.0),
        (ScatterReduction::Mul, 7.5),
        (ScatterReduction::Max, 2.5),
        (ScatterReduction::Min, 1.5),
    ] {
        let op = Op::ScatterElements { axis: 1, reduction };
        check(op, &[&x, &indices, &updates], &[1, 5], &[1.0, second, 3.0, 4.0, 5.0]);
    }
    let op = || Op::ScatterElements { axis: 1, reduction: ScatterReduction::None };
    assert!(run(op(), &[&x, &indices, &floats_of(&[2], &[0.0; 2])]).is_err());
    assert!(run(op(), &[&x, &ints(&[1, 2], &[0, -6]), &updates]).is_err());
}

#[test]
fn slices_are_scattered_at_positions() {
    let x = floats_of(&[3, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let (indices, updates) = (ints(&[2, 1], &[2, 0]), floats_of(&[2, 2], &[6.0, 7.0, 8.0, 9.0]));
    let op = |reduction| Op::ScatterNd { reduction };
    let inputs = [&x, &indices, &updates];
    check(op(ScatterReduction::None), &inputs, &[3, 2], &[8.0, 9.0, 2.0, 3.0, 6.0, 7.0]);
    check(op(ScatterReduction::Add), &inputs, &[3, 2], &[8.0, 10.0, 2.0, 3.0, 10.0, 12.0]);
    let numbers = ints(&[2], &[i64::MAX, 1]);
    let y = run(op(ScatterReduction::Add), &[&numbers, &ints(&[1, 1], &[0]), &ints(&[1], &[1])]);
    assert_eq!(y.unwrap()[0].to_i64s().unwrap(), [i64::MIN, 1]);
    assert!(run(op(ScatterReduction::None), &[&x, &indices, &ints(&[2, 2], &[0; 4])]).is_err());
}

#[test]
fn the_first_of_equal_elements_is_selected_first() {
    let x = floats_of(&[2, 3], &[1.0, 3.0, 3.0, f32::NAN, -1.0, f32::INFINITY]);
    let op = |axis, largest| Op::TopK(TopK { axis, largest });
    let select = |op: Op, k: &Tensor| {
        let y = run(op, &[&x, k]).unwrap();
        (y[0].shape().to_vec(), y[1].to_i64s().unwrap())
    };
    assert_eq!(select(op(-1, true), &ints(&[1], &[2])), (vec![2, 2], vec![1, 2, 0, 2]));
    assert_eq!(select(op(-1, false), &ints(&[], &[2])), (vec![2, 2], vec![0, 1, 1, 2]));
    assert_eq!(select(op(0, true), &ints(&[1], &[1])), (vec![1, 3], vec![1, 0, 1]));
    assert_eq!(select(op(0, true), &ints(&[1], &[0])), (vec![0, 3], vec![]));
    let y = run(op(1, true), &[&x, &ints(&[1], &[3])]).unwrap();
    assert_eq!(y[0].as_f32().unwrap()[..3], [3.0, 3.0, 1.0]);
    assert!(y[0].as_f32().unwrap()[3].is_nan());
    for k in [-1, 4] {
        assert!(run(op(1, true), &[&x, &ints(&[1], &[k])]).is_err());
    }
}

#[test]
fn cumulative_sums() {
    let x = floats_of(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    for (exclusive, reverse, axis, expected) in [
        (false, false, 1, [1.0, 3.0, 6.0, 4.0, 9.0, 15.0]),
        (true, false, 1, [0.0, 1.0, 3.0, 0.0, 4.0, 9.0]),
        (false, true, -1, [6.0, 5.0, 3.0, 15.0, 11.0, 6.0]),
        (true, true, 1, [5.0, 3.0, 0.0, 11.0, 6.0, 0.0]),
        (false, false, 0, [1.0, 2.0, 3.0, 5.0, 7.0, 9.0]),
    ] {
        let op = Op::CumSum(CumSum { exclusive, reverse });
        check(op, &[&x, &ints(&[], &[axis])], &[2, 3], &expected);
    }
    let op = Op::CumSum(CumSum { exclusive: false, reverse: false });
    assert!(run(op, &[&x, &ints(&[], &[2])]).is_err());
}

#[test]
fn positions_that_are_not_zero() {
    let positions = |x: &Tensor| {
        let y = run(Op::NonZero, &[x]).unwrap().remove(0);
        (y.shape().to_vec(), y.to_i64s().unwrap())
    };
    let x = floats_of(&[2, 2], &[1.0, 0.0, f32::NAN, -1.0]);
    assert_eq!(positions(&x), (vec![2, 3], vec![0, 1, 1, 0, 0, 1]));
    assert_eq!(positions(&Tensor::scalar(2i64)), (vec![1, 1], vec![0]));
    assert_eq!(positions(&floats_of(&[0, 3], &[])), (vec![2, 0], vec![]));
}

/// The boxes of ONNX's tests: two overlap by 0.818 with the first, two with the fourth.
#[test]
fn boxes_that_overlap_a_better_one_are_dropped() {
    let corners = [
        [0.0, 0.0, 1.0, 1.0],
        [0.0, 0.1, 1.0, 1.1],
        // The same box as [0, -0.1, 1, 0.9], stated by its other corners.
        [1.0, 0.9, 0.0, -0.1],
        [0.0, 10.0, 1.0, 11.0],
        [0.0, 10.1, 1.0, 11.1],
        [0.0, 100.0, 1.0, 101.0],
    ];
    let boxes = floats_of(&[1, 6, 4], corners.as_flattened());
    let scores = floats_of(&[1, 1, 6], &[0.9, 0.75, 0.6, 0.95, 0.5, 0.3]);
    let select = |most: i64, overlap: f32, least: f32| {
        let op = Op::NonMaxSuppression(NonMaxSuppression { centre_point_box: false });
        let (most, overlap) = (ints(&[1], &[most]), floats_of(&[1], &[overlap]));
        let y = run(op, &[&boxes, &scores, &most, &overlap, &floats_of(&[1], &[least])]);
        let y = y.unwrap()[0].to_i64s().unwrap();
        y.chunks(3).map(|c| c[2]).collect::<Vec<i64>>()
    };
    assert_eq!(select(3, 0.5, 0.0), [3, 0, 5]);
    assert_eq!(select(2, 0.5, 0.0), [3, 0]);
    assert_eq!(select(9, 0.5, 0.4), [3, 0]);
    assert_eq!(select(9, 0.9, 0.0), [3, 0, 1, 2, 4, 5]);
    assert_eq!(select(0, 0.5, 0.0), [0i64; 0]);
    let op = || Op::NonMaxSuppression(NonMaxSuppression { centre_point_box: true });
    let by_centres = floats_of(&[1, 2, 4], &[0.5, 0.5, 1.0, 1.0, 0.5, 0.6, 1.0, 1.0]);
    let inputs = [&by_centres, &floats_of(&[1, 1, 2], &[0.5, 0.6]), &ints(&[1], &[9])];
    let y = run(op(), &inputs).unwrap().remove(0);
    assert_eq!(y.to_i64s().unwrap(), [0, 0, 1]);
    assert!(run(op(), &[&by_centres, &scores]).is_err());
}
