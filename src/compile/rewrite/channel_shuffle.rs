//! Rewrites channel shuffles as permutations of channels.
//!
//! A shuffle (Zhang et al., *ShuffleNet*) is exported as a reshape, which splits the axis of the
//! channels in two, a transpose of the two, and a reshape back. It becomes a `Gather` with constant
//! indices, which is folded into the weights of the dense convolution before or behind it.

use crate::error::Result;
use crate::graph::predicates::axis_from_front;
use crate::graph::{Dim, Graph, NodeId, Op, Rewriter, ValueId};
use crate::tensor::{DType, Tensor};

/// Rewrites and folds every channel shuffle.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub fn channel_shuffle(graph: &mut Rewriter) -> Result<()> {
    for id in graph.node_ids() {
        let _ = shuffle(graph, id).or_else(|| half_shuffle(graph, id));
    }
    graph.commit()?;
    for id in graph.node_ids() {
        let _ = into_next(graph, id).or_else(|| into_previous(graph, id));
    }
    graph.commit().map(|_| ())
}

/// The input and the permutation of the transpose that computes `value` through a reshape.
struct Transposed {
    x: ValueId,
    perm: Vec<usize>,
    /// The input of the transpose.
    split: ValueId,
}

fn transposed(graph: &Rewriter, reshape: NodeId) -> Option<Transposed> {
    let node = graph.node(reshape);
    let Op::Reshape { .. } = node.op else { return None };
    let transpose = graph.node(graph.links().producer(node.input(0)?)?);
    let Op::Transpose { perm } = &transpose.op else { return None };
    let split = transpose.input(0)?;
    let first = graph.node(graph.links().producer(split)?);
    let Op::Reshape { .. } = first.op else { return None };
    Some(Transposed { x: first.input(0)?, perm: perm.clone(), split })
}

fn dims<'g>(graph: &'g Rewriter, value: ValueId) -> Option<&'g [Dim]> {
    graph.types().get(value).map(|ty| ty.dims.as_slice())
}

/// `[N,C,H,W]` to `[N,g,C/g,H,W]` or `[N,g,C/g,HW]`, transposed, and back.
fn shuffle(graph: &mut Rewriter, id: NodeId) -> Option<()> {
    let Transposed { x, perm, split } = transposed(graph, id)?;
    let output = graph.node(id).output();
    let (from, parts) = (dims(graph, x)?, dims(graph, split)?);
    let ([n, c, h, w], [images, groups, each, space @ ..]) = (from, parts) else {
        return None;
    };
    let (groups, each) = (groups.as_size()?, each.as_size()?);
    let splits_channels = images == n && groups.checked_mul(each) == c.as_size();
    let keeps_space = match space {
        [_] => perm == [0, 2, 1, 3],
        [height, width] => [height, width] == [h, w] && perm == [0, 2, 1, 3, 4],
        _ => false,
    };
    if !splits_channels || !keeps_space || dims(graph, output)? != from || groups * each == 0 {
        return None;
    }
    let indices = (0..groups * each).map(|to| to % groups * each + to / groups);
    gather(graph, id, x, indices.collect())
}

/// One half of a map whose images were merged with the channels: `[1,C,H,W]` to `[C/g,g,HW]`,
/// transposed, to `[g,1,C/g,H,W]`, of which one entry is taken.
fn half_shuffle(graph: &mut Rewriter, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let Op::Gather { axis: 0 } = node.op else { return None };
    let index = graph.constant(node.input(1)?).filter(|index| index.shape().is_empty())?;
    let (index, output) = (index.to_i64s().ok()?[0], node.output());
    let halves = node.input(0)?;
    let Transposed { x, perm, split } = transposed(graph, graph.links().producer(halves)?)?;
    let (from, parts) = (dims(graph, x)?, dims(graph, split)?);
    let (halves, to) = (dims(graph, halves)?, dims(graph, output)?);
    let ([n, c, h, w], [each, groups, _]) = (from, parts) else {
        return None;
    };
    let (one, count) = (Dim::from(1), groups.as_size()?);
    let fits = *n == one
        && perm == [1, 0, 2]
        && each.as_size()?.checked_mul(count) == c.as_size()
        && halves == [groups.clone(), one.clone(), each.clone(), h.clone(), w.clone()]
        && to == [one, each.clone(), h.clone(), w.clone()];
    let index = axis_from_front(index, count)?;
    if !fits {
        return None;
    }
    let indices = (0..each.as_size()?).map(|to| to * count + index).collect();
    gather(graph, id, x, indices)
}

/// Makes a node the one that gathers the channels `indices` of `x`.
fn gather(graph: &mut Rewriter, id: NodeId, x: ValueId, indices: Vec<usize>) -> Option<()> {
    let numbers: Vec<i64> = indices.into_iter().map(|index| index as i64).collect();
    let name = format!("{}.channels", graph.node(id).name);
    let indices = graph.add_constant(name, Tensor::vector(numbers));
    graph.edit(id, |node| {
        node.op = Op::Gather { axis: 1 };
        node.inputs = vec![Some(x), Some(indices)];
    });
    Some(())
}

