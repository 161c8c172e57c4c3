//! Inferred shapes, with known and with free sizes.

use super::*;
use crate::graph::*;

fn conv(padding: Padding, strides: &[usize], dilations: &[usize], groups: usize) -> Op {
    let (strides, dilations) = (strides.to_vec(), dilations.to_vec());
    Op::Conv(Conv { padding, strides, dilations, groups })
}

fn pads(pads: &[i64]) -> Padding {
    Padding::Explicit(pads.to_vec())
}

fn pool(kernel: &[usize], strides: &[usize], padding: Padding, ceil_mode: bool) -> Op {
    Op::Pool(Pool {
        kind: PoolKind::Max,
        kernel: kernel.to_vec(),
        strides: strides.to_vec(),
        dilations: vec![],
        padding,
        ceil_mode,
        count_include_pad: false,
        column_major: false,
    })
}

fn transposed(padding: Padding, output_padding: &[usize], output_shape: &[usize]) -> Op {
    Op::ConvTranspose(ConvTranspose {
        padding,
        strides: vec![2, 2],
        dilations: vec![],
        groups: 2,
        output_padding: output_padding.to_vec(),
        output_shape: output_shape.to_vec(),
    })
}

#[test]
fn convolutions() {
    check(vec![
        (
            conv(pads(&[1, 1, 1, 1]), &[2, 2], &[], 1),
            vec![x("N 3 224 224"), x("8 3 3 3"), x("8")],
            "[N, 8, 112, 112]",
        ),
        (
            conv(pads(&[0, 0, 1, 1]), &[2, 2], &[], 1),
            vec![x("2 3 225 224"), x("8 3 3 3")],
            "[2, 8, 112, 112]",
        ),
        (
            conv(pads(&[1, 1, 1, 1]), &[2, 2], &[], 1),
            vec![x("N 3 H W"), x("8 3 3 3")],
            "[N, 8, floor((H+1)/2), floor((W+1)/2)]",
        ),
        (
            conv(Padding::SameUpper, &[2, 2], &[], 1),
            vec![x("N 3 H 5"), x("8 3 3 3")],
            "[N, 8, floor((H+1)/2), 3]",
        ),
        (conv(pads(&[2, 2]), &[], &[2], 4), vec![x("N 8 L"), x("12 2 3"), x("12")], "[N, 12, L]"),
        (conv(pads(&[]), &[], &[], 1), vec![x("1 3 9 8 7"), x("4 3 2 3 1")], "[1, 4, 8, 6, 7]"),
        (conv(pads(&[]), &[], &[], 1), vec![x("N C H W"), x("4 3 1 1")], "[N, 4, H, W]"),
        (conv(pads(&[]), &[], &[], 1), vec![x("N 3 H W"), x("4 3 K K")], "[N, 4, ?1, ?2]"),
    ]);
}

#[test]
fn transposed_convolutions() {
    check(vec![
        (transposed(pads(&[]), &[], &[]), vec![x("N 4 5 W"), x("4 3 3 3")], "[N, 6, 11, 2*W+1]"),
        (
            transposed(pads(&[1, 1, 1, 1]), &[1, 1], &[]),
            vec![x("N 4 5 W"), x("4 3 3 3"), x("6")],
            "[N, 6, 10, 2*W]",
        ),
        (
            transposed(Padding::SameLower, &[], &[]),
            vec![x("N 4 5 W"), x("4 3 3 3")],
            "[N, 6, 10, 2*W]",
        ),
        (transposed(pads(&[]), &[], &[12, 10]), vec![x("N 4 5 W"), x("4 3 3 3")], "[N, 6, 12, 10]"),
    ]);
}

#[test]
fn pools() {
    let global = Op::GlobalPool(PoolKind::Average);
    check(vec![
        (pool(&[3, 3], &[2, 2], pads(&[]), true), vec![x("N 8 112 111")], "[N, 8, 56, 55]"),
        (
            pool(&[3, 3], &[2, 2], pads(&[]), true),
            vec![x("N 8 H W")],
            "[N, 8, floor(H/2), floor(W/2)]",
        ),
        (
            pool(&[1, 2], &[2, 2], pads(&[0, 0, 1, 1]), true),
            vec![x("N 8 H W")],
            "[N, 8, floor((H+1)/2), floor((W+1)/2)]",
        ),
        (pool(&[2], &[], pads(&[]), false), vec![x("N 8 L")], "[N, 8, L-1]"),
        (pool(&[2, 2, 2], &[2, 2, 2], pads(&[]), false), vec![x("1 8 4 5 6")], "[1, 8, 2, 2, 3]"),
        (global.clone(), vec![x("N 8 H W")], "[N, 8, 1, 1]"),
        (global, vec![x("N 8 5")], "[N, 8, 1]"),
    ]);
}

