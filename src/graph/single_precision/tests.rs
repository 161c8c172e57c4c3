use super::*;
use crate::graph::{Binary, Conv, Dim, Padding, Scalar, TensorType, Unary};
use crate::tensor::Tensor;
use crate::{Model, Options, Session, reference};

fn wave(shape: &[usize], dtype: DType) -> Tensor {
    let count = shape.iter().product();
    let data = (0..count).map(|i: usize| (i as f32 * 0.7).sin()).collect();
    Tensor::new::<f32>(shape, data).unwrap().cast(dtype).unwrap()
}

fn input(g: &mut Graph, dtype: DType) -> ValueId {
    let dims = vec![Dim::symbol("N"), 3.into(), 4.into(), 5.into()];
    g.add_input("x", TensorType { dtype, dims })
}

fn conv(g: &mut Graph, x: ValueId, dtype: DType) -> ValueId {
    let weight = g.add_constant("w", wave(&[3, 3, 1, 1], dtype));
    let bias = g.add_constant("b", wave(&[3], dtype));
    let padding = Padding::Explicit(vec![]);
    let op = Conv { padding, strides: vec![], dilations: vec![], groups: 1 };
    g.apply("conv", Op::Conv(op), &[x, weight, bias])
}

fn mul(g: &mut Graph, a: ValueId, b: ValueId) -> ValueId {
    g.apply("mul", Op::Binary(Binary::Mul), &[a, b])
}

fn cast(g: &mut Graph, x: ValueId, to: DType) -> ValueId {
    g.apply("cast", Op::Cast { to }, &[x])
}

/// Converts a graph, and checks that converting the result changes nothing.
fn single(g: &Graph) -> Graph {
    let mut g = g.clone();
    g.validate().unwrap();
    let converted = in_single_precision(&g).unwrap().expect("something to do");
    assert!(in_single_precision(&converted).unwrap().is_none());
    converted
}

/// Runs the graph on `x` by the engine and by the reference. Checks that they agree, and returns
/// the outputs.
fn outputs(g: &Graph, x: &Tensor) -> Vec<Tensor> {
    let mut g = g.clone();
    g.validate().unwrap();
    let x = [x.clone()];
    let expected = reference::run(&g, &x).unwrap();
    let model = Model::from_graph(g, Options::default()).unwrap();
    assert_eq!(model.inputs()[0].ty.as_ref().unwrap().dtype, x[0].dtype());
    let found = Session::new(&model).run(&x).unwrap();
    for ((found, expected), port) in found.iter().zip(&expected).zip(model.outputs()) {
        assert_eq!((found.dtype(), found.shape()), (expected.dtype(), expected.shape()));
        assert_eq!(port.ty.as_ref().unwrap().dtype, found.dtype());
        let numbers = |t: &Tensor| t.cast(DType::F32).unwrap().as_f32().unwrap().to_vec();
        for (a, b) in numbers(found).into_iter().zip(numbers(expected)) {
            // A result in half precision may be rounded the other way.
            assert!((a - b).abs() <= 1e-3 * b.abs().max(1.0), "{a} and {b}");
        }
    }
    found
}

#[test]
fn networks_of_any_precision_are_computed_in_f32() {
    for dtype in [DType::F16, DType::BF16, DType::F64] {
        let mut g = Graph::new("t");
        let x = input(&mut g, dtype);
        let y = conv(&mut g, x, dtype);
        let half = g.add_constant("half", Tensor::scalar(0.5f32).cast(dtype).unwrap());
        let y = mul(&mut g, y, half);
        let y = mul(&mut g, x, y);
        let y = g.apply("y", Op::Concat { axis: 1 }, &[y, x]);
        g.set_outputs(vec![y]);
        let converted = single(&g);
        let names: Vec<_> = converted.nodes().iter().map(|node| node.op.name()).collect();
        assert_eq!(names, ["Cast", "Conv", "Mul", "Mul", "Concat", "Cast"], "{dtype}");
        assert_eq!(converted.value(converted.outputs()[0]).name, "y");
        let floats = converted.values().iter().filter_map(|value| value.constant.as_ref());
        assert!(floats.into_iter().all(|tensor| tensor.dtype() == DType::F32));
        let y = outputs(&g, &wave(&[2, 3, 4, 5], dtype));
        assert_eq!((y[0].dtype(), y[0].shape()), (dtype, &[2, 6, 4, 5][..]));
    }
}

/// Converters add casts at inputs and outputs, and leave everything between in half precision.
#[test]
fn casts_inside_vanish() {
    let mut g = Graph::new("t");
    let x = input(&mut g, DType::F32);
    let y = cast(&mut g, x, DType::F16);
    let y = conv(&mut g, y, DType::F16);
    let y = cast(&mut g, y, DType::F32);
    let y = mul(&mut g, y, x);
    g.set_outputs(vec![y]);
    let types = infer(&single(&g)).unwrap();
    let y = outputs(&g, &wave(&[1, 3, 4, 5], DType::F32));
    assert_eq!(y[0].dtype(), DType::F32);
    for value in g.values().iter().enumerate().map(|(i, _)| ValueId(i)) {
        assert!(types.get(value).is_none_or(|ty| ty.dtype == DType::F32), "{value:?}");
    }
}

