//! Rewrites Maxout as a maximum of convolutions.
//!
//! Maxout (Goodfellow et al., ICML 2013) is a maximum over K groups of outputs of one convolution. This
//! pass splits the convolution into K, each of which computes the maximum with the result of the
//! previous one as its epilogue. The map of all K groups is then never in memory.

use crate::error::Result;
use crate::graph::predicates::axis_from_front;
use crate::graph::{Dim, NodeId, Op, ReduceKind, Rewriter, ValueId, Variadic};
use crate::tensor::Tensor;

/// Splits every convolution whose output only goes to a Maxout.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub fn split_maxout(graph: &mut Rewriter) -> Result<()> {
    for id in graph.node_ids() {
        split(graph, id);
    }
    graph.commit().map(|_| ())
}

fn split(graph: &mut Rewriter, id: NodeId) -> Option<()> {
    let Groups { map, pieces, channels, piece_stride, channel_stride } =
        stacked(graph, id).or_else(|| side_by_side(graph, id))?;
    let maximum = graph.node(id);
    let layer = graph.node(read_by_one(graph, map)?);
    let Op::Conv(conv) = layer.op.clone() else { return None };
    if conv.groups != 1 {
        return None;
    }
    let x = layer.input(0)?;
    let weight = graph.constant(layer.input(1)?)?.clone();
    let bias = match layer.input(2) {
        Some(bias) => Some(graph.constant(bias)?.clone()),
        None => None,
    };
    let (name, output) = (maximum.name.clone(), maximum.output());
    let part = |tensor: &Tensor, piece: usize| {
        let (rows, data) = (tensor.shape().first()?, tensor.as_f32().ok()?);
        let row = data.len().checked_div(*rows)?;
        let of = |c| piece * piece_stride + c * channel_stride;
        let chosen = (0..channels).flat_map(|c| &data[of(c) * row..][..row]);
        let shape = [&[channels], &tensor.shape()[1..]].concat();
        Tensor::new(&shape, chosen.copied().collect::<Vec<f32>>()).ok()
    };
    let mut best: Option<ValueId> = None;
    for piece in 0..pieces {
        let constants = [Some(part(&weight, piece)?), bias.as_ref().and_then(|b| part(b, piece))];
        let mut inputs = vec![x];
        for (tensor, kind) in constants.into_iter().zip(["weight", "bias"]) {
            inputs.extend(tensor.map(|t| graph.add_constant(format!("{name}.{piece}.{kind}"), t)));
        }
        let map = graph.apply(format!("{name}.{piece}"), Op::Conv(conv.clone()), &inputs);
        best = Some(match best {
            Some(best) => {
                let last = piece + 1 == pieces;
                let name = if last { name.clone() } else { format!("{name}.{piece}.max") };
                graph.apply(name, Op::Variadic(Variadic::Max), &[map, best])
            }
            None => map,
        });
    }
    graph.take_over(output, best?);
    Some(())
}

/// How the outputs of a convolution fall into the pieces of a Maxout.
struct Groups {
    /// The output of the convolution.
    map: ValueId,
    pieces: usize,
    /// The channels of a piece. Channel `c` of piece `k` is output `k * piece_stride +
    /// c * channel_stride` of the convolution.
    channels: usize,
    piece_stride: usize,
    channel_stride: usize,
}

/// Returns the groups of a maximum over an axis of a map whose channels a reshape has cut into two axes.
fn stacked(graph: &Rewriter, id: NodeId) -> Option<Groups> {
    let maximum = graph.node(id);
    let Op::Reduce(reduce) = &maximum.op else { return None };
    if reduce.kind != ReduceKind::Max || reduce.keep_dims {
        return None;
    }
    let grouped = maximum.input(0)?;
    let [axis] = graph.constant(maximum.input(1)?)?.to_i64s().ok()?[..] else { return None };
    let reshape = read_by_one(graph, grouped)?;
    let Op::Reshape { .. } = &graph.node(reshape).op else { return None };
    let map = graph.node(reshape).input(0)?;
    let (from, to) = (&graph.types().get(map)?.dims, &graph.types().get(grouped)?.dims);
    let (&[images, outputs, height, width], &[n, a, b, h, w]) =
        (&from.iter().collect::<Vec<_>>()[..], &to.iter().collect::<Vec<_>>()[..])
    else {
        return None;
    };
    let (outputs, a, b) = (outputs.as_size()?, a.as_size()?, b.as_size()?);
    let keeps_positions = (images, height, width) == (n, h, w);
    if !keeps_positions || a.checked_mul(b) != Some(outputs) {
        return None;
    }
    let (pieces, channels, piece_stride, channel_stride) = match axis {
        1 | -4 => (a, b, b, 1),
        2 | -3 => (b, a, 1, b),
        _ => return None,
    };
    Some(Groups { map, pieces, channels, piece_stride, channel_stride })
}

