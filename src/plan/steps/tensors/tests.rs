//! Tests of every operation against the reference.

use std::slice;

use super::*;
use crate::graph::{
    DepthOrder, MaxAffine, Op, PadMode, PoolKind, Reduce, ReduceKind, Softmax, Variadic,
};
use crate::kernels::tensors::arithmetic::Operation;
use crate::reference;
use crate::simd::Isa;

fn wave(shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    let data: Vec<f32> = (0..count).map(|i| (i as f32 * 0.73).sin() * 2.0).collect();
    Tensor::new(shape, data).unwrap()
}

fn integers(numbers: &[i64]) -> Tensor {
    Tensor::vector(numbers.to_vec())
}

/// Compares with the reference: where inputs may be overwritten, and where something else holds them.
fn check(operation: &dyn TensorOperation, op: &Op, inputs: &[Option<Tensor>], outputs: usize) {
    let references: Vec<_> = inputs.iter().map(Option::as_ref).collect();
    let expected = reference::evaluate(op, &references, outputs).unwrap();
    let own = |input: &Option<Tensor>| {
        let input = input.as_ref()?;
        Some(match input.as_f32() {
            Ok(elements) => Tensor::new(input.shape(), elements.to_vec()).unwrap(),
            Err(_) => input.clone(),
        })
    };
    let before: Vec<_> = inputs.iter().map(own).collect();
    let shapes: Vec<_> = references.iter().flatten().map(|input| input.shape()).collect();
    for inputs in [inputs.iter().map(own).collect(), inputs.to_vec()] {
        let case = format!("{op:?} of {shapes:?}");
        let found = operation.run(Isa::get(), TensorInputs(inputs), outputs).unwrap();
        assert_eq!(found.len(), expected.len(), "{case}");
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.shape(), expected.shape(), "{case}");
            let pairs = found.as_f32().unwrap().iter().zip(expected.as_f32().unwrap());
            for (found, expected) in pairs {
                let close = (found - expected).abs() <= 1e-5 * expected.abs().max(1.0);
                assert!(close || found == expected, "{found} is not {expected}: {case}");
            }
        }
    }
    for (input, before) in inputs.iter().zip(&before) {
        let bytes = |input: &Option<Tensor>| input.as_ref().map(|input| input.bytes().to_vec());
        assert_eq!(bytes(input), bytes(before), "a shared input of {op:?} was changed");
    }
}

/// Checks that an operation refuses what the reference refuses.
fn check_refused(operation: &dyn TensorOperation, op: &Op, inputs: &[Option<Tensor>]) {
    let references: Vec<_> = inputs.iter().map(Option::as_ref).collect();
    let expected = reference::evaluate(op, &references, 1).unwrap_err();
    let found = operation.run(Isa::get(), TensorInputs(inputs.to_vec()), 1).err();
    assert_eq!(found.map(|e| e.kind()), Some(expected.kind()), "{op:?}");
}

#[test]
fn arithmetic_of_any_shapes() {
    let op = Op::Variadic(Variadic::Sum);
    let sum = Arithmetic { operation: Operation::Sum, mean: false };
    for (a, b) in [
        (&[][..], &[][..]),
        (&[3, 5], &[]),
        (&[], &[3, 5]),
        (&[2, 3, 17], &[2, 3, 17]),
        (&[2, 3, 17], &[17]),
        (&[17], &[2, 3, 17]),
        (&[2, 3, 1, 5], &[1, 7, 1]),
        (&[4, 1], &[1, 9]),
        (&[0, 3], &[3]),
        (&[2, 1, 0], &[1, 3, 1]),
    ] {
        check(&sum, &op, &[Some(wave(a)), Some(wave(b))], 1);
        let difference = Arithmetic { operation: Operation::Difference, mean: false };
        let op = Op::Binary(crate::graph::Binary::Sub);
        check(&difference, &op, &[Some(wave(a)), Some(wave(b))], 1);
        let three = [Some(wave(a)), Some(wave(b)), Some(wave(b))];
        check(&Arithmetic { mean: true, ..sum }, &Op::Variadic(Variadic::Mean), &three, 1);
    }
    check_refused(&sum, &op, &[Some(wave(&[2, 3])), Some(wave(&[2]))]);
    let slope = Arithmetic { operation: Operation::Slope, mean: false };
    check(&slope, &Op::PRelu, &[Some(wave(&[2, 3, 5])), Some(wave(&[3, 1]))], 1);
    check_refused(&slope, &Op::PRelu, &[Some(wave(&[3])), Some(wave(&[2, 3]))]);
}

