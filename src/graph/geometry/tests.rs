//! Arithmetic of known sizes.

use super::*;
use crate::graph::{
    AspectRatioPolicy, ConvTranspose, CoordinateTransform, NearestRounding, Padding, Resize,
    ResizeMode,
};

#[test]
fn windows_are_counted_as_pytorch_and_onnx_count_them() {
    let explicit = |pads: &[i64]| Padding::Explicit(pads.to_vec());
    // input, kernel, stride, dilation, padding, ceil -> (before, after, output)
    let table = [
        (224, 3, 2, 1, explicit(&[1, 1]), false, Some((1, 1, 112))),
        (224, 3, 2, 1, explicit(&[0, 1]), false, Some((0, 1, 112))),
        (224, 3, 2, 1, Padding::SameUpper, false, Some((0, 1, 112))),
        (224, 3, 2, 1, Padding::SameLower, false, Some((1, 0, 112))),
        (225, 3, 2, 1, Padding::SameUpper, false, Some((1, 1, 113))),
        (5, 3, 1, 2, Padding::SameUpper, false, Some((2, 2, 5))),
        (2, 1, 3, 1, Padding::SameUpper, false, Some((0, 0, 1))),
        (112, 3, 2, 1, explicit(&[]), true, Some((0, 0, 56))),
        (112, 3, 2, 1, explicit(&[]), false, Some((0, 0, 55))),
        // The last window would begin in the padding after the input.
        (4, 1, 2, 1, explicit(&[0, 1]), true, Some((0, 1, 2))),
        (2, 3, 2, 1, explicit(&[]), true, Some((0, 0, 1))),
        (2, 3, 2, 1, explicit(&[]), false, None),
        (7, 3, 1, 1, explicit(&[-1, -2]), false, Some((-1, -2, 2))),
        (7, 3, 1, 1, explicit(&[-3, -2]), false, None),
        (0, 3, 1, 1, Padding::SameUpper, false, None),
        (7, 3, usize::MAX, 1, explicit(&[]), false, None),
        (7, 3, 1, usize::MAX, explicit(&[]), false, None),
        (7, 3, 1, 1, explicit(&[i64::MAX, i64::MAX]), false, None),
        (7, 3, 1, 1, explicit(&[i64::MIN, 0]), true, None),
        (7, 3, 0, 1, explicit(&[]), false, None),
        (7, 3, 1, 0, explicit(&[]), false, None),
        (7, 0, 1, 1, explicit(&[]), false, None),
        (7, 3, 1, 1, explicit(&[1]), false, None),
    ];
    for (i, (input, kernel, stride, dilation, padding, ceil, expected)) in
        table.into_iter().enumerate()
    {
        let spec = WindowSpec {
            kernel: &[kernel],
            strides: &[stride],
            dilations: &[dilation],
            padding: &padding,
        };
        let found = windows(&[input], spec, ceil);
        let found = found.ok().map(|axes| (axes[0].before, axes[0].after, axes[0].output));
        assert_eq!(found, expected, "row {i}");
    }
}

#[test]
fn transposed_windows_are_counted_as_onnx_counts_them() {
    let plain = ConvTranspose {
        padding: Padding::Explicit(vec![]),
        strides: vec![2],
        dilations: vec![],
        groups: 1,
        output_padding: vec![],
        output_shape: vec![],
    };
    let padded = ConvTranspose { padding: Padding::Explicit(vec![1, 1]), ..plain.clone() };
    let same = ConvTranspose { padding: Padding::SameUpper, ..plain.clone() };
    let longer = ConvTranspose { output_padding: vec![1], ..padded.clone() };
    let wanted = |n| ConvTranspose { output_shape: vec![n], ..plain.clone() };
    let all = ConvTranspose { padding: Padding::Explicit(vec![9, 9]), ..plain.clone() };
    let short = ConvTranspose { output_padding: vec![1, 1], ..plain.clone() };
    let huge = ConvTranspose { strides: vec![usize::MAX], ..plain.clone() };
    let table = [
        (3, &plain, Some((0, 0, 7))),
        (3, &padded, Some((1, 1, 5))),
        (3, &same, Some((0, 1, 6))),
        (3, &longer, Some((1, 1, 6))),
        (3, &wanted(8), Some((0, -1, 8))),
        (3, &wanted(6), Some((1, 0, 6))),
        (3, &all, None),
        (3, &short, None),
        (3, &huge, None),
        (3, &wanted(usize::MAX), None),
        (0, &plain, None),
    ];
    for (i, (input, op, expected)) in table.into_iter().enumerate() {
        let found = transposed_windows(&[input], &[3], op);
        let found = found.ok().map(|axes| (axes[0].before, axes[0].after, axes[0].output));
        assert_eq!(found, expected, "row {i}");
    }
}

#[test]
fn slices_are_numpys() {
    let (min, max) = (i64::MIN, i64::MAX);
    let table = [
        (10, 1, 4, 1, Some((1, 3))),
        (10, -3, max, 1, Some((7, 3))),
        (10, 0, max, 3, Some((0, 4))),
        (10, -1, min, -1, Some((9, 10))),
        (10, 20, -20, -4, Some((9, 3))),
        (10, 5, 2, 1, Some((5, 0))),
        (10, min, max, max, Some((0, 1))),
        (10, max, min, min, Some((9, 1))),
        (0, 0, max, 1, Some((0, 0))),
        (0, -1, min, -1, Some((0, 0))),
        (10, 0, 1, 0, None),
    ];
    for (i, (size, start, end, step, expected)) in table.into_iter().enumerate() {
        let found = slice(size, start, end, step).ok().map(|s| (s.start, s.len));
        assert_eq!(found, expected, "row {i}");
    }
}

