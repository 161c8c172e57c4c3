//! Moves permutations of channels to where they cost nothing: behind a Dynamic Shift-Max, whose step
//! writes its results in any order.
//!
//! A convolution with a group per channel and a function of single elements give the same channels in
//! another order if they read them in another order. A Shift-Max does so as well, with its coefficients
//! and the channels that it reads renamed. MicroNet (Li et al., ICCV 2021) has permutations before such
//! chains, and permutations of permutations.

use super::channel_shuffle::permutation;
use crate::error::Result;
use crate::graph::{NodeId, Op, Rewriter, ShiftMax, ValueId};
use crate::tensor::{DType, Tensor};

/// Moves every permutation that leads to a Shift-Max behind it, and joins successive permutations.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub fn delay_permutations(graph: &mut Rewriter) -> Result<()> {
    for id in graph.node_ids() {
        delay(graph, id);
    }
    graph.commit()?;
    for id in graph.node_ids() {
        join(graph, id);
    }
    graph.commit().map(|_| ())
}

/// Numbers in another order: number `c` comes to place `order[c]`, in blocks of `size`.
fn reordered(order: &[usize], size: usize, numbers: &[f32]) -> Vec<f32> {
    let mut result = vec![0.0; numbers.len()];
    for (&to, block) in order.iter().zip(numbers.chunks_exact(size)) {
        result[to * size..][..size].copy_from_slice(block);
    }
    result
}

/// What changes if a Shift-Max reads channel `order[c]` in place of channel `c`.
struct Delayed {
    /// Convolutions of the chain, with what their weights and biases become.
    convolutions: Vec<(NodeId, Vec<Option<Tensor>>)>,
    /// The first node of the chain, or the Shift-Max itself and the pooling of its context.
    readers: Vec<NodeId>,
    shift_max: NodeId,
    hyperfunction: NodeId,
    /// Values whose channels have another order then.
    values: Vec<ValueId>,
    /// The order of the channels that the Shift-Max reads.
    order: Vec<usize>,
}

fn delay(graph: &mut Rewriter, id: NodeId) -> Option<()> {
    let (x, order) = permutation(graph, id)?;
    let permuted = graph.node(id).output();
    let Delayed { convolutions, readers, shift_max, hyperfunction, values, order } =
        follow(graph, permuted, order)?;
    let layers = permuted_layers(graph, hyperfunction, &order)?;
    let Op::ShiftMax(ShiftMax { k, source }) = &graph.node(shift_max).op else { return None };
    let mut renamed = vec![0; source.len()];
    for (&to, &from) in order.iter().zip(source) {
        renamed[to] = order[from];
    }
    let op = Op::ShiftMax(ShiftMax { k: *k, source: renamed });

    for reader in readers {
        graph.edit(reader, |node| {
            node.inputs.iter_mut().filter(|i| **i == Some(permuted)).for_each(|i| *i = Some(x));
        });
    }
    for value in values {
        graph.rename(value, format!("{}.reordered", graph.graph().value(value).name));
    }
    for (conv, tensors) in convolutions {
        replace_constants(graph, conv, 1, tensors);
    }
    replace_constants(graph, hyperfunction, 1, layers);
    let node = graph.node(shift_max);
    let (name, inputs) = (node.name.clone(), node.inputs.clone());
    let y = graph.apply_to(name, op, inputs);
    let indices: Vec<i64> = order.iter().map(|&channel| channel as i64).collect();
    let name = format!("{}.channels", graph.node(shift_max).name);
    let indices = graph.add_constant(name.clone(), Tensor::vector(indices));
    graph.edit(shift_max, |node| {
        node.name = name;
        node.op = Op::Gather { axis: 1 };
        node.inputs = vec![Some(y), Some(indices)];
    });
    Some(())
}