#[test]
fn matrix_products() {
    let gemm = |trans_a, trans_b| Op::Gemm(Gemm { alpha: 1.0, beta: 1.0, trans_a, trans_b });
    check(vec![
        (gemm(false, true), vec![x("N 8"), x("10 8"), x("10")], "[N, 10]"),
        (gemm(true, false), vec![x("8 N"), x("8 10"), x("1 1")], "[N, 10]"),
        (gemm(false, false), vec![x("N C"), x("8 10"), In::Absent], "[N, 10]"),
        (Op::MatMul, vec![x("N 4 8"), x("8 5")], "[N, 4, 5]"),
        (Op::MatMul, vec![x("N 1 4 8"), x("6 8 5")], "[N, 6, 4, 5]"),
        (Op::MatMul, vec![x("8"), x("8 5")], "[5]"),
        (Op::MatMul, vec![x("N 4 8"), x("8")], "[N, 4]"),
        (Op::MatMul, vec![x("8"), x("8")], "[]"),
    ]);
}

#[test]
fn normalisations() {
    let epsilon = 1e-5;
    let batch = Op::BatchNormalization { epsilon };
    let softmax = |axis, flatten| Op::Softmax(Softmax { axis, flatten });
    check(vec![
        (batch, vec![x("N 4 H W"), x("4"), x("4"), x("4"), x("4")], "[N, 4, H, W]"),
        (Op::InstanceNormalization { epsilon }, vec![x("N 4 H"), x("4"), x("4")], "[N, 4, H]"),
        (
            Op::GroupNormalization { num_groups: 2, epsilon },
            vec![x("N 4 H W"), x("4"), x("4")],
            "[N, 4, H, W]",
        ),
        (Op::LayerNormalization { axis: -2, epsilon }, vec![x("N 4 5"), x("4 5")], "[N, 4, 5]"),
        (softmax(-1, false), vec![x("N 10")], "[N, 10]"),
        (softmax(2, true), vec![x("N 10")], "[N, 10]"),
    ]);
}

#[test]
fn elementwise() {
    let add = Op::Binary(Binary::Add);
    check(vec![
        (Op::Unary(Unary::Relu), vec![x("N 3")], "[N, 3]"),
        (Op::Clip, vec![x("N 3"), In::Absent, x("")], "[N, 3]"),
        (Op::PRelu, vec![x("N 3 H W"), x("3 1 1")], "[N, 3, H, W]"),
        // The slope broadcasts where M is 1.
        (Op::PRelu, vec![x("N 3"), x("M 3")], "[N, 3]"),
        (add.clone(), vec![x("N 3 H W"), x("3 1 1")], "[N, 3, H, W]"),
        (add.clone(), vec![x("N 1"), x("M 5")], "[max(M, N), 5]"),
        (add.clone(), vec![x("N"), x("5")], "[5]"),
        (add.clone(), vec![x("N"), x("1")], "[N]"),
        (add.clone(), vec![x("N"), x("")], "[N]"),
        (add, vec![x("0 1"), x("1 4")], "[0, 4]"),
        (Op::Variadic(Variadic::Max), vec![x("N 1"), x("1 5"), x("1")], "[N, 5]"),
        (Op::Where, vec![free(DType::Bool, "N 1"), x("4"), x("")], "[N, 4]"),
        (Op::Cast { to: DType::I32 }, vec![x("N 3")], "[N, 3]"),
        (Op::Identity, vec![x("N 3")], "[N, 3]"),
    ]);
    check_all(vec![(Op::Dropout, vec![x("N 3"), x("")], 2, "[N, 3] | [N, 3]")]);
}

#[test]
fn element_types() {
    let table = [
        (Op::Binary(Binary::Less), vec![x("3"), x("3")], DType::Bool),
        (Op::Binary(Binary::Pow), vec![x("3"), i("3")], DType::F32),
        (Op::Cast { to: DType::F16 }, vec![x("3")], DType::F16),
        (Op::Shape { start: 0, end: None }, vec![x("3")], DType::I64),
        (Op::Size, vec![x("3")], DType::I64),
        (
            Op::ArgMax(ArgMax { axis: 0, keep_dims: true, select_last: false }),
            vec![x("3")],
            DType::I64,
        ),
        (
            Op::ConstantOfShape { value: Scalar { dtype: DType::I32, value: 1.0 } },
            vec![ints(&[3])],
            DType::I32,
        ),
        (Op::Gather { axis: 0 }, vec![x("3"), i("2")], DType::F32),
    ];
    for (op, inputs, expected) in table {
        let name = op.name();
        let (graph, results) = single(op, &inputs, 1);
        assert_eq!(infer(&graph).unwrap().get(results[0]).unwrap().dtype, expected, "{name}");
    }
}

