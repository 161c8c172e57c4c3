//! Keeps the axis of the images where a `Squeeze` takes it away.
//!
//! An exporter that saw a batch of one writes `pooled.squeeze()` so that no axis of size 1 is left. What
//! follows is the same with one more axis at the front, up to a node whose output has the axis anyway. The
//! batch can be freed only if that axis stays.

use std::collections::HashSet;

use crate::error::Result;
use crate::graph::predicates::{axis_from_front, is_one};
use crate::graph::{Node, NodeId, Op, Rewriter, Softmax, ValueId};
use crate::tensor::Tensor;

/// Keeps the first axis in every `Squeeze` that takes it away, if all that follows can have it.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub fn squeezed_batch(graph: &mut Rewriter) -> Result<()> {
    for id in graph.node_ids() {
        if let Some(kept) = kept_axes(graph, id)
            && let Some(changes) = followed(graph, id)
        {
            squeeze(graph, id, &kept);
            for (id, change) in changes {
                apply(graph, id, change);
            }
            graph.commit()?;
        }
    }
    Ok(())
}

/// Returns the axes that a `Squeeze` takes away besides the first; `None` if it leaves the first.
fn kept_axes(graph: &Rewriter, id: NodeId) -> Option<Vec<i64>> {
    let node = graph.node(id);
    if node.op != Op::Squeeze {
        return None;
    }
    let dims = &graph.types().get(node.input(0)?)?.dims;
    let mut axes: Vec<usize> = match node.input(1) {
        Some(axes) => {
            let axes = graph.constant(axes)?.to_i64s().ok()?;
            axes.into_iter().map(|axis| axis_from_front(axis, dims.len())).collect::<Option<_>>()?
        }
        None => {
            dims.iter().map(|dim| dim.as_size()).collect::<Option<Vec<_>>>()?;
            (0..dims.len()).filter(|&axis| is_one(&dims[axis])).collect()
        }
    };
    axes.sort();
    let (0, rest) = (*axes.first()?, &axes[1..]) else { return None };
    // A vector has no axis besides that of the images.
    (dims.len() > 1).then(|| rest.iter().map(|&axis| axis as i64).collect())
}

/// What changes in a node of which an input gets one more axis at the front.
enum Change {
    Op(Op),
    /// Other axes in place of input 1.
    Axes(Vec<i64>),
}

/// Returns the changes in the nodes that read the output of `squeeze`, directly or not, if it gets one more
/// axis; `None` if a node cannot have it, or an output of the network would.
fn followed(graph: &Rewriter, squeeze: NodeId) -> Option<Vec<(NodeId, Change)>> {
    let mut longer = HashSet::from([graph.node(squeeze).output()]);
    let mut changes = Vec::new();
    for id in graph.node_ids() {
        let node = graph.node(id);
        if id == squeeze || !node.inputs.iter().flatten().any(|value| longer.contains(value)) {
            continue;
        }
        let (grows, change) = follow(graph, node, &longer)?;
        changes.extend(change.map(|change| (id, change)));
        if grows {
            longer.extend(node.outputs.iter().flatten());
        }
    }
    let is_output = |value: &ValueId| graph.graph().outputs().contains(value);
    (!longer.iter().any(is_output)).then_some(changes)
}

/// Returns whether the outputs of a node get the additional axis of its inputs, and what changes in it.
fn follow(
    graph: &Rewriter,
    node: &Node,
    longer: &HashSet<ValueId>,
) -> Option<(bool, Option<Change>)> {
    let rank = |value: ValueId| graph.types().get(value).map(|ty| ty.dims.len());
    let is_longer = |&value: &ValueId| longer.contains(&value);
    let later = |axis: i64| if axis < 0 { axis } else { axis + 1 };
    let only_first = || {
        let mut others = node.inputs.iter().skip(1).flatten();
        (node.input(0).is_some_and(|x| is_longer(&x)) && !others.any(is_longer)).then_some(())
    };
    Some(match &node.op {
        Op::Unary(_) | Op::Clip | Op::Cast { .. } | Op::Identity => {
            only_first()?;
            (true, None)
        }
        Op::Binary(_) | Op::Variadic(_) => {
            // An operand of lower rank is aligned with the last axes of the result.
            let result = rank(node.output())?;
            let mut operands = node.inputs.iter().flatten().filter(|value| is_longer(value));
            (operands.any(|&value| rank(value) == Some(result)), None)
        }
        Op::MatMul => {
            only_first()?;
            (rank(node.input(1)?)? == 2).then_some((true, None))?
        }
        Op::Softmax(softmax) if !softmax.flatten => {
            only_first()?;
            let softmax = Softmax { axis: later(softmax.axis), ..*softmax };
            (true, Some(Change::Op(Op::Softmax(softmax))))
        }
        Op::Split { axis } => {
            only_first()?;
            (true, Some(Change::Op(Op::Split { axis: later(*axis) })))
        }
        Op::Concat { axis } if node.inputs.iter().flatten().all(is_longer) => {
            (true, Some(Change::Op(Op::Concat { axis: later(*axis) })))
        }
        Op::Reshape { .. } => {
            only_first()?;
            let sizes = graph.constant(node.input(1)?)?.to_i64s().ok()?;
            // A size of 0 may stand for that of an axis.
            (!sizes.contains(&0)).then_some((false, None))?
        }
        Op::Unsqueeze => {
            only_first()?;
            let axes = graph.constant(node.input(1)?)?.to_i64s().ok()?;
            let result = rank(node.output())?;
            let axes: Option<Vec<usize>> =
                axes.into_iter().map(|axis| axis_from_front(axis, result)).collect();
            let axes = axes?;
            let has_first = axes.contains(&0);
            let others = axes.into_iter().filter(|&axis| axis > 0);
            let shift = usize::from(!has_first);
            let axes: Vec<i64> = others.map(|axis| (axis + shift) as i64).collect();
            let change =
                if axes.is_empty() { Change::Op(Op::Identity) } else { Change::Axes(axes) };
            (!has_first, Some(change))
        }
        _ => return None,
    })
}

