//! Networks that random search found: on each, the engine or the reference was once wrong.
//!
//! The comment of a test states the former defect.

use dyrelu::graph::*;
use dyrelu::{DType, Tensor};

use crate::compare::difference;
use crate::graphs::Case;

struct Net {
    graph: Graph,
    inputs: Vec<Tensor>,
}

impl Net {
    fn new() -> Self {
        Net { graph: Graph::new("found"), inputs: Vec::new() }
    }

    fn name(&self) -> String {
        format!("v{}", self.graph.values().len())
    }

    /// Adds an input of this shape. `batch` is the symbol of the first size, if that is free.
    fn input(&mut self, shape: &[usize], batch: Option<&str>) -> ValueId {
        let mut dims: Vec<Dim> = shape.iter().map(|&size| size.into()).collect();
        if let Some(name) = batch {
            dims[0] = Dim::symbol(name);
        }
        self.inputs.push(wave(shape));
        self.graph.add_input(self.name(), TensorType { dtype: DType::F32, dims })
    }

    fn wave(&mut self, shape: &[usize]) -> ValueId {
        self.graph.add_constant(self.name(), wave(shape))
    }

    fn ints(&mut self, values: &[i64]) -> ValueId {
        self.graph.add_constant(self.name(), Tensor::vector(values.to_vec()))
    }

    fn apply(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        self.graph.apply(self.name(), op, inputs)
    }

    fn split(&mut self, x: ValueId, axis: i64, parts: usize) -> Vec<ValueId> {
        let outputs: Vec<ValueId> = (0..parts).map(|_| self.graph.add_value(self.name())).collect();
        let (name, op) = (self.name(), Op::Split { axis });
        let node_outputs = outputs.iter().copied().map(Some).collect();
        self.graph.add_node(Node { name, op, inputs: vec![Some(x)], outputs: node_outputs });
        outputs
    }

    /// Asserts that the engine agrees with the reference.
    fn assert_agrees(mut self, outputs: &[ValueId]) {
        self.graph.set_outputs(outputs.to_vec());
        let case = Case { graph: self.graph, inputs: self.inputs };
        if let Some(difference) = difference(&case) {
            panic!("{difference}\n{case}");
        }
    }
}

fn wave(shape: &[usize]) -> Tensor {
    let count = shape.iter().product();
    let data: Vec<f32> = (0..count).map(|i: usize| (i as f32 * 0.7).sin()).collect();
    Tensor::new(shape, data).unwrap()
}

fn gemm() -> Op {
    Op::Gemm(Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true })
}

const MAX: Op =
    Op::Reduce(Reduce { kind: ReduceKind::Max, keep_dims: false, noop_with_empty_axes: false });

/// Constant folding did not terminate.
#[test]
fn a_split_constant_with_some_parts_as_outputs() {
    let mut net = Net::new();
    let x = net.input(&[3], None);
    let shape = net.apply(Op::Shape { start: 0, end: None }, &[x]);
    let value = Scalar { dtype: DType::F32, value: 0.5 };
    let filled = net.apply(Op::ConstantOfShape { value }, &[shape]);
    let parts = net.split(filled, 0, 3);
    net.assert_agrees(&[parts[0], parts[1]]);
}

/// Coefficients for several images, applied to the feature map of one image, were recognised as a
/// dynamic ReLU.
#[test]
fn a_feature_map_of_one_image_with_coefficients_of_several() {
    let mut net = Net::new();
    let x = net.input(&[1, 2, 3, 3], Some("N"));
    let pads = net.ints(&[0, 0, 0, 0, 1, 0, 0, 0]);
    let map = net.apply(Op::Pad { mode: PadMode::Edge }, &[x, pads]);
    let axes = net.ints(&[2, 3]);
    let mean = Reduce { kind: ReduceKind::Mean, keep_dims: false, noop_with_empty_axes: false };
    let context = net.apply(Op::Reduce(mean), &[x, axes]);
    let weight = net.wave(&[8, 2]);
    let z = net.apply(gemm(), &[context, weight]);
    let z = net.apply(Op::Unary(Unary::Sigmoid), &[z]);
    let shape = net.ints(&[-1, 2, 4]);
    let coefficients = net.apply(Op::Reshape { allow_zero: false }, &[z, shape]);
    let halves = net.split(coefficients, 2, 2);
    let channels_last = net.apply(Op::Transpose { perm: vec![2, 3, 0, 1] }, &[map]);
    let last = net.ints(&[-1]);
    let channels_last = net.apply(Op::Unsqueeze, &[channels_last, last]);
    let product = net.apply(Op::Binary(Binary::Mul), &[channels_last, halves[0]]);
    let sum = net.apply(Op::Binary(Binary::Add), &[product, halves[1]]);
    let y = net.apply(MAX, &[sum, last]);
    net.assert_agrees(&[y]);
}