/// The input and the indices of a `Gather` that permutes the channels of a map.
pub(super) fn permutation(graph: &Rewriter, id: NodeId) -> Option<(ValueId, Vec<usize>)> {
    let node = graph.node(id);
    let Op::Gather { axis: 1 } = node.op else { return None };
    let (x, output) = (node.input(0)?, node.output());
    let (from, to) = (dims(graph, x)?, dims(graph, output)?);
    let indices = graph.constant(node.input(1)?)?.to_i64s().ok()?;
    let indices: Vec<usize> =
        indices.iter().map(|&index| usize::try_from(index).ok()).collect::<Option<_>>()?;
    let mut sorted = indices.clone();
    sorted.sort_unstable();
    let is_permutation = sorted.iter().copied().eq(0..from.get(1)?.as_size()?);
    (from.len() == 4 && from == to && is_permutation).then_some((x, indices))
}

/// Whether `node` is a convolution in one group with constant weights.
fn is_dense(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    let weight = node.input(1).and_then(|weight| graph.constant(weight));
    let is_f32 = weight.is_some_and(|weight| weight.dtype() == DType::F32 && !weight.is_empty());
    matches!(&node.op, Op::Conv(conv) if conv.groups == 1) && is_f32
}

/// Permutes the columns of the weights of the dense convolution that alone reads a permuted map.
fn into_next(graph: &mut Rewriter, id: NodeId) -> Option<()> {
    let (x, indices) = permutation(graph, id)?;
    let conv = graph.links().only_reader(graph.node(id).output())?;
    if !is_dense(graph, conv) || graph.node(conv).input(0) != Some(graph.node(id).output()) {
        return None;
    }
    let weight = graph.constant(graph.node(conv).input(1)?)?;
    let &[outputs, channels, ..] = weight.shape() else { return None };
    let (taps, data) = (weight.len() / (outputs * channels), weight.as_f32().ok()?);
    let mut permuted = vec![0.0; data.len()];
    let rows = data.chunks(channels * taps).zip(permuted.chunks_mut(channels * taps));
    for (from, to) in rows {
        for (from, &channel) in from.chunks(taps).zip(&indices) {
            to[channel * taps..][..taps].copy_from_slice(from);
        }
    }
    let weight = Tensor::new(weight.shape(), permuted).ok()?;
    let weight = graph.add_constant(format!("{}.weight", graph.node(conv).name), weight);
    graph.edit(conv, |node| (node.inputs[0], node.inputs[1]) = (Some(x), Some(weight)));
    Some(())
}

