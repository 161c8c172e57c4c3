//! Weights as integers of eight bits.

use std::collections::HashMap;

use crate::error::Result;
use crate::graph::{Binary, Graph, Node, Op, ValueId};
use crate::tensor::{DType, Tensor};

/// The number of elements from which a tensor is worth two nodes and a tensor of scales.
const LEAST_ELEMENTS: usize = 1024;

/// The number of elements per output from which a scale is small beside them.
const LEAST_PER_OUTPUT: usize = 8;

/// The largest integer. Weights are symmetric around zero, so -128 is not used.
const LARGEST: f32 = 127.0;

/// Replaces the constant weights of convolutions and of fully connected layers by integers of eight bits,
/// each times the scale of its output: a cast and a product, which the compiler folds. Returns the number
/// of tensors that were replaced.
///
/// Tensors in which a number is not finite and small ones stay as they are.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) if the graph contradicts itself.
pub fn weights_in_eight_bits(graph: &mut Graph) -> Result<usize> {
    let mut replaced: HashMap<(ValueId, usize), Option<ValueId>> = HashMap::new();
    for id in graph.node_ids() {
        for (input, axis) in weights(graph, graph.node(id)) {
            let Some(value) = graph.node(id).input(input) else { continue };
            let new = replaced.entry((value, axis)).or_insert_with(|| replace(graph, value, axis));
            if let Some(new) = *new {
                graph.node_mut(id).inputs[input] = Some(new);
            }
        }
    }
    graph.validate()?;
    Ok(replaced.values().flatten().count())
}

/// Returns the inputs of a node that are weights, each with the axis along which its outputs lie.
fn weights(graph: &Graph, node: &Node) -> Vec<(usize, usize)> {
    let last_axis = |input: usize| {
        let rank = graph.constant(node.input(input)?)?.shape().len();
        rank.checked_sub(1).map(|axis| (input, axis))
    };
    match &node.op {
        Op::Conv(_) | Op::DeformConv(_) => vec![(1, 0)],
        Op::ConvTranspose(_) => vec![(1, 1)],
        Op::Gemm(gemm) => vec![(1, usize::from(!gemm.trans_b))],
        Op::MatMul => last_axis(1).into_iter().collect(),
        Op::Hyperfunction(_) => vec![(1, 0), (3, 0)],
        _ => Vec::new(),
    }
}

/// Adds the integers and the scales of a constant, and what computes the weights from them.
fn replace(graph: &mut Graph, value: ValueId, axis: usize) -> Option<ValueId> {
    let (integers, scales) = rounded(graph.constant(value)?, axis)?;
    let name = graph.value(value).name.clone();
    let integers = graph.add_constant(format!("{name}.int8"), integers);
    let scales = graph.add_constant(format!("{name}.scale"), scales);
    let number = graph.apply(format!("{name}.number"), Op::Cast { to: DType::F32 }, &[integers]);
    Some(graph.apply(format!("{name}.weights"), Op::Binary(Binary::Mul), &[number, scales]))
}