#[test]
fn soft_maxima_along_any_axis() {
    for axis in [-3, 0, 1, 2] {
        for flatten in [false, true] {
            let op = Softmax { axis, flatten };
            let x = Some(wave(&[3, 5, 9]));
            check(&Normalisation::Softmax(op), &Op::Softmax(op), slice::from_ref(&x), 1);
            check(&Normalisation::LogSoftmax(op), &Op::LogSoftmax(op), &[x], 1);
        }
    }
    let op = Softmax { axis: 2, flatten: false };
    check_refused(&Normalisation::Softmax(op), &Op::Softmax(op), &[Some(wave(&[2, 3]))]);
}

#[test]
fn layer_normalisation_with_scales_of_any_shape() {
    let epsilon = 1e-3;
    for (axis, scale, bias) in [
        (-1, &[7][..], Some(&[7][..])),
        (-1, &[1, 7], None),
        (1, &[5, 7], Some(&[5, 7])),
        (1, &[5, 1], Some(&[7])),
        (-1, &[2, 5, 7], Some(&[1])),
        (0, &[], None),
    ] {
        let op = Op::LayerNormalization { axis, epsilon };
        let inputs = [Some(wave(&[2, 5, 7])), Some(wave(scale)), bias.map(wave)];
        check(&Normalisation::Layer { axis, epsilon }, &op, &inputs, 1);
    }
    let op = Op::LayerNormalization { axis: 1, epsilon };
    let inputs = [Some(wave(&[2, 5])), Some(wave(&[3]))];
    check_refused(&Normalisation::Layer { axis: 1, epsilon }, &op, &inputs);
}

#[test]
fn normalisation_of_groups() {
    let epsilon = 1e-3;
    for shape in [&[2, 6, 5, 3][..], &[1, 6, 11], &[3, 6], &[2, 6, 0]] {
        for num_groups in [1, 2, 6] {
            let op = Op::GroupNormalization { num_groups, epsilon };
            let operation = Normalisation::Groups { count: Some(num_groups), epsilon };
            let inputs = [Some(wave(shape)), Some(wave(&[6])), Some(wave(&[6]))];
            check(&operation, &op, &inputs, 1);
            let wrong = [Some(wave(shape)), Some(wave(&[6])), Some(wave(&[5]))];
            check_refused(&operation, &op, &wrong);
        }
        let op = Op::InstanceNormalization { epsilon };
        let operation = Normalisation::Groups { count: None, epsilon };
        let inputs = [Some(wave(shape)), Some(wave(&[6])), Some(wave(&[6]))];
        match shape.len() {
            2 => check_refused(&operation, &op, &inputs),
            _ => check(&operation, &op, &inputs, 1),
        }
    }
    let op = Op::GroupNormalization { num_groups: 4, epsilon };
    let inputs = [Some(wave(&[2, 6])), Some(wave(&[6])), Some(wave(&[6]))];
    check_refused(&Normalisation::Groups { count: Some(4), epsilon }, &op, &inputs);
}

#[test]
fn reductions_over_any_axes() {
    use ReduceKind::*;
    for kind in [Mean, Sum, Max, Min, L1, L2, SumSquare] {
        for axes in [&[][..], &[0], &[-1], &[1], &[1, 2], &[0, 2], &[3, 0, 1], &[0, 1, 2, 3]] {
            for case in 0..4 {
                let (keep_dims, noop_with_empty_axes) = (case & 1 > 0, case & 2 > 0);
                let op = Reduce { kind, keep_dims, noop_with_empty_axes };
                let inputs = [Some(wave(&[3, 5, 2, 9])), Some(integers(axes))];
                check(&super::Reduction::new(op).unwrap(), &Op::Reduce(op), &inputs, 1);
            }
        }
    }
    let op = Reduce { kind: Sum, keep_dims: true, noop_with_empty_axes: false };
    let operation = super::Reduction::new(op).unwrap();
    for axes in [&[0][..], &[1], &[0, 1]] {
        check(&operation, &Op::Reduce(op), &[Some(wave(&[3, 0])), Some(integers(axes))], 1);
    }
    check_refused(&operation, &Op::Reduce(op), &[Some(wave(&[3])), Some(integers(&[1]))]);
    check_refused(&operation, &Op::Reduce(op), &[Some(wave(&[3, 2])), Some(integers(&[0, -2]))]);
}