/// For an empty batch, the reference returned coefficients without channels.
#[test]
fn a_hyperfunction_of_an_empty_batch() {
    let mut net = Net::new();
    let x = net.input(&[0, 2, 1, 1], None);
    let (weight, bias) = (net.wave(&[4, 2]), net.wave(&[4]));
    let op = Op::Hyperfunction(Hyperfunction {
        k: 1,
        hidden: HiddenActivation::None,
        squash: Squash::Sigmoid,
        init: vec![1.0, 0.0],
        lambda: vec![1.0, 0.5],
    });
    let output = net.graph.add_value("coefficients");
    let inputs = vec![Some(x), None, None, Some(weight), Some(bias)];
    let outputs = vec![Some(output)];
    net.graph.add_node(Node { name: "hyperfunction".into(), op, inputs, outputs });
    net.assert_agrees(&[output]);
}

/// The compiler panicked.
#[test]
fn a_feature_map_without_channels_with_constant_coefficients() {
    let mut net = Net::new();
    let x = net.input(&[1, 0, 2, 2], None);
    let coefficients = net.wave(&[1, 4, 0]);
    let y = net.apply(Op::MaxAffine(MaxAffine { k: 2 }), &[x, coefficients]);
    net.assert_agrees(&[y]);
}

/// The reference accepted a tensor without spatial axes, which shape inference refused.
#[test]
fn instance_normalisation_without_spatial_axes() {
    let mut net = Net::new();
    let x = net.input(&[2, 3], Some("N"));
    let (scale, bias) = (net.wave(&[3]), net.wave(&[3]));
    let y = net.apply(Op::InstanceNormalization { epsilon: 1e-5 }, &[x, scale, bias]);
    net.assert_agrees(&[y]);
}

/// The reference accepted operands of different types, which shape inference refused.
#[test]
fn a_matrix_product_of_different_types() {
    let mut net = Net::new();
    let x = net.input(&[2, 3], None);
    let integers = net.graph.add_constant("integers", Tensor::new(&[3, 2], vec![1i64; 6]).unwrap());
    let y = net.apply(Op::MatMul, &[x, integers]);
    net.assert_agrees(&[y]);
}

/// Shape inference refused weights whose number of rows depends on the batch.
#[test]
fn a_hyperfunction_with_a_free_number_of_rows() {
    let mut net = Net::new();
    let x = net.input(&[4, 2], Some("N"));
    let shape = net.ints(&[-1, 4]);
    let weight = net.apply(Op::Reshape { allow_zero: false }, &[x, shape]);
    let context = net.wave(&[1, 4]);
    let op = Op::Hyperfunction(Hyperfunction {
        k: 1,
        hidden: HiddenActivation::None,
        squash: Squash::Sigmoid,
        init: vec![1.0, 0.0],
        lambda: vec![1.0, 0.5],
    });
    let output = net.graph.add_value("coefficients");
    let inputs = vec![Some(context), None, None, Some(weight)];
    let outputs = vec![Some(output)];
    net.graph.add_node(Node { name: "hyperfunction".into(), op, inputs, outputs });
    net.assert_agrees(&[output]);
}

/// The attention of one image was fused into an activation of two images, which failed at run time.
#[test]
fn an_attention_of_one_image_for_a_batch_of_two() {
    let mut net = Net::new();
    let x = net.input(&[2, 2, 2, 2], None);
    let (coefficients, pi) = (net.wave(&[2, 2, 2]), net.wave(&[1, 1, 2, 2]));
    let y = net.apply(Op::MaxAffine(MaxAffine { k: 1 }), &[x, coefficients]);
    let y = net.apply(Op::Binary(Binary::Mul), &[pi, y]);
    net.assert_agrees(&[y]);
}