/// Returns the groups of a maximum of all parts of a map that is cut along the channels, as LightCNN's
/// max-feature-map.
fn side_by_side(graph: &Rewriter, id: NodeId) -> Option<Groups> {
    let maximum = graph.node(id);
    if maximum.op != Op::Variadic(Variadic::Max) {
        return None;
    }
    let cut = graph.node(read_by_one(graph, maximum.input(0)?)?);
    let Op::Split { axis } = cut.op else { return None };
    let map = cut.input(0)?;
    let pieces = cut.outputs.len();
    let mut operands = maximum.inputs.clone();
    operands.sort();
    operands.dedup();
    let is_part = |part: &Option<ValueId>| {
        operands.contains(part) && part.is_some_and(|part| read_by_one(graph, part).is_some())
    };
    let all = operands.len() == pieces && cut.outputs.iter().all(is_part);
    let dims = &graph.types().get(map)?.dims;
    let outputs = dims.get(1)?.as_size()?;
    let channels = outputs.checked_div(pieces)?;
    let is_equal = |part: &Option<ValueId>| {
        let ty = part.and_then(|part| graph.types().get(part));
        ty.is_some_and(|ty| ty.dims.get(1).and_then(Dim::as_size) == Some(channels))
    };
    let along_channels = axis_from_front(axis, dims.len()) == Some(1);
    let fits = all && along_channels && cut.outputs.iter().all(is_equal);
    fits.then_some(Groups { map, pieces, channels, piece_stride: channels, channel_stride: 1 })
}

/// Returns the node that produces `value` if exactly one other node reads it.
fn read_by_one(graph: &Rewriter, value: ValueId) -> Option<NodeId> {
    graph.links().only_reader(value)?;
    graph.links().producer(value)
}

#[cfg(test)]
mod tests {
    use super::super::alone;
    use super::*;
    use crate::graph::{Conv, Dim, Graph, Padding, Reduce, TensorType};
    use crate::reference;
    use crate::tensor::DType;

    /// Returns a network whose convolution has three pieces of two channels as six outputs, with the
    /// pieces along `axis`.
    fn network(axis: i64) -> Graph {
        let mut g = Graph::new("t");
        let dims = vec![Dim::symbol("N"), 2.into(), 3.into(), 5.into()];
        let x = g.add_input("x", TensorType { dtype: DType::F32, dims });
        let wave = |n: usize| (0..n).map(|i| (i as f32 * 0.7).sin()).collect::<Vec<_>>();
        let weight = g.add_constant("w", Tensor::new(&[6, 2, 1, 1], wave(12)).unwrap());
        let bias = g.add_constant("b", Tensor::new(&[6], wave(6)).unwrap());
        let conv = Conv {
            strides: vec![],
            padding: Padding::Explicit(vec![]),
            dilations: vec![],
            groups: 1,
        };
        let map = g.apply("conv", Op::Conv(conv), &[x, weight, bias]);
        let shape: &[i64] = if axis == 1 { &[-1, 3, 2, 3, 5] } else { &[-1, 2, 3, 3, 5] };
        let shape = g.add_constant("shape", Tensor::new(&[5], shape.to_vec()).unwrap());
        let grouped = g.apply("reshape", Op::Reshape { allow_zero: false }, &[map, shape]);
        let axes = g.add_constant("axes", Tensor::new(&[1], vec![axis]).unwrap());
        let reduce =
            Reduce { kind: ReduceKind::Max, keep_dims: false, noop_with_empty_axes: false };
        let y = g.apply("max", Op::Reduce(reduce), &[grouped, axes]);
        g.set_outputs(vec![y]);
        g
    }

    #[test]
    fn the_result_stays_the_same() {
        let wave = (0..60).map(|i| (i as f32 * 1.3).sin()).collect::<Vec<_>>();
        let x = Tensor::new(&[2, 2, 3, 5], wave).unwrap();
        for axis in [1, 2] {
            let plain = network(axis);
            let mut rewritten = plain.clone();
            alone(&mut rewritten, split_maxout);
            assert_eq!(rewritten.nodes().len(), 5, "three convolutions, two maxima");
            let run = |g: &Graph| reference::run(g, std::slice::from_ref(&x)).unwrap().remove(0);
            assert_eq!(run(&rewritten).shape(), [2, 2, 3, 5]);
            assert_eq!(run(&rewritten).as_f32().unwrap(), run(&plain).as_f32().unwrap());
        }
    }

    /// LightCNN's max-feature-map: the maximum of the parts of a split.
    #[test]
    fn parts_of_a_split_are_pieces() {
        let plain = |repeat: bool| {
            let mut g = network(1);
            let map = g.nodes().iter().find(|n| n.name == "conv").unwrap().output();
            let parts = [g.add_value("a"), g.add_value("b"), g.add_value("c")];
            g.add_node(crate::graph::Node {
                name: "split".into(),
                op: Op::Split { axis: 1 },
                inputs: vec![Some(map)],
                outputs: parts.map(Some).to_vec(),
            });
            let last = if repeat { parts[0] } else { parts[2] };
            let operands = [parts[1], parts[0], last];
            let y = g.apply("mfm", Op::Variadic(Variadic::Max), &operands);
            g.set_outputs(vec![y]);
            g
        };
        let wave = (0..60).map(|i| (i as f32 * 1.3).sin()).collect::<Vec<_>>();
        let x = Tensor::new(&[2, 2, 3, 5], wave).unwrap();
        for (repeat, nodes) in [(false, 5), (true, 3)] {
            let mut rewritten = plain(repeat);
            alone(&mut rewritten, split_maxout);
            assert_eq!(rewritten.nodes().len(), nodes);
            let run = |g: &Graph| reference::run(g, std::slice::from_ref(&x)).unwrap().remove(0);
            let expected = run(&plain(repeat));
            assert_eq!(run(&rewritten).as_f32().unwrap(), expected.as_f32().unwrap());
        }
    }
}