#[test]
fn joined_and_cut_tensors() {
    let parts = |sizes: [usize; 3], axis: usize| {
        sizes.map(|size| {
            let mut shape = [2, 3, 4];
            shape[axis] = size;
            Some(wave(&shape))
        })
    };
    for axis in [0, 1, 2, -1] {
        let op = Op::Concat { axis };
        let inputs = parts([1, 0, 5], axis.rem_euclid(3) as usize);
        check(&Movement::Concat { axis }, &op, &inputs, 1);
    }
    let op = Op::Concat { axis: 1 };
    let inputs = [Some(wave(&[2, 3])), Some(wave(&[3, 3]))];
    check_refused(&Movement::Concat { axis: 1 }, &op, &inputs);
    for axis in [0, 1, -1] {
        let op = Op::Split { axis };
        let x = Some(wave(&[6, 6, 6]));
        check(&Movement::Split { axis }, &op, &[x.clone(), Some(integers(&[1, 0, 5]))], 3);
        check(&Movement::Split { axis }, &op, slice::from_ref(&x), 3);
        check(&Movement::Split { axis }, &op, &[x], 4);
    }
    let inputs = [Some(wave(&[6])), Some(integers(&[5]))];
    check_refused(&Movement::Split { axis: 0 }, &Op::Split { axis: 0 }, &inputs);
}

#[test]
fn slices_of_any_axes_and_steps() {
    for (starts, ends, axes, steps) in [
        (&[0][..], &[2][..], &[0][..], &[1][..]),
        (&[1], &[100], &[-1], &[2]),
        (&[-1], &[i64::MIN], &[1], &[-1]),
        (&[-1], &[i64::MIN], &[1], &[i64::MIN]),
        (&[4], &[i64::MAX], &[1], &[i64::MAX]),
        (&[3, 1], &[0, 3], &[1, 0], &[-2, 1]),
        (&[2], &[2], &[2], &[1]),
    ] {
        let numbers = [starts, ends, axes, steps].map(|n| Some(integers(n)));
        let inputs = [&[Some(wave(&[4, 5, 7]))][..], &numbers].concat();
        check(&Movement::Slice, &Op::Slice, &inputs, 1);
    }
    let inputs = [Some(wave(&[4, 5])), Some(integers(&[1, 2])), Some(integers(&[3, 4]))];
    check(&Movement::Slice, &Op::Slice, &inputs, 1);
    let inputs = [Some(wave(&[4])), Some(integers(&[1, 2])), Some(integers(&[3, 4]))];
    check_refused(&Movement::Slice, &Op::Slice, &inputs);
    let inputs = [Some(wave(&[4])), Some(integers(&[1])), Some(integers(&[3, 4]))];
    check_refused(&Movement::Slice, &Op::Slice, &inputs);
}

#[test]
fn gathered_entries() {
    let scalar = |i: i64| Some(Tensor::new(&[], vec![i]).unwrap());
    let matrix = Some(Tensor::new(&[2, 2], vec![0i64, -1, 3, 3]).unwrap());
    for axis in [0, 1, -1] {
        let op = Op::Gather { axis };
        for indices in
            [scalar(0), scalar(-4), Some(integers(&[2])), Some(integers(&[])), matrix.clone()]
        {
            check(&Movement::Gather { axis }, &op, &[Some(wave(&[4, 5, 4])), indices], 1);
        }
        check_refused(&Movement::Gather { axis }, &op, &[Some(wave(&[5, 5, 5])), scalar(5)]);
    }
    let inputs = [Some(wave(&[4, 0])), scalar(1)];
    check(&Movement::Gather { axis: 0 }, &Op::Gather { axis: 0 }, &inputs, 1);
}

#[test]
fn repeated_tensors() {
    for (shape, wanted) in [
        (&[3, 1][..], &[2, 1, 5][..]),
        (&[], &[2, 2]),
        (&[4], &[1]),
        (&[1, 3], &[0, 3]),
        (&[2, 1, 3], &[2, 4, 3]),
    ] {
        let inputs = [Some(wave(shape)), Some(integers(wanted))];
        check(&Movement::Expand, &Op::Expand, &inputs, 1);
    }
    let inputs = [Some(wave(&[3])), Some(integers(&[4]))];
    check_refused(&Movement::Expand, &Op::Expand, &inputs);
    let huge = [Some(wave(&[1])), Some(integers(&[1 << 40]))];
    check_refused(&Movement::Expand, &Op::Expand, &huge);
    for repeats in [[1, 1], [2, 3], [1, 0], [3, 1]] {
        let inputs = [Some(wave(&[3, 5])), Some(integers(&repeats))];
        check(&Movement::Tile, &Op::Tile, &inputs, 1);
    }
    for repeats in [&[1][..], &[1, -1], &[i64::MAX, i64::MAX]] {
        let inputs = [Some(wave(&[3, 5])), Some(integers(repeats))];
        check_refused(&Movement::Tile, &Op::Tile, &inputs);
    }
}