#[test]
fn reductions() {
    let reduce = |keep_dims, noop_with_empty_axes| {
        Op::Reduce(Reduce { kind: ReduceKind::Mean, keep_dims, noop_with_empty_axes })
    };
    let arg_max = |axis, keep_dims| Op::ArgMax(ArgMax { axis, keep_dims, select_last: false });
    check(vec![
        (reduce(true, false), vec![x("N 3 H W"), ints(&[2, -1])], "[N, 3, 1, 1]"),
        (reduce(false, false), vec![x("N 3 H W"), ints(&[2, -1])], "[N, 3]"),
        (reduce(false, false), vec![x("N 3 H W")], "[]"),
        (reduce(true, false), vec![x("N 3"), ints(&[])], "[1, 1]"),
        (reduce(true, true), vec![x("N 3"), ints(&[])], "[N, 3]"),
        (reduce(true, true), vec![x("N 3")], "[N, 3]"),
        (reduce(true, false), vec![x("N 3"), i("1")], "[?1, ?2]"),
        (reduce(false, false), vec![x("N 3"), i("1")], "[?1]"),
        (reduce(false, false), vec![x("N 3"), i("R")], "unknown"),
        (arg_max(1, true), vec![x("N 3 4")], "[N, 1, 4]"),
        (arg_max(-1, false), vec![x("N 3 4")], "[N, 3]"),
    ]);
}

#[test]
fn joining_and_parting() {
    let (start, end) = (|n| ints(&[n]), i64::MAX);
    check(vec![
        (Op::Concat { axis: 1 }, vec![x("N 3 4"), x("N C 4"), x("N 5 H")], "[N, C+8, 4]"),
        (Op::Concat { axis: -1 }, vec![x("2"), x("0"), x("3")], "[5]"),
        (Op::Gather { axis: 1 }, vec![x("N 3 4"), i("")], "[N, 4]"),
        (Op::Gather { axis: -1 }, vec![x("N 3"), i("5 K")], "[N, 5, K]"),
        (
            Op::Slice,
            vec![x("N 3 H"), ints(&[1, -2]), ints(&[9, end]), ints(&[1, 2])],
            "[N, 2, min(2, H)]",
        ),
        (Op::Slice, vec![x("H"), start(1), start(end)], "[H-1]"),
        (Op::Slice, vec![x("H"), start(0), start(-1)], "[H-1]"),
        (Op::Slice, vec![x("H"), start(2), start(end)], "[max(0, H-2)]"),
        (Op::Slice, vec![x("N"), start(0), start(1)], "[1]"),
        (Op::Slice, vec![x("H"), start(0), start(end), start(0), start(2)], "[floor((H+1)/2)]"),
        (Op::Slice, vec![x("H"), start(-1), start(i64::MIN), start(0), start(-1)], "[H]"),
        (Op::Slice, vec![x("9"), start(-1), start(i64::MIN), start(-1), start(-2)], "[5]"),
        (Op::Slice, vec![x("9 8"), i("1"), i("1"), ints(&[1])], "[9, ?1]"),
        (Op::Slice, vec![x("9 8"), i("1"), i("1"), i("1")], "[?1, ?2]"),
        (Op::Slice, vec![x("9 8"), i("1"), i("1")], "[?1, 8]"),
    ]);
    check_all(vec![
        (Op::Split { axis: 1 }, vec![x("N 6")], 3, "[N, 2] | [N, 2] | [N, 2]"),
        (Op::Split { axis: 0 }, vec![x("7")], 3, "[3] | [3] | [1]"),
        (Op::Split { axis: -1 }, vec![x("N C")], 2, "[N, floor((C+1)/2)] | [N, -floor((C+1)/2)+C]"),
        (Op::Split { axis: 1 }, vec![x("N 6"), ints(&[2, 4])], 2, "[N, 2] | [N, 4]"),
        (Op::Split { axis: 1 }, vec![x("N 6"), i("2")], 2, "[N, ?1] | [N, ?2]"),
    ]);
}