/// Follows the map `value`, whose channel `c` is channel `order[c]` of another one, to a Shift-Max that
/// alone reads it together with its context.
fn follow(graph: &Rewriter, mut value: ValueId, mut order: Vec<usize>) -> Option<Delayed> {
    let (mut convolutions, mut readers, mut values) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(next) = graph.links().only_reader(value) {
        let node = graph.node(next);
        if node.input(0) != Some(value) {
            return None;
        }
        match &node.op {
            Op::Unary(_) | Op::Clip => {}
            Op::Conv(conv) if conv.groups == order.len() => {
                let weight = graph.constant(node.input(1)?)?;
                let outputs = *weight.shape().first()?;
                let each = outputs.checked_div(order.len()).filter(|&each| each > 0)?;
                let permute = |input: usize| {
                    let tensor = graph.constant(node.input(input)?)?;
                    let size = tensor.len() / order.len();
                    let numbers = reordered(&order, size, tensor.as_f32().ok()?);
                    Tensor::new(tensor.shape(), numbers).ok()
                };
                let mut tensors = vec![Some(permute(1)?)];
                if node.input(2).is_some() {
                    tensors.push(Some(permute(2)?));
                }
                convolutions.push((next, tensors));
                let blocks = order.iter().flat_map(|&to| to * each..(to + 1) * each);
                order = blocks.collect();
            }
            _ => return None,
        }
        if readers.is_empty() {
            readers.push(next);
        }
        value = node.output();
        values.push(value);
    }
    let &[a, b] = graph.links().consumers(value) else { return None };
    let is_shift_max = |id: NodeId| matches!(graph.node(id).op, Op::ShiftMax(_));
    let (shift_max, pool) = if is_shift_max(a) { (a, b) } else { (b, a) };
    let pools = matches!(graph.node(pool).op, Op::GlobalPool(_));
    if !is_shift_max(shift_max) || !pools || graph.links().is_output(value) {
        return None;
    }
    let hyperfunction = graph.links().only_reader(graph.node(pool).output())?;
    let coefficients = graph.node(hyperfunction).output();
    let node = graph.node(shift_max);
    let fits = matches!(graph.node(hyperfunction).op, Op::Hyperfunction(_))
        && graph.node(hyperfunction).input(0) == Some(graph.node(pool).output())
        && graph.links().only_reader(coefficients) == Some(shift_max)
        && (node.input(0), node.input(1)) == (Some(value), Some(coefficients));
    if readers.is_empty() {
        readers.extend([shift_max, pool]);
    }
    values.extend([graph.node(pool).output(), coefficients]);
    fits.then_some(Delayed { convolutions, readers, shift_max, hyperfunction, values, order })
}

/// Returns the constant inputs of a hyperfunction that change for channels in another order, from the first
/// layer's weights on.
fn permuted_layers(graph: &Rewriter, id: NodeId, order: &[usize]) -> Option<Vec<Option<Tensor>>> {
    let node = graph.node(id);
    let constant = |input: usize| {
        let Some(value) = node.input(input) else { return Some(None) };
        graph.constant(value).filter(|tensor| tensor.dtype() == DType::F32).map(Some)
    };
    let columns = |tensor: &Tensor| {
        let rows = tensor.as_f32().ok()?.chunks_exact(order.len());
        let numbers = rows.flat_map(|row| reordered(order, 1, row)).collect::<Vec<f32>>();
        Tensor::new(tensor.shape(), numbers).ok()
    };
    let Op::Hyperfunction(op) = &node.op else { return None };
    let rows = |tensor: &Tensor| {
        // Coefficients that all channels share stay as they are.
        if *tensor.shape().first()? == op.init.len() {
            return Some(tensor.clone());
        }
        let numbers = tensor.as_f32().ok()?;
        let coefficients = numbers.chunks_exact(numbers.len() / op.init.len());
        let size = numbers.len() / op.init.len() / order.len();
        let numbers = coefficients.flat_map(|rows| reordered(order, size, rows)).collect();
        Tensor::new::<f32>(tensor.shape(), numbers).ok()
    };
    let (first, second) = (constant(1)?, constant(3)??);
    let (first, second) = match first {
        Some(first) => (Some(columns(first)?), rows(second)?),
        None => (None, rows(&columns(second)?)?),
    };
    let second_bias = match constant(4)? {
        Some(bias) => Some(rows(bias)?),
        None => None,
    };
    // The biases of the first layer stay as they are.
    Some(vec![first, None, Some(second), second_bias])
}

/// Replaces the inputs of a node from number `first` on by constants.
fn replace_constants(graph: &mut Rewriter, id: NodeId, first: usize, tensors: Vec<Option<Tensor>>) {
    for (input, tensor) in (first..).zip(tensors) {
        let Some(tensor) = tensor else { continue };
        let name = format!("{}.{input}.permuted", graph.node(id).name);
        let value = graph.add_constant(name, tensor);
        graph.edit(id, |node| node.inputs[input] = Some(value));
    }
}