/// An output keeps its type, also if a node reads it.
#[test]
fn outputs_keep_their_types() {
    let mut g = Graph::new("t");
    let x = input(&mut g, DType::F16);
    let constant = g.add_constant("c", wave(&[2], DType::F64));
    let inner = cast(&mut g, x, DType::F64);
    let sum = mul(&mut g, inner, inner);
    let above = g.apply("above", Op::Binary(Binary::Less), &[inner, sum]);
    let counted = g.apply("counted", Op::Cast { to: DType::I64 }, &[sum]);
    g.set_outputs(vec![inner, x, sum, inner, constant, above, counted]);
    let found = outputs(&g, &wave(&[1, 3, 4, 5], DType::F16));
    let types: Vec<DType> = found.iter().map(Tensor::dtype).collect();
    let (f16, f64, truth, i64) = (DType::F16, DType::F64, DType::Bool, DType::I64);
    assert_eq!(types, [f64, f16, f64, f64, f64, truth, i64]);
    let names: Vec<_> = {
        let g = single(&g);
        g.outputs().iter().map(|&id| g.value(id).name.clone()).collect()
    };
    assert_eq!(names, ["cast", "x", "mul", "cast", "c", "above", "counted"]);
}

/// In f32 16,777,217 is 16,777,216.
#[test]
fn calculations_with_sizes_stay_exact() {
    let mut g = Graph::new("t");
    let x = input(&mut g, DType::F16);
    let shape = g.apply("shape", Op::Shape { start: 0, end: None }, &[x]);
    let sizes = cast(&mut g, shape, DType::F64);
    let large = g.add_constant("large", Tensor::scalar(16_777_217f64 / 3.0));
    let product = mul(&mut g, sizes, large);
    let counts = g.apply("counts", Op::Cast { to: DType::I64 }, &[product]);
    let one = g.apply("one", Op::Unary(Unary::Sign), &[product]);
    let one = g.apply("half", Op::Cast { to: DType::F16 }, &[one]);
    let axes = g.add_constant("axes", Tensor::vector(vec![0i64, 2, 3]));
    let one = g.apply("column", Op::Unsqueeze, &[one, axes]);
    let index = g.add_constant("index", Tensor::vector(vec![1i64, 2, 3]));
    let one = g.apply("gather", Op::Gather { axis: 1 }, &[one, index]);
    let perm = vec![0, 1, 2, 3];
    let one = g.apply("transpose", Op::Transpose { perm }, &[one]);
    let first = g.add_constant("first", Tensor::vector(vec![1i64, 3, 1, 1]));
    let one = g.apply("row", Op::Reshape { allow_zero: false }, &[one, first]);
    let y = mul(&mut g, x, one);
    g.set_outputs(vec![counts, y]);
    let x = wave(&[2, 3, 4, 5], DType::F16);
    let found = outputs(&g, &x);
    let third = |size: f64| (size * (16_777_217f64 / 3.0)) as i64;
    assert_eq!(found[0].to_i64s().unwrap(), [2.0, 3.0, 4.0, 5.0].map(third));
    assert_eq!(found[1].bytes(), x.bytes());

    // Only sizes are in double precision: there is nothing to convert.
    let mut g = Graph::new("t");
    let x = input(&mut g, DType::F32);
    let shape = g.apply("shape", Op::Shape { start: 2, end: None }, &[x]);
    let sizes = cast(&mut g, shape, DType::F64);
    let wide = g.add_constant("wide", Tensor::scalar(0.7f64));
    let y = mul(&mut g, sizes, wide);
    let value = Scalar { dtype: DType::F64, value: 2.0 };
    let two = g.apply("two", Op::ConstantOfShape { value }, &[shape]);
    g.set_outputs(vec![y, two]);
    g.validate().unwrap();
    assert!(in_single_precision(&g).unwrap().is_none());
}

#[test]
fn types_that_the_file_mixes_are_refused() {
    let mut g = Graph::new("t");
    let x = input(&mut g, DType::F16);
    let wide = g.add_constant("wide", Tensor::scalar(0.7f32));
    let y = mul(&mut g, x, wide);
    g.set_outputs(vec![y]);
    g.validate().unwrap();
    let error = in_single_precision(&g).unwrap_err();
    assert!(error.message().contains("f16 and f32"), "{error}");
    assert!(reference::run(&g, &[wave(&[1, 3, 4, 5], DType::F16)]).is_err());
}

/// Elementwise arithmetic in double precision keeps numbers that f32 does not have.
#[test]
fn a_network_of_double_precision_without_layers_stays() {
    let mut g = Graph::new("t");
    let x = input(&mut g, DType::F64);
    let large = g.add_constant("large", Tensor::scalar(1e200f64));
    let y = mul(&mut g, x, large);
    g.set_outputs(vec![y]);
    g.validate().unwrap();
    assert!(in_single_precision(&g).unwrap().is_none());
    let x = Tensor::new(&[1, 3, 4, 5], vec![1.5f64; 60]).unwrap();
    let model = Model::from_graph(g, Options::default()).unwrap();
    let y = Session::new(&model).run(&[x]).unwrap();
    assert_eq!(y[0].as_slice::<f64>().unwrap(), [1.5e200; 60]);
}