/// Permutes the rows of the weights of the dense convolution that computes a map, through functions of
/// one element.
fn into_previous(graph: &mut Rewriter, id: NodeId) -> Option<()> {
    let (x, indices) = permutation(graph, id)?;
    let mut value = x;
    let conv = loop {
        graph.links().only_reader(value)?;
        let producer = graph.links().producer(value)?;
        match graph.node(producer).op {
            Op::Unary(_) | Op::Clip => value = graph.node(producer).input(0)?,
            _ => break producer,
        }
    };
    if !is_dense(graph, conv) {
        return None;
    }
    let rows = |tensor: &Tensor| {
        let (count, data) = (*tensor.shape().first()?, tensor.as_f32().ok()?);
        let row = data.len().checked_div(count)?;
        let permuted = indices.iter().flat_map(|&from| &data[from * row..][..row]);
        (count == indices.len())
            .then(|| Tensor::new(tensor.shape(), permuted.copied().collect::<Vec<f32>>()).ok())?
    };
    let node = graph.node(conv);
    let weight = rows(graph.constant(node.input(1)?)?)?;
    let bias = match node.input(2) {
        Some(bias) => Some(rows(graph.constant(bias)?)?),
        None => None,
    };
    let name = node.name.clone();
    let mut inputs =
        vec![node.inputs[0], Some(graph.add_constant(format!("{name}.weight"), weight))];
    inputs.extend(bias.map(|bias| Some(graph.add_constant(format!("{name}.bias"), bias))));
    graph.edit(conv, |node| node.inputs = inputs);
    let output = graph.node(id).output();
    graph.take_over(output, x);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::alone;
    use super::*;
    use crate::graph::{Conv, Padding, TensorType, Unary};
    use crate::reference;

    fn wave(shape: &[usize]) -> Tensor {
        let count = shape.iter().product();
        Tensor::new(shape, (0..count).map(|i: usize| (i as f32 * 0.7).sin()).collect()).unwrap()
    }

    /// Runs the pass, checks that results stay the same, and returns the names of the operators.
    fn rewritten(mut graph: Graph, images: usize) -> Vec<&'static str> {
        let x = [wave(&[images, 6, 2, 5])];
        let want = reference::run(&graph, &x).unwrap();
        alone(&mut graph, channel_shuffle);
        let got = reference::run(&graph, &x).unwrap();
        for (got, want) in got[0].as_f32().unwrap().iter().zip(want[0].as_f32().unwrap()) {
            assert!((got - want).abs() <= 1e-5, "{got}, expected {want}");
        }
        graph.nodes().iter().map(|node| node.op.name()).collect()
    }

    fn input(images: Dim) -> (Graph, ValueId) {
        let mut g = Graph::new("t");
        let dims = vec![images, 6.into(), 2.into(), 5.into()];
        let x = g.add_input("x", TensorType { dtype: DType::F32, dims });
        (g, x)
    }

    fn reshape(g: &mut Graph, x: ValueId, shape: &[i64]) -> ValueId {
        let name = format!("v{}", g.values().len());
        let shape = g.add_constant(format!("{name}.shape"), Tensor::vector(shape.to_vec()));
        g.apply(name, Op::Reshape { allow_zero: false }, &[x, shape])
    }

    fn shuffled(g: &mut Graph, x: ValueId, space: &[i64]) -> ValueId {
        let split = reshape(g, x, &[&[0, 2, 3], space].concat());
        let perm = [&[0, 2, 1][..], &[3, 4][..space.len()]].concat();
        let name = format!("v{}", g.values().len());
        let transposed = g.apply(name, Op::Transpose { perm }, &[split]);
        reshape(g, transposed, &[-1, 6, 2, 5])
    }

    fn convolved(g: &mut Graph, x: ValueId, groups: usize) -> ValueId {
        let conv = Conv {
            padding: Padding::Explicit(vec![1, 1, 1, 1]),
            strides: vec![],
            dilations: vec![],
            groups,
        };
        let name = format!("v{}", g.values().len());
        let weight = g.add_constant(format!("{name}.weight"), wave(&[6, 6 / groups, 3, 3]));
        let bias = g.add_constant(format!("{name}.bias"), wave(&[6]));
        g.apply(name, Op::Conv(conv), &[x, weight, bias])
    }

    #[test]
    fn a_shuffle_between_other_operators_is_a_permutation() {
        for space in [&[2, 5][..], &[10]] {
            let (mut g, x) = input(Dim::symbol("N"));
            let y = shuffled(&mut g, x, space);
            g.set_outputs(vec![y]);
            assert_eq!(rewritten(g, 3), ["Gather"]);
        }
    }

    #[test]
    fn dense_convolutions_take_a_permutation() {
        let (mut g, x) = input(Dim::symbol("N"));
        let y = shuffled(&mut g, x, &[2, 5]);
        let y = convolved(&mut g, y, 1);
        g.set_outputs(vec![y]);
        assert_eq!(rewritten(g, 3), ["Conv"]);

        let (mut g, x) = input(Dim::symbol("N"));
        let y = convolved(&mut g, x, 1);
        let y = g.apply("relu", Op::Unary(Unary::Relu), &[y]);
        let y = shuffled(&mut g, y, &[2, 5]);
        let y = convolved(&mut g, y, 2);
        g.set_outputs(vec![y]);
        assert_eq!(rewritten(g, 3), ["Conv", "Relu", "Conv"]);
    }

    #[test]
    fn convolutions_in_groups_do_not() {
        let (mut g, x) = input(Dim::symbol("N"));
        let y = convolved(&mut g, x, 2);
        let y = shuffled(&mut g, y, &[2, 5]);
        let y = convolved(&mut g, y, 3);
        g.set_outputs(vec![y]);
        assert_eq!(rewritten(g, 3), ["Conv", "Gather", "Conv"]);
    }

    #[test]
    fn halves_of_a_single_image_are_gathered() {
        let (mut g, x) = input(1.into());
        let split = reshape(&mut g, x, &[3, 2, 10]);
        let transposed = g.apply("transposed", Op::Transpose { perm: vec![1, 0, 2] }, &[split]);
        let halves = reshape(&mut g, transposed, &[2, -1, 3, 2, 5]);
        let one = g.add_constant("one", Tensor::scalar(-1i64));
        let y = g.apply("half", Op::Gather { axis: 0 }, &[halves, one]);
        g.set_outputs(vec![y]);
        assert_eq!(rewritten(g, 1), ["Gather"]);
    }

    #[test]
    fn other_transposes_stay() {
        let (mut g, x) = input(Dim::symbol("N"));
        let split = reshape(&mut g, x, &[0, 3, 2, 2, 5]);
        let perm = vec![0, 2, 1, 4, 3];
        let transposed = g.apply("transposed", Op::Transpose { perm }, &[split]);
        let y = reshape(&mut g, transposed, &[-1, 6, 2, 5]);
        g.set_outputs(vec![y]);
        assert_eq!(rewritten(g, 3), ["Reshape", "Transpose", "Reshape"]);
    }
}
