//! Operators that are read as several of the graph.

use super::*;

fn integers(name: &str, dims: &[i64], data: &[i64]) -> proto::Tensor {
    proto::Tensor {
        dims: dims.to_vec(),
        data_type: 7,
        int64_data: data.to_vec(),
        name: name.into(),
        ..Default::default()
    }
}

fn string(name: &str, text: &str) -> proto::Attribute {
    let s = Bytes::from(text.to_string().into_bytes());
    proto::Attribute { name: name.into(), r#type: attribute_type::STRING, s, ..Default::default() }
}

/// Returns a model of one node with inputs `x`, then the tensors. An input of size 0 is free.
fn single(
    operator: &str,
    x: &[i64],
    others: Vec<proto::Tensor>,
    attributes: &[proto::Attribute],
) -> proto::Model {
    let names: Vec<String> = others.iter().map(|tensor| tensor.name.clone()).collect();
    let inputs: Vec<&str> = std::iter::once("x").chain(names.iter().map(String::as_str)).collect();
    let mut model = model(vec![with(node(operator, &inputs, "y"), attributes)], others);
    let sizes: Vec<Option<i64>> = x.iter().map(|&size| (size > 0).then_some(size)).collect();
    model.graph.as_mut().unwrap().input = vec![value("x", &sizes)];
    model.opset_import[0].version = 23;
    model
}

#[track_caller]
fn gives(model: &proto::Model, x: (&[usize], &[f32]), shape: &[usize], expected: &[f32]) {
    let y = run(model, Tensor::new(x.0, x.1.to_vec()).unwrap()).remove(0);
    let y = (y.shape().to_vec(), y.cast(DType::F32).unwrap());
    let numbers = y.1.as_f32().unwrap();
    let fits = numbers.len() == expected.len()
        && numbers.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(y.0 == shape && fits, "{:?} {numbers:?}, expected {shape:?} {expected:?}", y.0);
}

fn counted(shape: &[usize]) -> Vec<f32> {
    (0..shape.iter().product()).map(|i: usize| i as f32).collect()
}

#[test]
fn einsum_is_a_product() {
    let einsum = |equation: &str, x: &[i64], other: Vec<proto::Tensor>| {
        single("Einsum", x, other, &[string("equation", equation)])
    };
    let matrix = || vec![tensor("b", &[2, 2], &[1.0, 2.0, 3.0, 4.0])];
    let x = (&[1, 2, 2][..], &[1.0, 0.0, 2.0, 1.0][..]);
    for (equation, shape, expected) in [
        ("bij,jk->bik", vec![1, 2, 2], vec![1.0, 2.0, 5.0, 8.0]),
        ("b i j , k j -> b k i", vec![1, 2, 2], vec![1.0, 4.0, 3.0, 10.0]),
        ("bij,jk", vec![1, 2, 2], vec![1.0, 2.0, 5.0, 8.0]),
        ("...j,jk->...k", vec![1, 2, 2], vec![1.0, 2.0, 5.0, 8.0]),
        ("bij,ij->bij", vec![1, 2, 2], vec![1.0, 0.0, 6.0, 4.0]),
        ("bij,ij->b", vec![1], vec![11.0]),
        ("bij,kk->bij", vec![1, 2, 2], vec![5.0, 0.0, 10.0, 5.0]),
        ("bij,jj->bi", vec![1, 2], vec![1.0, 6.0]),
        ("bij,ki->bjk", vec![1, 2, 2], vec![5.0, 11.0, 2.0, 4.0]),
        ("bij,ji->bij", vec![1, 2, 2], vec![1.0, 0.0, 4.0, 4.0]),
        ("bij,jk->kjb", vec![2, 2, 1], vec![3.0, 3.0, 6.0, 4.0]),
        ("bij,ck->jcbk", vec![2, 2, 1, 2], vec![3.0, 6.0, 9.0, 12.0, 1.0, 2.0, 3.0, 4.0]),
    ] {
        gives(&einsum(equation, &[1, 2, 2], matrix()), x, &shape, &expected);
        gives(&einsum(equation, &[0, 0, 0], matrix()), x, &shape, &expected);
    }
    gives(&einsum("bij->jb", &[0, 0, 0], vec![]), x, &[2, 1], &[3.0, 1.0]);
    let nodes = open(&einsum("bij,jk->bik", &[0, 2, 2], matrix())).unwrap();
    assert_eq!(nodes.nodes().len(), 2, "a product and the output");
    // Without a sum, the axes stay where the output has them.
    let nodes = open(&einsum("bij,bj->bij", &[0, 2, 2], matrix())).unwrap();
    let ops: Vec<&str> = nodes.nodes().iter().map(|node| node.op.name()).collect();
    assert_eq!(ops, ["Unsqueeze", "Mul", "Identity"]);
    for (equation, kind) in [
        ("bij->bij", ErrorKind::Format),
        ("bi,jk->b", ErrorKind::Format),
        ("bij,jk->z", ErrorKind::Format),
        ("bij,jk->bb", ErrorKind::Format),
        ("bi?,jk->b", ErrorKind::Format),
        ("bi...j...,jk->b", ErrorKind::Format),
        ("", ErrorKind::Format),
    ] {
        let error = open(&einsum(equation, &[1, 2, 2], matrix())).unwrap_err();
        assert_eq!(error.kind(), kind, "{equation}: {error}");
    }
}

#[test]
fn space_becomes_depth() {
    let x = counted(&[1, 2, 2, 4]);
    for sizes in [[1, 2, 2, 4], [0, 0, 0, 0]] {
        let model = single("SpaceToDepth", &sizes, vec![], &[int("blocksize", 2)]);
        let expected =
            [0.0, 2.0, 8.0, 10.0, 1.0, 3.0, 9.0, 11.0, 4.0, 6.0, 12.0, 14.0, 5.0, 7.0, 13.0, 15.0];
        gives(&model, (&[1, 2, 2, 4], &x), &[1, 8, 1, 2], &expected);
    }
    let uneven = single("SpaceToDepth", &[1, 2, 3, 4], vec![], &[int("blocksize", 2)]);
    refused(&uneven, ErrorKind::Graph, "blocks of 2 x 2");
    for block in [0, -1, i64::MAX] {
        let model = single("SpaceToDepth", &[1, 2, 2, 4], vec![], &[int("blocksize", block)]);
        assert!(open(&model).is_err(), "{block}");
    }
}

#[test]
fn responses_are_normalised_over_neighbouring_channels() {
    let attributes = [int("size", 3), float("alpha", 3.0), float("beta", 1.0), float("bias", 0.0)];
    let model = single("LRN", &[1, 4, 1, 1], vec![], &attributes);
    // The squares of neighbours add up to 5, 14, 29 and 25.
    let expected = [1.0 / 5.0, 2.0 / 14.0, 3.0 / 29.0, 4.0 / 25.0];
    gives(&model, (&[1, 4, 1, 1], &[1.0, 2.0, 3.0, 4.0]), &[1, 4, 1, 1], &expected);
    for size in [0, -3, i64::MAX] {
        let model = single("LRN", &[1, 4, 1, 1], vec![], &[int("size", size)]);
        refused(&model, ErrorKind::Format, "\"size\"");
    }
}

#[test]
fn pools_of_norms() {
    let x = (&[1, 1, 3][..], &[3.0, -4.0, 1.0][..]);
    let kernel = ints("kernel_shape", &[2]);
    for (p, expected) in [
        (1, [7.0, 5.0]),
        (2, [5.0, 17f32.sqrt()]),
        (3, [91f32.powf(1.0 / 3.0), 65f32.powf(1.0 / 3.0)]),
    ] {
        let model = single("LpPool", &[1, 1, 3], vec![], &[kernel.clone(), int("p", p)]);
        gives(&model, x, &[1, 1, 2], &expected);
    }
    for (p, expected) in [(1, 8.0), (2, 26f32.sqrt()), (3, 92f32.powf(1.0 / 3.0))] {
        let model = single("GlobalLpPool", &[1, 1, 3], vec![], &[int("p", p)]);
        gives(&model, x, &[1, 1, 1], &[expected]);
    }
    let none = single("GlobalLpPool", &[1, 1, 3], vec![], &[int("p", 0)]);
    refused(&none, ErrorKind::Format, "\"p\"");
}

#[test]
fn normalisation_by_groups_and_by_the_root_mean_square() {
    let parameters = || vec![tensor("s", &[2], &[1.0, 2.0]), tensor("b", &[2], &[0.0, 10.0])];
    let attributes = [int("num_groups", 2), float("epsilon", 0.0)];
    let mut model = single("GroupNormalization", &[0, 0, 0], parameters(), &attributes);
    model.opset_import[0].version = 18;
    let x = (&[1, 4, 1][..], &[1.0, 3.0, 5.0, 9.0][..]);
    gives(&model, x, &[1, 4, 1], &[-1.0, 1.0, 8.0, 12.0]);
    let scale = vec![tensor("s", &[2], &[1.0, 2.0])];
    let model = single("RMSNormalization", &[0, 2], scale, &[float("epsilon", 0.5)]);
    gives(&model, (&[1, 2], &[1.0, 2.0]), &[1, 2], &[1.0 / 3f32.sqrt(), 4.0 / 3f32.sqrt()]);
}

#[test]
fn positions_are_compared() {
    let x = (&[2, 3][..], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0][..]);
    let trilu = |k: i64, upper: i64| {
        single("Trilu", &[0, 0], vec![integers("k", &[], &[k])], &[int("upper", upper)])
    };
    gives(&trilu(0, 1), x, &[2, 3], &[1.0, 2.0, 3.0, 0.0, 5.0, 6.0]);
    gives(&trilu(-1, 0), x, &[2, 3], &[0.0, 0.0, 0.0, 4.0, 0.0, 0.0]);
    gives(&single("Trilu", &[0, 0], vec![], &[]), x, &[2, 3], &[1.0, 2.0, 3.0, 0.0, 5.0, 6.0]);
    let one_hot = |axis| {
        let others = vec![integers("d", &[], &[3]), tensor("v", &[2], &[-1.0, 5.0])];
        single("OneHot", &[0], others, &[int("axis", axis)])
    };
    // Negative indices count from the end, and others outside are nowhere.
    let rows = [-1.0, 5.0, -1.0, -1.0, -1.0, 5.0, -1.0, -1.0, -1.0];
    gives(&one_hot(-1), (&[3], &[1.0, -1.0, 3.0]), &[3, 3], &rows);
    let columns = [-1.0, -1.0, -1.0, 5.0, -1.0, -1.0, -1.0, 5.0, -1.0];
    gives(&one_hot(0), (&[3], &[1.0, -1.0, 3.0]), &[3, 3], &columns);
    gives(&single("Hardmax", &[0, 3], vec![], &[]), x, &[2, 3], &[0.0, 0.0, 1.0, 0.0, 0.0, 1.0]);
    let arg_min = single("ArgMin", &[0, 3], vec![], &[int("axis", 1), int("keepdims", 0)]);
    gives(&arg_min, (&[2, 3], &[2.0, 1.0, 1.0, 0.0, 5.0, 6.0]), &[2], &[1.0, 0.0]);
}