/// Returns the integers that are nearest to weights, and a scale for each entry of `axis`.
fn rounded(weights: &Tensor, axis: usize) -> Option<(Tensor, Tensor)> {
    let shape = weights.shape();
    let outputs = *shape.get(axis)?;
    let values = weights.as_f32().ok()?;
    let is_small = values.len() < LEAST_ELEMENTS || values.len() / outputs < LEAST_PER_OUTPUT;
    if is_small || !values.iter().all(|value| value.is_finite()) {
        return None;
    }
    let inner: usize = shape[axis + 1..].iter().product();
    let output = |i: usize| i / inner % outputs;
    let mut scales = vec![0f32; outputs];
    for (i, value) in values.iter().enumerate() {
        let largest = &mut scales[output(i)];
        *largest = largest.max(value.abs());
    }
    for scale in &mut scales {
        *scale /= LARGEST;
        // Arithmetic with subnormal numbers is many times slower.
        *scale = if scale.is_normal() { *scale } else { 0.0 };
    }
    let integer = |(i, value): (usize, &f32)| match scales[output(i)] {
        0.0 => 0,
        scale => (value / scale).round_ties_even().clamp(-LARGEST, LARGEST) as i8,
    };
    let integers: Vec<i8> = values.iter().enumerate().map(integer).collect();
    let mut scale_shape = vec![1; shape.len()];
    scale_shape[axis] = outputs;
    Some((Tensor::new(shape, integers).ok()?, Tensor::new(&scale_shape, scales).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::rewrite::simplify;
    use crate::graph::{
        Conv, Gemm, HiddenActivation, Hyperfunction, Padding, Rewriter, Squash, TensorType,
    };
    use crate::reference;

    /// Numbers that fill the range from -1 to 1 differently for each output.
    fn uneven(shape: &[usize], axis: usize) -> Tensor {
        let inner: usize = shape[axis + 1..].iter().product();
        let number = |i: usize| {
            let output = (i / inner % shape[axis]) as f32;
            ((i * 37 % 201) as f32 / 100.0 - 1.0) * 4f32.powf(output % 5.0 - 2.0)
        };
        Tensor::new(shape, (0..shape.iter().product()).map(number).collect::<Vec<f32>>()).unwrap()
    }

    #[test]
    fn weights_are_within_half_a_step_of_the_largest_of_their_output() {
        for (shape, axis) in [(vec![17, 9, 3, 3], 0), (vec![70, 16], 1), (vec![2, 130, 5], 1)] {
            let weights = uneven(&shape, axis);
            let (integers, scales) = rounded(&weights, axis).unwrap();
            assert_eq!(integers.shape(), shape);
            let inner: usize = shape[axis + 1..].iter().product();
            let (scales, numbers) = (scales.as_f32().unwrap(), weights.as_f32().unwrap());
            let mut largest = vec![0i8; shape[axis]];
            for (i, (&q, &w)) in integers.as_slice::<i8>().unwrap().iter().zip(numbers).enumerate()
            {
                let output = i / inner % shape[axis];
                assert!((f32::from(q) * scales[output] - w).abs() <= 0.5001 * scales[output]);
                largest[output] = largest[output].max(q.abs());
            }
            assert!(largest.iter().all(|&q| q == 127), "{largest:?}");
        }
    }

    #[test]
    fn small_tensors_and_numbers_that_are_not_finite_stay() {
        assert!(rounded(&uneven(&[7, 9], 0), 0).is_none());
        assert!(rounded(&uneven(&[512, 1, 1, 7], 0), 0).is_none());
        let mut numbers = vec![0.5; 2048];
        numbers[77] = f32::NAN;
        assert!(rounded(&Tensor::new(&[2, 1024], numbers.clone()).unwrap(), 0).is_none());
        numbers[77] = 0.25;
        assert!(rounded(&Tensor::new(&[2, 1024], numbers).unwrap(), 0).is_some());
        assert!(rounded(&Tensor::new(&[0, 1024], Vec::<f32>::new()).unwrap(), 0).is_none());
    }

    #[test]
    fn outputs_without_weights_and_subnormal_ones_are_zero() {
        let numbers = [vec![0f32; 1024], vec![f32::MIN_POSITIVE; 1024], vec![0.5; 1024]].concat();
        let (integers, scales) = rounded(&Tensor::new(&[3, 1024], numbers).unwrap(), 0).unwrap();
        assert_eq!(scales.as_f32().unwrap(), [0.0, 0.0, 0.5 / 127.0]);
        let integers = integers.as_slice::<i8>().unwrap();
        assert!(
            integers[..2048].iter().all(|&q| q == 0) && integers[2048..].iter().all(|&q| q == 127)
        );
    }

    fn convolution() -> Op {
        let padding = Padding::SameUpper;
        Op::Conv(Conv { padding, strides: vec![], dilations: vec![], groups: 1 })
    }

    /// A network of all layers with weights, two of which share them.
    fn layers() -> (Graph, Vec<Tensor>) {
        let mut graph = Graph::new("layers");
        let shapes: [&[usize]; 3] = [&[1, 16, 5, 5], &[3, 40], &[1, 32]];
        let inputs: Vec<Tensor> = shapes.iter().map(|shape| uneven(shape, 1)).collect();
        let mut values = inputs
            .iter()
            .zip(["map", "rows", "context"])
            .map(|(tensor, name)| graph.add_input(name, TensorType::from_tensor(tensor)));
        let (map, rows, context) =
            (values.next().unwrap(), values.next().unwrap(), values.next().unwrap());
        drop(values);
        let shared = graph.add_constant("shared", uneven(&[16, 16, 3, 3], 0));
        let dense = graph.add_constant("dense", uneven(&[50, 40], 0));
        let matrix = graph.add_constant("matrix", uneven(&[40, 30], 1));
        let fc1 = graph.add_constant("fc1", uneven(&[33, 32], 0));
        let fc2 = graph.add_constant("fc2", uneven(&[64, 33], 0));
        let first = graph.apply("first", convolution(), &[map, shared]);
        let second = graph.apply("second", convolution(), &[first, shared]);
        let gemm = Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true };
        let gemm = graph.apply("gemm", Op::Gemm(gemm), &[rows, dense]);
        let product = graph.apply("product", Op::MatMul, &[rows, matrix]);
        let coefficients = graph.add_value("coefficients");
        graph.add_node(Node {
            name: "coefficients".into(),
            op: Op::Hyperfunction(Hyperfunction {
                k: 2,
                hidden: HiddenActivation::Relu,
                squash: Squash::Sigmoid,
                init: vec![1.0, 0.0, 0.0, 0.0],
                lambda: vec![1.0, 1.0, 0.5, 0.5],
            }),
            inputs: vec![Some(context), Some(fc1), None, Some(fc2), None],
            outputs: vec![Some(coefficients)],
        });
        graph.set_outputs(vec![second, gemm, product, coefficients]);
        (graph, inputs)
    }

    #[test]
    fn every_layer_reads_its_rounded_weights() {
        let (mut graph, inputs) = layers();
        let expected = reference::run(&graph, &inputs).unwrap();
        let operators = |graph: &Graph| -> Vec<&str> {
            graph.nodes().iter().map(|node| node.op.name()).collect()
        };
        let before: Vec<String> = operators(&graph).into_iter().map(String::from).collect();
        assert_eq!(weights_in_eight_bits(&mut graph).unwrap(), 5);
        let constants = graph.values().iter().filter_map(|value| value.constant.as_ref());
        let types = constants.filter(|tensor| tensor.len() >= 1000).map(Tensor::dtype);
        assert_eq!(types.collect::<Vec<_>>(), [DType::I8; 5]);
        let found = reference::run(&graph, &inputs).unwrap();
        for (found, expected) in found.iter().zip(&expected) {
            let (found, expected) = (found.as_f32().unwrap(), expected.as_f32().unwrap());
            let largest = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
            let moved = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
            let moved = moved.fold(0f32, f32::max) / largest;
            assert!(moved > 0.0 && moved < 0.02, "{moved}");
        }
        let mut rewriter = Rewriter::new(&mut graph).unwrap();
        simplify(&mut rewriter).unwrap();
        rewriter.finish().unwrap();
        assert_eq!(operators(&graph), before);
        assert_eq!(
            reference::run(&graph, &inputs).unwrap()[0].as_f32().unwrap(),
            found[0].as_f32().unwrap()
        );
    }
}
