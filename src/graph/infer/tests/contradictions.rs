//! Networks whose shapes do not fit together, and hostile ones: each is refused with an error.

use super::*;
use crate::graph::*;

/// Checks that every operator is refused with a sentence that contains the words given.
fn refused(table: Vec<(Op, Vec<In>, usize, &str)>) {
    let mut failures = Vec::new();
    for (row, (op, inputs, outputs, words)) in table.into_iter().enumerate() {
        let place = format!("node \"node\" ({})", op.name());
        match shapes(op, &inputs, outputs) {
            Err(e) if e.contains(words) && e.starts_with(&place) => {}
            other => {
                failures.push(format!("row {row}, {place}: expected {words:?}, found {other:?}"))
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn conv(padding: &[i64], strides: &[usize], dilations: &[usize], groups: usize) -> Op {
    Op::Conv(Conv {
        padding: Padding::Explicit(padding.to_vec()),
        strides: strides.to_vec(),
        dilations: dilations.to_vec(),
        groups,
    })
}

#[test]
fn convolutions() {
    let image = || x("N 3 H 7");
    let weight = || x("8 3 3 3");
    let plain = conv(&[], &[], &[], 1);
    let transposed = |groups, strides: &[usize], output_shape: &[usize]| {
        Op::ConvTranspose(ConvTranspose {
            padding: Padding::Explicit(vec![]),
            strides: strides.to_vec(),
            dilations: vec![],
            groups,
            output_padding: vec![],
            output_shape: output_shape.to_vec(),
        })
    };
    let pool = |kernel: &[usize], dilations: &[usize]| {
        Op::Pool(Pool {
            kind: PoolKind::Average,
            kernel: kernel.to_vec(),
            strides: vec![],
            dilations: dilations.to_vec(),
            padding: Padding::Explicit(vec![]),
            ceil_mode: false,
            count_include_pad: false,
            column_major: false,
        })
    };
    refused(vec![
        (plain.clone(), vec![x("N 4 H 7"), weight()], 1, "takes 3 input channels"),
        (plain.clone(), vec![image(), x("8 3 3")], 1, "as many axes"),
        (plain.clone(), vec![x("N 3"), x("8 3")], 1, "as many axes"),
        (plain.clone(), vec![image(), weight(), x("7")], 1, "the bias must have shape [8]"),
        (plain.clone(), vec![image(), weight(), i("8")], 1, "Cast"),
        (plain.clone(), vec![x("N 3 H 2"), weight()], 1, "does not fit spatial axis 1"),
        (plain.clone(), vec![image(), x("8 3 0 3")], 1, "must be positive"),
        (conv(&[], &[0, 1], &[], 1), vec![image(), weight()], 1, "must be positive"),
        (conv(&[], &[], &[0, 1], 1), vec![image(), weight()], 1, "must be positive"),
        (conv(&[], &[2], &[], 1), vec![image(), weight()], 1, "one entry for each of the 2"),
        (conv(&[1, 1], &[], &[], 1), vec![image(), weight()], 1, "two entries for each of the 2"),
        (conv(&[], &[], &[], 0), vec![image(), weight()], 1, "found 0"),
        (conv(&[], &[], &[], 3), vec![x("N 9 H 7"), weight()], 1, "cannot form 3 groups"),
        (conv(&[], &[], &[usize::MAX; 2], 1), vec![image(), weight()], 1, "must not exceed"),
        (conv(&[], &[usize::MAX; 2], &[], 1), vec![image(), weight()], 1, "must not exceed"),
        (conv(&[i64::MAX; 4], &[], &[], 1), vec![image(), weight()], 1, "must not exceed"),
        (conv(&[1 << 40; 4], &[], &[], 1), vec![x("1 3 7 7"), weight()], 1, "must not exceed"),
        (conv(&[], &[], &[], usize::MAX), vec![image(), weight()], 1, "too large"),
        (transposed(1, &[], &[]), vec![x("N 4 5 5"), x("3 8 3 3")], 1, "takes 3 input channels"),
        (transposed(2, &[], &[]), vec![x("N 3 5 5"), x("3 8 3 3")], 1, "cannot form 2 groups"),
        (transposed(1, &[], &[9]), vec![x("N 3 5 5"), x("3 8 3 3")], 1, "output_shape"),
        (
            transposed(1, &[usize::MAX; 2], &[]),
            vec![x("N 3 5 W"), x("3 8 3 3")],
            1,
            "must not exceed",
        ),
        (transposed(1, &[1 << 40; 2], &[]), vec![x("1 3 5 5"), x("3 8 3 3")], 1, "must not exceed"),
        (pool(&[3], &[]), vec![x("N 3 H W")], 1, "needs an input with 3 axes"),
        (pool(&[3, 3], &[0, 1]), vec![x("N 3 H W")], 1, "must be positive"),
        (pool(&[8, 3], &[]), vec![x("N 3 7 7")], 1, "does not fit"),
        (Op::GlobalPool(PoolKind::Max), vec![x("N")], 1, "[N, C, ...]"),
    ]);
}

#[test]
fn products_and_normalisations() {
    let gemm = Op::Gemm(Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true });
    let epsilon = 1e-5;
    let batch = Op::BatchNormalization { epsilon };
    let group = |num_groups| Op::GroupNormalization { num_groups, epsilon };
    let softmax = Op::Softmax(Softmax { axis: 2, flatten: false });
    refused(vec![
        (gemm.clone(), vec![x("N 8"), x("10 9")], 1, "8 columns meet 9 rows"),
        (gemm.clone(), vec![x("N 8 1"), x("10 8")], 1, "two matrices"),
        (gemm, vec![x("N 8"), x("10 8"), x("9")], 1, "does not broadcast"),
        (Op::MatMul, vec![x("N 8"), x("9 4")], 1, "8 columns meet 9 rows"),
        (Op::MatMul, vec![x("3 4 8"), x("2 8 5")], 1, "3 and 2"),
        (Op::MatMul, vec![x(""), x("8")], 1, "scalar"),
        (Op::MatMul, vec![x("8"), i("8")], 1, "Cast"),
        (
            batch,
            vec![x("N 4 H"), x("4"), x("4"), x("3"), x("4")],
            1,
            "the mean must have shape [4]",
        ),
        (group(0), vec![x("N 4 H"), x("4"), x("4")], 1, "0 groups"),
        (group(3), vec![x("N 4 H"), x("4"), x("4")], 1, "3 groups"),
        (Op::LayerNormalization { axis: 3, epsilon }, vec![x("N 4"), x("4")], 1, "axis 3"),
        (Op::LayerNormalization { axis: 1, epsilon }, vec![x("N 4"), x("5")], 1, "the scale"),
        (softmax, vec![x("N 4")], 1, "axis 2"),
    ]);
}

#[test]
fn elementwise() {
    let add = Op::Binary(Binary::Add);
    let many = &Dim::symbol("N") * &16.into();
    let many = In::Free(TensorType { dtype: DType::F32, dims: vec![many] });
    refused(vec![
        (add.clone(), vec![x("N 3"), x("4")], 1, "sizes 3 and 4 meet"),
        (add.clone(), vec![many, x("2")], 1, "16*N and 2 meet"),
        (add.clone(), vec![x("N"), i("N")], 1, "f32 and i64"),
        (add, vec![free(DType::Bool, "N"), free(DType::Bool, "N")], 1, "a number"),
        (Op::Binary(Binary::And), vec![x("N"), x("N")], 1, "bool"),
        (Op::Unary(Unary::Not), vec![x("N")], 1, "bool"),
        (Op::Unary(Unary::Sigmoid), vec![i("N")], 1, "floating-point"),
        (Op::Variadic(Variadic::Max), vec![x("3"), x("1"), x("4")], 1, "do not broadcast"),
        (Op::Where, vec![x("N"), x("N"), x("N")], 1, "bool"),
        (Op::Where, vec![free(DType::Bool, "N"), x("N"), i("N")], 1, "Cast"),
        (Op::PRelu, vec![x("N 3 4"), x("3")], 1, "the slope"),
        (Op::PRelu, vec![x("1 3"), x("2 3")], 1, "the slope"),
        (Op::Clip, vec![x("3"), i("")], 1, "Cast"),
        (Op::Clip, vec![x("3"), x(""), x("2")], 1, "single numbers"),
    ]);
}

#[test]
fn axes_and_shapes() {
    let reduce =
        Op::Reduce(Reduce { kind: ReduceKind::Max, keep_dims: true, noop_with_empty_axes: false });
    let arg_max = |axis| Op::ArgMax(ArgMax { axis, keep_dims: true, select_last: false });
    let reshape = Op::Reshape { allow_zero: false };
    let transpose = |perm: &[usize]| Op::Transpose { perm: perm.to_vec() };
    let to_space = |block| Op::DepthToSpace { block, order: DepthOrder::Dcr };
    refused(vec![
        (reduce.clone(), vec![x("N 3"), ints(&[2])], 1, "axis 2 does not exist"),
        (reduce.clone(), vec![x("N 3"), ints(&[1, -1])], 1, "named twice"),
        (reduce, vec![x("N 3"), floats(&[1.0])], 1, "integers"),
        (arg_max(-3), vec![x("N 3")], 1, "axis -3"),
        (arg_max(1), vec![x("N 0")], 1, "empty"),
        (Op::Concat { axis: 2 }, vec![x("N 3")], 1, "axis 2"),
        (Op::Concat { axis: 1 }, vec![x("4 3"), x("5 3")], 1, "all other sizes must be equal"),
        (Op::Concat { axis: 1 }, vec![x("4 3"), x("4 3 1")], 1, "all other sizes"),
        (Op::Concat { axis: 0 }, vec![x("4"), i("4")], 1, "Cast"),
        (Op::Split { axis: 1 }, vec![x("N 5")], 4, "cannot be cut into 4 parts"),
        (Op::Split { axis: 1 }, vec![x("N 5"), ints(&[2, 2])], 2, "add up to 4"),
        (Op::Split { axis: 1 }, vec![x("N 5"), ints(&[-1, 6])], 2, "negative part"),
        (Op::Split { axis: 1 }, vec![x("N 5"), ints(&[5])], 2, "2 outputs"),
        (Op::Slice, vec![x("5"), ints(&[0]), ints(&[3]), ints(&[0]), ints(&[0])], 1, "not 0"),
        (Op::Slice, vec![x("H"), i("1"), i("1"), ints(&[0]), ints(&[0])], 1, "not 0"),
        (Op::Slice, vec![x("5"), ints(&[0]), ints(&[3, 3])], 1, "same length"),
        (Op::Slice, vec![x("5"), ints(&[0]), ints(&[3]), ints(&[1])], 1, "axis 1"),
        (Op::Slice, vec![x("5"), ints(&[0, 0]), ints(&[3, 3])], 1, "as many"),
        (Op::Gather { axis: 1 }, vec![x("N 3"), ints(&[3])], 1, "index 3"),
        (Op::Gather { axis: 1 }, vec![x("N 3"), ints(&[-4])], 1, "index -4"),
        (Op::Gather { axis: 0 }, vec![x("N 3"), x("3")], 1, "an integer"),
        (reshape.clone(), vec![x("2 3"), ints(&[4])], 1, "cannot be viewed as"),
        (reshape.clone(), vec![x("N 3"), ints(&[-1, -1])], 1, "more than one -1"),
        (reshape.clone(), vec![x("N 3"), ints(&[-1, -2])], 1, "cannot be viewed as"),
        (reshape.clone(), vec![x("N 3"), ints(&[0, 4])], 1, "cannot be viewed as"),
        (reshape.clone(), vec![x("N"), ints(&[-1, 0])], 1, "cannot be viewed as"),
        (reshape, vec![x("N"), ints(&[i64::MAX, i64::MAX])], 1, "too large"),
        (Op::Flatten { axis: 3 }, vec![x("N 3")], 1, "axis 3"),
        (Op::Squeeze, vec![x("N 3"), ints(&[1])], 1, "size is not 1"),
        (Op::Unsqueeze, vec![x("N 3"), ints(&[1, -3])], 1, "named twice"),
        (transpose(&[0, 0]), vec![x("N 3")], 1, "once"),
        (transpose(&[1, 0, 2]), vec![x("N 3")], 1, "once"),
        (to_space(2), vec![x("N 6 H W")], 1, "6 channels"),
        (to_space(0), vec![x("N 6 H W")], 1, "6 channels"),
        (to_space(usize::MAX), vec![x("N C H W")], 1, "too large"),
        (to_space(2), vec![x("N 8 H")], 1, "[N, C, H, W]"),
    ]);
}

#[test]
fn sizes_that_cannot_be() {
    let zeros = Op::ConstantOfShape { value: Scalar { dtype: DType::F32, value: 0.0 } };
    let pad = Op::Pad { mode: PadMode::Edge };
    let resize = Op::Resize(Resize {
        mode: ResizeMode::Linear,
        coordinates: CoordinateTransform::HalfPixel,
        axes: vec![],
        antialias: false,
        exclude_outside: false,
        extrapolation_value: 0.0,
        keep_aspect_ratio: AspectRatioPolicy::Stretch,
    });
    let none = || In::Absent;
    let number = |value: f32| In::Constant(Tensor::scalar(value));
    refused(vec![
        (zeros.clone(), vec![ints(&[-1])], 1, "size -1"),
        (zeros.clone(), vec![ints(&[1 << 40, 1 << 40])], 1, "GiB"),
        (zeros, vec![ints(&[1 << 40])], 1, "GiB"),
        (Op::Expand, vec![x("3"), ints(&[4])], 1, "3 and 4"),
        (Op::Expand, vec![x("1"), ints(&[-4])], 1, "negative size"),
        (Op::Expand, vec![x("1"), ints(&[1 << 50])], 1, "GiB"),
        (Op::Tile, vec![x("3"), ints(&[-1])], 1, "not negative"),
        (Op::Tile, vec![x("3"), ints(&[1, 1])], 1, "one entry"),
        (Op::Tile, vec![x("3"), ints(&[i64::MAX])], 1, "too large"),
        (Op::Range, vec![number(0.0), number(1.0), number(0.0)], 1, "not 0"),
        (Op::Range, vec![number(0.0), number(f32::INFINITY), number(1.0)], 1, "never ends"),
        (Op::Range, vec![number(0.0), number(f32::NAN), number(1.0)], 1, "never ends"),
        (Op::Range, vec![x("3"), number(1.0), number(1.0)], 1, "a scalar"),
        (pad.clone(), vec![x("N 4"), ints(&[0, 0, 0])], 1, "expected 4 pads"),
        (pad.clone(), vec![x("N 4"), ints(&[0, -3, 0, -2])], 1, "cannot be padded"),
        (pad.clone(), vec![x("N 4"), ints(&[0, i64::MAX, 0, i64::MAX])], 1, "cannot be padded"),
        (pad, vec![x("N 4"), ints(&[1, 1]), none(), ints(&[2])], 1, "axis 2"),
        (resize.clone(), vec![x("N 4")], 1, "either scales or sizes"),
        (resize.clone(), vec![x("N 4"), none(), floats(&[1.0, 2.0]), ints(&[1, 8])], 1, "either"),
        (resize.clone(), vec![x("N 4"), none(), floats(&[1.0])], 1, "expected 2"),
        (resize.clone(), vec![x("N 4"), none(), floats(&[1.0, -1.0])], 1, "must be positive"),
        (resize.clone(), vec![x("N 4"), none(), floats(&[f32::NAN, 1.0])], 1, "must be positive"),
        (resize.clone(), vec![x("N 4"), none(), floats(&[1.0, 1e10])], 1, "cannot be made"),
        (resize.clone(), vec![x("N 4"), none(), floats(&[1.0, 1e30])], 1, "from 2^-40 to 2^40"),
        (resize, vec![x("3 4"), none(), none(), ints(&[3, 0])], 1, "must be positive"),
    ]);
}

#[test]
fn dynamic_activations() {
    let hyperfunction = Op::Hyperfunction(Hyperfunction {
        k: 2,
        hidden: HiddenActivation::Relu,
        squash: Squash::HardSigmoid,
        init: vec![0.0; 4],
        lambda: vec![0.0; 4],
    });
    let max_affine = Op::MaxAffine(MaxAffine { k: 2 });
    let attention = Op::SpatialAttention(SpatialAttention { tau: 1.0, gamma_per_position: 0.3 });
    let none = || In::Absent;
    refused(vec![
        (hyperfunction.clone(), vec![x("N 8"), x("2 7"), none(), x("32 2")], 1, "FC1 takes 7"),
        (hyperfunction.clone(), vec![x("N 8"), x("2 8"), none(), x("32 3")], 1, "FC2 takes 3"),
        (hyperfunction.clone(), vec![x("N 8"), x("2 8"), none(), x("30 2")], 1, "2K = 4"),
        (hyperfunction, vec![x("N 8 4"), x("2 8"), none(), x("32 2")], 1, "the context"),
        (max_affine.clone(), vec![x("N 8 H W"), x("N 3 8")], 1, "[N or 1, 4, 8 or 1]"),
        (max_affine.clone(), vec![x("N 8 H W"), x("N 4 7")], 1, "the coefficients"),
        (max_affine, vec![x("N 8 H W"), x("N 4 8"), x("N 8 H W")], 1, "pi must have shape"),
        (attention, vec![x("N 2 H W")], 1, "z must have shape"),
    ]);
}

#[test]
fn inputs_of_negative_size() {
    let (graph, _) = single(Op::Identity, &[x("N -1")], 1);
    assert!(infer(&graph).unwrap_err().message().contains("in0"));
}

/// Sizes that grow with every node must not take the time or the memory of the process.
#[test]
fn sizes_that_explode_are_given_up() {
    let mut graph = Graph::new("test");
    let ty = TensorType { dtype: DType::I64, dims: dims("N M") };
    let input = graph.add_input("x", ty);
    let shape = graph.apply("shape", Op::Shape { start: 0, end: None }, &[input]);
    let turn = graph.add_constant("turn", Tensor::vector(vec![1i64, 0]));
    let mut value = shape;
    for n in 0..200 {
        let turned = graph.apply(format!("turn{n}"), Op::Gather { axis: 0 }, &[value, turn]);
        let op = [Binary::Mul, Binary::Add, Binary::Div][n % 3];
        let next = graph.apply(format!("next{n}"), Op::Binary(op), &[turned, shape]);
        let most = Op::Variadic(if n % 2 == 0 { Variadic::Max } else { Variadic::Min });
        value = graph.apply(format!("most{n}"), most, &[next, value]);
    }
    let sum = graph.apply("sum", Op::Binary(Binary::Mul), &[value, value]);
    graph.set_outputs(vec![sum]);
    graph.validate().unwrap();
    assert_eq!(infer(&graph).unwrap().contents(sum), None);
}