#[test]
fn numbers_that_are_none() {
    let x = (&[4][..], &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.0][..]);
    gives(&single("IsNaN", &[4], vec![], &[]), x, &[4], &[1.0, 0.0, 0.0, 0.0]);
    for (negative, positive, expected) in [
        (1, 1, [0.0, 1.0, 1.0, 0.0]),
        (0, 1, [0.0, 1.0, 0.0, 0.0]),
        (1, 0, [0.0, 0.0, 1.0, 0.0]),
        (0, 0, [0.0; 4]),
    ] {
        let attributes = [int("detect_negative", negative), int("detect_positive", positive)];
        gives(&single("IsInf", &[4], vec![], &attributes), x, &[4], &expected);
    }
    let attributes = [float("lambd", 1.5), float("bias", 0.5)];
    let shrink = single("Shrink", &[4], vec![], &attributes);
    gives(&shrink, (&[4], &[-2.0, -1.5, 1.0, 2.0]), &[4], &[-1.5, 0.0, 0.0, 1.5]);
}

/// Two queries of one head with two keys, worked by hand.
#[test]
fn attention_is_a_softmax_between_products() {
    let attention = |others: Vec<proto::Tensor>, attributes: &[proto::Attribute]| {
        single("Attention", &[0, 1, 0, 1], others, attributes)
    };
    let keys = || tensor("k", &[1, 1, 2, 1], &[0.0, 3f32.ln()]);
    let values = || tensor("v", &[1, 1, 2, 1], &[4.0, 8.0]);
    let x = (&[1, 1, 2, 1][..], &[1.0, 2.0][..]);
    // The weights are 1/4 and 3/4, then 1/10 and 9/10.
    gives(&attention(vec![keys(), values()], &[]), x, &[1, 1, 2, 1], &[7.0, 7.6]);
    let causal = attention(vec![keys(), values()], &[int("is_causal", 1)]);
    gives(&causal, x, &[1, 1, 2, 1], &[4.0, 7.6]);
    let scaled = attention(vec![keys(), values()], &[float("scale", 2.0)]);
    gives(&scaled, x, &[1, 1, 2, 1], &[7.6, (4.0 + 81.0 * 8.0) / 82.0]);
    // The second query may look at nothing.
    let never = f32::NEG_INFINITY;
    let mask = tensor("m", &[2, 2], &[0.0, never, never, never]);
    gives(&attention(vec![keys(), values(), mask], &[]), x, &[1, 1, 2, 1], &[4.0, 0.0]);
    let windowed = attention(vec![keys(), values()], &[int("left_window_size", 1)]);
    refused(&windowed, ErrorKind::Unsupported, "sliding window");
}