/// The buffer for the feature map between the two convolutions was too small.
#[test]
fn a_depthwise_convolution_that_crops_its_input() {
    let mut net = Net::new();
    let x = net.input(&[1, 24, 17, 90], Some("N"));
    let (weight, taps) = (net.wave(&[120, 24, 1, 1]), net.wave(&[120, 1, 3, 3]));
    let conv = |pads: &[i64], groups: usize| {
        Op::Conv(Conv {
            padding: Padding::Explicit(pads.to_vec()),
            strides: Vec::new(),
            dilations: Vec::new(),
            groups,
        })
    };
    let wide = net.apply(conv(&[], 1), &[x, weight]);
    let y = net.apply(conv(&[1, 0, 2, -2], 120), &[wide, taps]);
    net.assert_agrees(&[y]);
}

/// A part of the batch that is empty for one image was assumed to be broadcast to the whole batch.
#[test]
fn a_split_batch_with_an_empty_part() {
    let mut net = Net::new();
    let x = net.input(&[1, 9], Some("N"));
    let parts = net.split(x, 0, 2);
    let y = net.apply(Op::Binary(Binary::Mul), &[x, parts[1]]);
    let (weight, bias) = (net.wave(&[4, 9]), net.wave(&[4]));
    let y = net.apply(gemm(), &[y, weight, bias]);
    net.assert_agrees(&[y]);
}

/// Coefficients per image, in a batch of one, were taken for coefficients per channel of a transposed
/// feature map.
#[test]
fn coefficients_per_image_for_a_map_whose_channels_became_images() {
    let mut net = Net::new();
    let x = net.input(&[1, 4, 1, 1], Some("N"));
    let map = net.input(&[1, 24, 4, 9], None);
    let map = net.apply(Op::Transpose { perm: vec![1, 0, 2, 3] }, &[map]);
    let context = net.apply(Op::Unary(Unary::Tanh), &[x]);
    let coefficients = net.split(context, 1, 4);
    let pieces: Vec<ValueId> = (0..2)
        .map(|k| {
            let y = net.apply(Op::Binary(Binary::Mul), &[map, coefficients[k]]);
            net.apply(Op::Binary(Binary::Add), &[y, coefficients[2 + k]])
        })
        .collect();
    let y = net.apply(Op::Variadic(Variadic::Max), &pieces);
    net.assert_agrees(&[y]);
}

/// The constant was added to the first image of a batch only, or the run panicked.
#[test]
fn a_constant_of_one_image_added_to_a_layer_of_a_batch() {
    let mut net = Net::new();
    let x = net.input(&[3, 5], Some("N"));
    let (weight, row) = (net.wave(&[5, 24]), net.wave(&[1, 24]));
    let op = Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false };
    let y = net.apply(Op::Gemm(op), &[x, weight]);
    let y = net.apply(Op::Unary(Unary::Sigmoid), &[y]);
    let y = net.apply(Op::Binary(Binary::Add), &[y, row]);
    net.assert_agrees(&[y]);
}

/// The product was refused as a window that does not fit.
#[test]
fn a_matrix_product_of_no_rows() {
    let mut net = Net::new();
    let x = net.input(&[2, 0, 3], None);
    let weight = net.wave(&[3, 9]);
    let y = net.apply(Op::MatMul, &[x, weight]);
    net.assert_agrees(&[y]);
}

/// The resize was refused, although its result has no pixels either.
#[test]
fn a_resize_of_a_map_without_pixels() {
    let mut net = Net::new();
    let x = net.input(&[2, 24, 0, 3], None);
    let scales = net.graph.add_constant("scales", Tensor::vector(vec![1.0f32, 1.0, 2.0, 2.0]));
    let op = Resize {
        mode: ResizeMode::Linear,
        coordinates: CoordinateTransform::HalfPixel,
        axes: vec![],
        antialias: false,
        exclude_outside: false,
        extrapolation_value: 0.0,
        keep_aspect_ratio: AspectRatioPolicy::Stretch,
    };
    let name = net.name();
    let y = net.graph.add_value(net.name());
    let inputs = vec![Some(x), None, Some(scales)];
    net.graph.add_node(Node { name, op: Op::Resize(op), inputs, outputs: vec![Some(y)] });
    net.assert_agrees(&[y]);
}