#[test]
fn views() {
    let reshape = Op::Reshape { allow_zero: false };
    let flatten = |axis| Op::Flatten { axis };
    let transpose = |perm: &[usize]| Op::Transpose { perm: perm.to_vec() };
    let to_space = Op::DepthToSpace { block: 2, order: DepthOrder::Crd };
    check(vec![
        (reshape.clone(), vec![x("N 256"), ints(&[-1, 64, 4])], "[N, 64, 4]"),
        (reshape.clone(), vec![x("N 64 H W"), ints(&[0, 64, -1])], "[N, 64, H*W]"),
        (reshape.clone(), vec![x("N 64 H W"), ints(&[0, -1])], "[N, 64*H*W]"),
        (reshape.clone(), vec![x("N 12"), ints(&[2, -1, 12])], "[2, floor(N/2), 12]"),
        (reshape.clone(), vec![x("N 12"), ints(&[2, 12])], "[2, 12]"),
        (reshape.clone(), vec![x("2 3 4"), ints(&[-1, 0])], "[8, 3]"),
        (reshape.clone(), vec![x("N 4"), i("3")], "[?1, ?2, ?3]"),
        // Both are empty where N is 0.
        (reshape.clone(), vec![x("N 0 1 1"), ints(&[0])], "[N]"),
        (reshape, vec![x("N 4"), i("R")], "unknown"),
        (Op::Reshape { allow_zero: true }, vec![x("0 4"), ints(&[7, 0])], "[7, 0]"),
        (flatten(1), vec![x("N 8 H W")], "[N, 8*H*W]"),
        (flatten(0), vec![x("N 8")], "[1, 8*N]"),
        (flatten(2), vec![x("N 8")], "[8*N, 1]"),
        (flatten(-1), vec![x("N 8 4")], "[8*N, 4]"),
        (Op::Squeeze, vec![x("N 1 4 1"), ints(&[1, -1])], "[N, 4]"),
        (Op::Squeeze, vec![x("N 4"), ints(&[0])], "[4]"),
        (Op::Squeeze, vec![x("1 4 1")], "[4]"),
        (Op::Squeeze, vec![x("N 4 1")], "unknown"),
        (Op::Squeeze, vec![x("N 4 1"), i("1")], "[?1, ?2]"),
        (Op::Unsqueeze, vec![x("N 4"), ints(&[-1, 1])], "[N, 1, 4, 1]"),
        (Op::Unsqueeze, vec![x("N 4"), i("1")], "[?1, ?2, ?3]"),
        (transpose(&[0, 2, 3, 1]), vec![x("N 3 H W")], "[N, H, W, 3]"),
        (transpose(&[]), vec![x("N 3 H")], "[H, 3, N]"),
        (to_space, vec![x("N 12 H 5")], "[N, 3, 2*H, 10]"),
    ]);
}

#[test]
fn resampling() {
    let op = Resize {
        mode: ResizeMode::Linear,
        coordinates: CoordinateTransform::HalfPixel,
        axes: vec![],
        antialias: true,
        exclude_outside: false,
        extrapolation_value: 0.0,
        keep_aspect_ratio: AspectRatioPolicy::Stretch,
    };
    let resize = Op::Resize(op.clone());
    let spatial = Op::Resize(Resize { axes: vec![2, 3], ..op.clone() });
    let within =
        Op::Resize(Resize { keep_aspect_ratio: AspectRatioPolicy::NotLarger, ..op.clone() });
    let crop = Op::Resize(Resize { coordinates: CoordinateTransform::TfCropAndResize, ..op });
    let none = || In::Absent;
    let scales = |h, w| floats(&[1.0, 1.0, h, w]);
    check(vec![
        (resize.clone(), vec![x("N 3 5 5"), none(), scales(2.0, 0.7)], "[N, 3, 10, 3]"),
        (
            resize.clone(),
            vec![x("N 3 H W"), none(), scales(1.5, 0.7)],
            "[N, 3, floor(H/2)+H, floor((7*W)/10)]",
        ),
        (resize.clone(), vec![x("N 3 5 5"), none(), none(), ints(&[1, 3, 7, 8])], "[1, 3, 7, 8]"),
        (resize.clone(), vec![x("N 3 5 5"), none(), floats(&[]), i("4")], "[?1, ?2, ?3, ?4]"),
        (spatial.clone(), vec![x("N 3 H W"), none(), floats(&[2.0, 3.0])], "[N, 3, 2*H, 3*W]"),
        (spatial.clone(), vec![x("N 3 H W"), none(), none(), i("2")], "[N, 3, ?1, ?2]"),
        (spatial, vec![x("N 3 H W"), none(), x("2")], "[N, 3, ?1, ?2]"),
        (
            within.clone(),
            vec![x("1 3 5 10"), none(), none(), ints(&[1, 3, 20, 20])],
            "[1, 3, 5, 10]",
        ),
        (within, vec![x("1 3 H 10"), none(), none(), ints(&[1, 3, 20, 20])], "[?1, ?2, ?3, ?4]"),
        (
            crop.clone(),
            vec![x("1 3 8 8"), floats(&[0.0, 0.0, 0.5, 0.0, 1.0, 1.0, 1.0, 1.0]), scales(2.0, 2.0)],
            "[1, 3, 8, 16]",
        ),
        (crop, vec![x("1 3 8 8"), x("8"), scales(2.0, 2.0)], "[?1, ?2, ?3, ?4]"),
        (Op::Expand, vec![x("3 1"), ints(&[2, 1, 6])], "[2, 3, 6]"),
        (Op::Expand, vec![x("N 3 1"), i("2")], "[N, 3, ?3]"),
        (Op::Expand, vec![x("3 1"), i("3")], "[?1, 3, ?3]"),
        (Op::Tile, vec![x("N 3"), ints(&[2, 1])], "[2*N, 3]"),
        (Op::Tile, vec![x("N 3"), i("2")], "[?1, ?2]"),
    ]);
}