#[test]
fn random_numbers_are_refused_unless_they_cannot_matter() {
    let random = |bound: f32, compare: &str| {
        let nodes = vec![
            node("RandomUniformLike", &["x"], "r"),
            node(compare, &["r", "b"], "m"),
            with(node("Cast", &["m"], "f"), &[int("to", 1)]),
            node("Mul", &["x", "f"], "y"),
        ];
        model(nodes, vec![tensor("b", &[1], &[bound])])
    };
    for (compare, bound, kept) in [
        ("Less", 1.0, 1.0),
        ("Less", 0.0, 0.0),
        ("GreaterOrEqual", 0.0, 1.0),
        ("GreaterOrEqual", 1.0, 0.0),
        ("Greater", -0.5, 1.0),
        ("LessOrEqual", -0.5, 0.0),
    ] {
        let y = outcome(&random(bound, compare), 3.0).unwrap();
        assert_eq!(y.as_f32().unwrap(), [3.0 * kept; 192], "{compare} {bound}");
    }
    let words = "node \"RandomUniformLike_0\" (RandomUniformLike): the network's result depends on \
                 random numbers";
    refused(&random(0.5, "Less"), ErrorKind::Unsupported, words);
    // A number may be 0, and is then no greater.
    refused(&random(0.0, "Greater"), ErrorKind::Unsupported, words);
    let noise = vec![node("RandomNormalLike", &["x"], "r"), node("Add", &["x", "r"], "y")];
    refused(&model(noise, vec![]), ErrorKind::Unsupported, "random numbers");
    let output = vec![node("RandomNormalLike", &["x"], "y")];
    refused(&model(output, vec![]), ErrorKind::Unsupported, "random numbers");
    // What no output needs may be random.
    let unused = vec![node("RandomNormalLike", &["x"], "r"), node("Relu", &["x"], "y")];
    assert!(open(&model(unused, vec![])).is_ok());
}