fn squeeze(graph: &mut Rewriter, id: NodeId, axes: &[i64]) {
    if axes.is_empty() {
        return apply(graph, id, Change::Op(Op::Identity));
    }
    apply(graph, id, Change::Axes(axes.to_vec()));
}

fn apply(graph: &mut Rewriter, id: NodeId, change: Change) {
    match change {
        Change::Op(op) => graph.edit(id, |node| {
            if op == Op::Identity {
                node.inputs.truncate(1);
            }
            node.op = op;
        }),
        Change::Axes(axes) => {
            let name = format!("{}.axes", graph.node(id).name);
            let axes = graph.add_constant(name, Tensor::vector(axes));
            graph.edit(id, |node| {
                node.inputs.truncate(1);
                node.inputs.push(Some(axes));
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::alone;
    use super::*;
    use crate::graph::{Binary, Dim, Graph, PoolKind, TensorType, Unary};
    use crate::reference;
    use crate::tensor::DType;

    fn wave(shape: &[usize]) -> Tensor {
        let count = shape.iter().product();
        Tensor::new(shape, (0..count).map(|i: usize| (i as f32 * 0.7).sin()).collect()).unwrap()
    }

    /// A network of one image `[1,4,3,5]`. `end` computes the output from the means without axes of size
    /// one, and from the image.
    fn network(
        with_axes: bool,
        end: impl Fn(&mut Graph, ValueId, ValueId) -> ValueId,
    ) -> (Graph, Vec<usize>) {
        let mut g = Graph::new("t");
        let dims: Vec<Dim> = [1usize, 4, 3, 5].map(Dim::from).to_vec();
        let x = g.add_input("x", TensorType { dtype: DType::F32, dims });
        let pooled = g.apply("pooled", Op::GlobalPool(PoolKind::Average), &[x]);
        let axes = g.add_constant("axes", Tensor::vector(vec![-1i64, 0, 2]));
        let inputs = if with_axes { vec![pooled, axes] } else { vec![pooled] };
        let means = g.apply("means", Op::Squeeze, &inputs);
        let y = end(&mut g, means, x);
        g.set_outputs(vec![y]);
        let x = [wave(&[1, 4, 3, 5])];
        let expected = reference::run(&g, &x).unwrap().remove(0);
        alone(&mut g, squeezed_batch);
        let found = reference::run(&g, &x).unwrap().remove(0);
        assert_eq!(found.shape(), expected.shape());
        assert_eq!(found.as_f32().unwrap(), expected.as_f32().unwrap());
        let means = g.nodes().iter().find(|node| node.name == "means").unwrap().output();
        let types = Rewriter::new(&mut g).unwrap().finish().unwrap().0;
        let dims = &types.get(means).unwrap().dims;
        (g.clone(), dims.iter().map(|dim| dim.as_size().unwrap()).collect())
    }

    fn scaled(g: &mut Graph, means: ValueId, x: ValueId, axes: &[i64]) -> ValueId {
        let weight = g.add_constant("weight", wave(&[4, 4]));
        let bias = g.add_constant("bias", wave(&[4]));
        let layer = g.apply("layer", Op::MatMul, &[means, weight]);
        let layer = g.apply("sum", Op::Binary(Binary::Add), &[bias, layer]);
        let gate = g.apply("gate", Op::Unary(Unary::Sigmoid), &[layer]);
        let axes = g.add_constant("new", Tensor::vector(axes.to_vec()));
        let gate = g.apply("column", Op::Unsqueeze, &[gate, axes]);
        g.apply("scaled", Op::Binary(Binary::Mul), &[x, gate])
    }

    #[test]
    fn a_gate_keeps_the_axis_of_the_images() {
        for with_axes in [false, true] {
            for axes in [&[0, 2, 3][..], &[-1, -2], &[3, 2, 0]] {
                let (_, dims) = network(with_axes, |g, means, x| scaled(g, means, x, axes));
                assert_eq!(dims, [1, 4], "{axes:?}");
            }
        }
    }

    #[test]
    fn axes_are_counted_from_the_new_one() {
        let (graph, dims) = network(false, |g, means, _| {
            let softmax = Softmax { axis: 0, flatten: false };
            let shares = g.apply("shares", Op::Softmax(softmax), &[means]);
            let pair = g.apply("pair", Op::Concat { axis: 0 }, &[shares, means]);
            let shape = g.add_constant("shape", Tensor::vector(vec![1i64, -1]));
            g.apply("rows", Op::Reshape { allow_zero: false }, &[pair, shape])
        });
        assert_eq!(dims, [1, 4]);
        assert!(graph.nodes().iter().any(|node| node.op == Op::Concat { axis: 1 }));
    }

    /// The sizes of an output stay as they are, and a reshape may refer to an axis by its number.
    #[test]
    fn what_cannot_have_the_axis_stays() {
        let (_, dims) = network(false, |_, means, _| means);
        assert_eq!(dims, [4]);
        let (_, dims) = network(false, |g, means, _| {
            let shape = g.add_constant("shape", Tensor::vector(vec![0i64, 1]));
            g.apply("column", Op::Reshape { allow_zero: false }, &[means, shape])
        });
        assert_eq!(dims, [4]);
    }
}