#[test]
fn padding() {
    let pad = Op::Pad { mode: PadMode::Constant };
    check(vec![
        (pad.clone(), vec![x("N 4 5"), ints(&[0, 1, -2, 0, 2, 1])], "[N, 7, 4]"),
        (pad.clone(), vec![x("N 4 H"), ints(&[1, -2]), In::Absent, ints(&[-1])], "[N, 4, H-1]"),
        (pad.clone(), vec![x("N 4"), i("4")], "[?1, ?2]"),
        (pad, vec![x("N 4"), ints(&[1, 1]), x(""), i("1")], "[?1, ?2]"),
    ]);
}

#[test]
fn creation() {
    let zeros = Op::ConstantOfShape { value: Scalar { dtype: DType::F32, value: 0.0 } };
    let number = |value: f32| In::Constant(Tensor::scalar(value));
    let whole = |value: i64| In::Constant(Tensor::scalar(value));
    let shape = |start, end| Op::Shape { start, end };
    check(vec![
        (zeros.clone(), vec![ints(&[2, 3])], "[2, 3]"),
        (zeros.clone(), vec![ints(&[])], "[]"),
        (zeros.clone(), vec![i("2")], "[?1, ?2]"),
        (zeros, vec![i("R")], "unknown"),
        (Op::Range, vec![whole(2), whole(9), whole(3)], "[3]"),
        (Op::Range, vec![whole(9), whole(2), whole(-3)], "[3]"),
        (Op::Range, vec![whole(9), whole(2), whole(3)], "[0]"),
        (Op::Range, vec![number(0.0), number(1.0), number(0.3)], "[4]"),
        (Op::Range, vec![i(""), i(""), whole(1)], "[?1]"),
        (shape(0, None), vec![x("N 3 H")], "[3]"),
        (shape(-2, None), vec![x("N 3 H")], "[2]"),
        (shape(2, Some(1)), vec![x("N 3 H")], "[0]"),
        (shape(i64::MIN, Some(i64::MAX)), vec![x("N 3 H")], "[3]"),
        (Op::Size, vec![x("N 3 H")], "[]"),
    ]);
}

#[test]
fn dynamic_activations() {
    let hyperfunction = Op::Hyperfunction(Hyperfunction {
        k: 2,
        hidden: HiddenActivation::Relu,
        squash: Squash::Sigmoid,
        init: vec![1.0, 0.0, 0.0, 0.0],
        lambda: vec![1.0, 1.0, 0.5, 0.5],
    });
    let max_affine = Op::MaxAffine(MaxAffine { k: 2 });
    let attention =
        Op::SpatialAttention(SpatialAttention { tau: 10.0, gamma_per_position: 1.0 / 3.0 });
    let none = || In::Absent;
    check(vec![
        (
            hyperfunction.clone(),
            vec![x("N 8 1 1"), x("2 8"), x("2"), x("32 2"), x("32")],
            "[N, 4, 8]",
        ),
        (hyperfunction, vec![x("N 8"), none(), none(), x("4 8")], "[N, 4, 1]"),
        (max_affine.clone(), vec![x("N 8 H W"), x("N 4 8")], "[N, 8, H, W]"),
        (max_affine, vec![x("N 8 H W"), x("1 4 1"), x("N 1 H W")], "[N, 8, H, W]"),
        (attention, vec![x("N 1 H W")], "[N, 1, H, W]"),
    ]);
}