/// Replaces a permutation of a permutation by one.
fn join(graph: &mut Rewriter, id: NodeId) -> Option<()> {
    let (y, second) = permutation(graph, id)?;
    let (x, first) = permutation(graph, graph.links().producer(y)?)?;
    let indices: Vec<i64> = second.iter().map(|&channel| first[channel] as i64).collect();
    if indices.iter().copied().eq(0..indices.len() as i64) {
        let output = graph.node(id).output();
        graph.take_over(output, x);
        return Some(());
    }
    let indices =
        graph.add_constant(format!("{}.channels", graph.node(id).name), Tensor::vector(indices));
    graph.edit(id, |node| node.inputs = vec![Some(x), Some(indices)]);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{CHANNELS, Net};
    use super::*;
    use crate::graph::{Conv, HiddenActivation, Hyperfunction, Padding, PoolKind, Squash, Unary};

    const HIDDEN: usize = 4;

    fn wave(net: &mut Net, shape: &[usize], frequency: f32) -> ValueId {
        let count = shape.iter().product();
        let numbers = (0..count).map(|i: usize| (0.3 + i as f32 * frequency).sin()).collect();
        net.constant(Tensor::new(shape, numbers).unwrap())
    }

    fn permuted(net: &mut Net, x: ValueId, order: &[i64]) -> ValueId {
        let order = net.constant(Tensor::vector(order.to_vec()));
        net.apply(Op::Gather { axis: 1 }, &[x, order])
    }

    /// A convolution with a group per channel, of `each` outputs.
    fn depthwise(net: &mut Net, x: ValueId, channels: usize, each: usize) -> ValueId {
        let padding = Padding::Explicit(vec![1, 0, 1, 0]);
        let conv = Conv { padding, strides: vec![], dilations: vec![], groups: channels };
        let weight = wave(net, &[channels * each, 1, 3, 1], 0.7);
        let bias = wave(net, &[channels * each], 0.9);
        net.apply(Op::Conv(conv), &[x, weight, bias])
    }

    /// A Shift-Max with a hidden layer or without, and with coefficients of every channel or shared ones.
    fn shift_max(
        net: &mut Net,
        x: ValueId,
        channels: usize,
        is_hidden: bool,
        each: usize,
    ) -> ValueId {
        let op = Hyperfunction {
            k: 2,
            hidden: HiddenActivation::Relu,
            squash: Squash::Sigmoid,
            init: vec![1.0, 0.0, 0.5, 0.0],
            lambda: vec![1.0, 1.0, 0.5, 0.5],
        };
        let context = net.apply(Op::GlobalPool(PoolKind::Average), &[x]);
        let first = is_hidden
            .then(|| [wave(net, &[HIDDEN, channels], 0.4), wave(net, &[HIDDEN], 0.8)].map(Some));
        let [weight, bias] = first.unwrap_or_default();
        let inputs = if is_hidden { HIDDEN } else { channels };
        let second = [wave(net, &[4 * each, inputs], 0.6), wave(net, &[4 * each], 0.2)];
        let inputs = vec![Some(context), weight, bias, Some(second[0]), Some(second[1])];
        let coefficients = net.apply_to(Op::Hyperfunction(op), inputs);
        let source = (0..channels).map(|c| (c + 2) % channels).collect();
        net.apply(Op::ShiftMax(ShiftMax { k: 2, source }), &[x, coefficients])
    }

    fn names(net: Net, y: ValueId) -> Vec<&'static str> {
        net.rewritten(y, delay_permutations).iter().map(Op::name).collect()
    }

    #[test]
    fn a_permutation_moves_behind_a_shift_max() {
        for (is_hidden, is_shared) in [(true, false), (false, false), (true, true)] {
            let mut net = Net::new();
            let x = net.x;
            let y = permuted(&mut net, x, &[1, 2, 0]);
            let y = depthwise(&mut net, y, CHANNELS, 2);
            let y = net.apply(Op::Unary(Unary::Relu), &[y]);
            let y = depthwise(&mut net, y, 2 * CHANNELS, 1);
            let each = if is_shared { 1 } else { 2 * CHANNELS };
            let y = shift_max(&mut net, y, 2 * CHANNELS, is_hidden, each);
            let y = permuted(&mut net, y, &[5, 3, 0, 1, 4, 2]);
            let names = names(net, y);
            let gathers = names.iter().filter(|&&name| name == "Gather").count();
            assert_eq!((gathers, names.last()), (1, Some(&"Gather")), "{names:?}");
        }
    }

    #[test]
    fn a_shift_max_that_reads_a_permutation_itself() {
        let mut net = Net::new();
        let x = net.x;
        let y = permuted(&mut net, x, &[1, 2, 0]);
        let y = shift_max(&mut net, y, CHANNELS, true, CHANNELS);
        assert_eq!(names(net, y).last(), Some(&"Gather"));
    }

    #[test]
    fn a_permutation_and_its_inverse_are_nothing() {
        let mut net = Net::new();
        let y = net.apply(Op::Unary(Unary::Relu), &[net.x]);
        let y = permuted(&mut net, y, &[1, 2, 0]);
        let y = permuted(&mut net, y, &[2, 0, 1]);
        assert_eq!(names(net, y), ["Relu"]);
    }

    #[test]
    fn other_readers_keep_a_permutation() {
        let mut net = Net::new();
        let x = net.x;
        let permuted = permuted(&mut net, x, &[1, 2, 0]);
        let y = shift_max(&mut net, permuted, CHANNELS, true, CHANNELS);
        let y = net.apply(Op::Binary(crate::graph::Binary::Add), &[y, permuted]);
        assert_eq!(names(net, y).iter().position(|&name| name == "Gather"), Some(0));
    }
}