/// A model that adds to `x` what a `DequantizeLinear` of opset 21 gives.
fn dequantised(
    integers: proto::Tensor,
    others: Vec<proto::Tensor>,
    attributes: &[proto::Attribute],
) -> proto::Model {
    let inputs: Vec<String> =
        std::iter::once(&integers).chain(&others).map(|tensor| tensor.name.clone()).collect();
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let number = with(node("DequantizeLinear", &inputs, "w"), attributes);
    let sizes: Vec<Option<i64>> = integers.dims.iter().map(|&size| Some(size)).collect();
    let mut tensors = others;
    tensors.push(integers);
    let mut model = model(vec![number, node("Add", &["x", "w"], "y")], tensors);
    model.graph.as_mut().unwrap().input = vec![value("x", &sizes)];
    model.opset_import[0].version = 21;
    model
}

#[test]
fn integers_with_scales_are_numbers() {
    let of_type = |data_type: i32, name: &str, dims: &[i64], data: &[i32]| proto::Tensor {
        dims: dims.to_vec(),
        data_type,
        int32_data: data.to_vec(),
        name: name.into(),
        ..Default::default()
    };
    let (int8, uint8) = (3, 2);
    let integers = || of_type(int8, "q", &[2, 3], &[-128, -1, 0, 1, 2, 127]);
    let scale = |scales: &[f32], dims: &[i64]| vec![tensor("scale", dims, scales)];
    let zeros = (&[2, 3][..], &[0.0; 6][..]);
    let by_tensor = [-64.0, -0.5, 0.0, 0.5, 1.0, 63.5];
    for dims in [&[][..], &[1]] {
        gives(&dequantised(integers(), scale(&[0.5], dims), &[]), zeros, &[2, 3], &by_tensor);
    }
    let rows = [-128.0, -1.0, 0.0, 0.25, 0.5, 31.75];
    for axis in [0, -2] {
        let model = dequantised(integers(), scale(&[1.0, 0.25], &[2]), &[int("axis", axis)]);
        gives(&model, zeros, &[2, 3], &rows);
    }
    let columns = [-128.0, -2.0, 0.0, 1.0, 4.0, 1016.0];
    let by_column = || scale(&[1.0, 2.0, 8.0], &[3]);
    gives(&dequantised(integers(), by_column(), &[]), zeros, &[2, 3], &columns);
    let mut others = by_column();
    others.push(of_type(uint8, "zero", &[3], &[128, 1, 0]));
    let model = dequantised(of_type(uint8, "q", &[2, 3], &[0, 0, 0, 255, 1, 255]), others, &[]);
    gives(&model, zeros, &[2, 3], &[-128.0, -2.0, 0.0, 127.0, 0.0, 2040.0]);

    let words = "scale has 2 entries, but axis 1 of the input has size 3";
    refused(&dequantised(integers(), scale(&[1.0; 2], &[2]), &[]), ErrorKind::Shape, words);
    let model = dequantised(integers(), by_column(), &[int("axis", 2)]);
    refused(&model, ErrorKind::Graph, "axis 2 does not exist in an input of 2 axes");
    let model = dequantised(integers(), scale(&[1.0; 6], &[2, 3]), &[]);
    refused(&model, ErrorKind::Graph, "scale has 2 axes, expected 0 or 1");
    let model = dequantised(integers(), scale(&[1.0; 6], &[2, 3]), &[int("block_size", 1)]);
    refused(&model, ErrorKind::Unsupported, "scales of blocks");
}