#[test]
fn permuted_axes() {
    for perm in [&[][..], &[0, 1, 2, 3], &[0, 2, 3, 1], &[3, 0, 1, 2], &[0, 2, 1, 3], &[3, 2, 0, 1]]
    {
        for shape in [&[2, 9, 3, 17][..], &[1, 8, 4, 4], &[5, 1, 16, 24], &[2, 0, 3, 4]] {
            let op = Op::Transpose { perm: perm.to_vec() };
            check(&Movement::Transpose { perm: perm.to_vec() }, &op, &[Some(wave(shape))], 1);
        }
    }
    for perm in [&[0, 0][..], &[0], &[0, 2]] {
        let op = Op::Transpose { perm: perm.to_vec() };
        let operation = Movement::Transpose { perm: perm.to_vec() };
        check_refused(&operation, &op, &[Some(wave(&[2, 3]))]);
    }
    for order in [DepthOrder::Dcr, DepthOrder::Crd] {
        let op = Op::DepthToSpace { block: 2, order };
        let operation = Movement::DepthToSpace { block: 2, order };
        check(&operation, &op, &[Some(wave(&[2, 12, 3, 5]))], 1);
        check_refused(&operation, &op, &[Some(wave(&[2, 6, 3, 5]))]);
    }
}

#[test]
fn padded_tensors() {
    let op = Op::Pad { mode: PadMode::Constant };
    let value = Some(Tensor::scalar(0.5f32));
    for (shape, pads) in [
        (&[2, 3, 4][..], &[0, 1, 2, 0, 0, 1][..]),
        (&[2, 3, 4], &[1, -1, 0, 2, 0, -3]),
        (&[2, 3, 4], &[0, 0, 0, 0, 0, 0]),
        (&[2, 0], &[0, 1, 0, 1]),
        (&[3], &[-3, 2]),
        (&[], &[]),
    ] {
        let inputs = [Some(wave(shape)), Some(integers(pads)), value.clone()];
        check(&Movement::Pad, &op, &inputs, 1);
        check(&Movement::Pad, &op, &inputs[..2], 1);
    }
    let named = [Some(wave(&[2, 3])), Some(integers(&[1, 2])), value, Some(integers(&[-1]))];
    check(&Movement::Pad, &op, &named, 1);
    check_refused(&Movement::Pad, &op, &[Some(wave(&[2])), Some(integers(&[-2, -2]))]);
    check_refused(&Movement::Pad, &op, &[Some(wave(&[2])), Some(integers(&[1]))]);
}

#[test]
fn views_share_their_elements() {
    let x = wave(&[2, 3, 4]);
    let inputs = [Some(x.clone()), Some(integers(&[6, -1]))];
    let op = Op::Reshape { allow_zero: false };
    let found = View(op).run(Isa::get(), TensorInputs(inputs.to_vec()), 1).unwrap().remove(0);
    assert_eq!(found.shape(), [6, 4]);
    assert_eq!(found.as_f32().unwrap().as_ptr(), x.as_f32().unwrap().as_ptr());
    let part = Movement::Split { axis: 0 };
    let parts = part.run(Isa::get(), TensorInputs(vec![Some(x.clone())]), 2).unwrap();
    assert_eq!(parts[1].as_f32().unwrap().as_ptr(), x.as_f32().unwrap()[12..].as_ptr());
}

#[test]
fn means_and_max_affine_functions_of_planes() {
    for (shape, k) in [
        ([1, 1, 1, 1], 1),
        ([2, 3, 5, 7], 2),
        ([3, 16, 4, 4], 3),
        ([1, 9, 1, 33], 8),
        ([2, 0, 3, 3], 2),
        ([0, 4, 3, 3], 2),
    ] {
        let [images, channels, ..] = shape;
        let (x, op) = (wave(&shape), Op::MaxAffine(MaxAffine { k }));
        for (n, c) in [(images, channels), (1, channels), (images, 1), (1, 1)] {
            let coefficients = wave(&[n, 2 * k, c]);
            check(&PerPlane::MaxAffine, &op, &[Some(x.clone()), Some(coefficients)], 1);
        }
        let means = PerPlane::Means { keep_dims: true };
        check(&means, &Op::GlobalPool(PoolKind::Average), &[Some(x)], 1);
    }
    let x = Some(wave(&[2, 3, 5, 7]));
    for coefficients in [&[2, 3, 3][..], &[2, 4, 4], &[3, 4, 3], &[2, 18, 3], &[2, 0, 3], &[4, 3]] {
        let inputs = [x.clone(), Some(wave(coefficients))];
        let error = PerPlane::MaxAffine.run(Isa::get(), TensorInputs(inputs.to_vec()), 1).err();
        assert_eq!(error.map(|e| e.kind()), Some(crate::ErrorKind::Shape), "{coefficients:?}");
    }
    let row = Some(wave(&[2, 3, 5]));
    assert!(
        PerPlane::Means { keep_dims: false }.run(Isa::get(), TensorInputs(vec![row]), 1).is_err()
    );
}