#[test]
fn shapes_broadcast_as_numpys() {
    assert_eq!(broadcast(&[&[2, 1, 4], &[3, 1], &[]]).unwrap(), [2, 3, 4]);
    assert_eq!(broadcast(&[&[0], &[1]]).unwrap(), [0]);
    assert!(broadcast(&[&[3], &[4]]).unwrap_err().message().contains("3 and 4"));
}

#[test]
fn axes_count_from_both_ends() {
    assert_eq!(axes(&[-1, 0], 3).unwrap(), [2, 0]);
    assert!(axes(&[1, -2], 3).is_err());
    for bad in [3, -4, i64::MIN, i64::MAX] {
        assert!(axis(bad, 3).is_err(), "{bad}");
    }
}

#[test]
fn reshape_resolves_what_is_left_open() {
    assert_eq!(reshape(&[2, 12], &[0, -1, 4], false).unwrap(), [2, 3, 4]);
    assert_eq!(reshape(&[2, 0], &[0, 5], true).unwrap(), [0, 5]);
    assert_eq!(reshape(&[], &[1, -1], false).unwrap(), [1, 1]);
    let bad: [(&[usize], &[i64]); 5] =
        [(&[6], &[4]), (&[6], &[-1, -1]), (&[6], &[-2, -3]), (&[6], &[6, 0]), (&[0], &[0, -1])];
    for (shape, wanted) in bad {
        assert!(reshape(shape, wanted, false).is_err(), "{shape:?} as {wanted:?}");
    }
    assert!(reshape(&[4], &[i64::MAX, i64::MAX, -1], false).is_err());
}

#[test]
fn pads_add_and_take() {
    let padded = pad(&[4, 5], &[1, -2], Some(&[-1])).unwrap();
    assert_eq!((padded.shape, padded.pads), (vec![4, 4], vec![(0, 0), (1, -2)]));
    assert!(pad(&[4], &[-3, -2], None).is_err());
    assert!(pad(&[4], &[-5, 9], None).is_err());
    assert!(pad(&[4], &[1], None).is_err());
    assert!(pad(&[4], &[i64::MAX, i64::MAX], None).is_err());
}

#[test]
fn equal_parts_leave_the_rest_to_the_last() {
    assert_eq!(equal_parts(6, 3).unwrap(), [2, 2, 2]);
    assert_eq!(equal_parts(7, 3).unwrap(), [3, 3, 1]);
    assert!(equal_parts(4, 3).is_ok_and(|parts| parts == [2, 2, 0]));
    assert!(equal_parts(5, 4).is_err());
    assert!(equal_parts(5, 0).is_err());
}

#[test]
fn resize_rounds_as_the_exporters_do() {
    let op = Resize {
        mode: ResizeMode::Nearest(NearestRounding::Floor),
        coordinates: CoordinateTransform::Asymmetric,
        axes: vec![],
        antialias: false,
        exclude_outside: false,
        extrapolation_value: 0.0,
        keep_aspect_ratio: AspectRatioPolicy::Stretch,
    };
    let outputs = |op: &Resize, scales: Option<&[f32]>, sizes: Option<&[i64]>| {
        let found = resize(&[10, 20], op, Some(&[0.0, 0.0, 0.5, 1.0]), scales, sizes);
        found.ok().map(|axes| axes.iter().map(|a| a.output).collect::<Vec<_>>())
    };
    let last = Resize { axes: vec![-1], ..op.clone() };
    let within = Resize { keep_aspect_ratio: AspectRatioPolicy::NotLarger, ..op.clone() };
    let around = Resize { keep_aspect_ratio: AspectRatioPolicy::NotSmaller, ..op.clone() };
    let crop = Resize { coordinates: CoordinateTransform::TfCropAndResize, ..op.clone() };
    assert_eq!(outputs(&op, Some(&[0.7, 1.96]), None).unwrap(), [7, 39]);
    assert_eq!(outputs(&last, Some(&[2.0]), None).unwrap(), [10, 40]);
    assert_eq!(outputs(&op, None, Some(&[3, 4])).unwrap(), [3, 4]);
    assert_eq!(outputs(&within, None, Some(&[5, 5])).unwrap(), [3, 5]);
    assert_eq!(outputs(&around, None, Some(&[5, 5])).unwrap(), [5, 10]);
    assert_eq!(outputs(&crop, Some(&[2.0, 2.0]), None).unwrap(), [10, 40]);
    for scale in [f32::NAN, f32::INFINITY, 0.0, -1.0, 1e30, 1e-30] {
        let scales = [scale, 1.0];
        assert_eq!(outputs(&op, Some(&scales), None), None, "{scales:?}");
    }
    assert_eq!(outputs(&op, None, None), None);
    assert_eq!(outputs(&op, None, Some(&[0, 4])), None);
    assert_eq!(outputs(&op, None, Some(&[4])), None);
}

#[test]
fn a_tensor_has_a_largest_size() {
    assert_eq!(element_count(&[2, 3], DType::F32).unwrap(), 6);
    assert!(element_count(&[1 << 20, 1 << 20], DType::F32).is_err());
    assert!(element_count(&[usize::MAX, 2], DType::Bool).is_err());
    assert_eq!(element_count(&[0, 1 << 20], DType::F32).unwrap(), 0);
    assert!(element_count(&[0, 1 << 40], DType::F32).is_err());
}
