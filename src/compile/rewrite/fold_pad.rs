//! Folds zeros around a map into the padding of the convolution that reads it.
//!
//! Networks converted from TensorFlow pad more below and to the right than above and to the left, for
//! which PyTorch needs a separate operator.

use crate::error::Result;
use crate::graph::{NodeId, Op, PadMode, Padding, Rewriter};

/// Folds every `Pad` with zeros that a convolution reads.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub fn fold_pad(graph: &mut Rewriter) -> Result<()> {
    for id in graph.node_ids() {
        fold(graph, id);
    }
    graph.commit().map(|_| ())
}

fn fold(graph: &mut Rewriter, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let Op::Conv(conv) = &node.op else { return None };
    let Padding::Explicit(own) = &conv.padding else { return None };
    let pad = graph.node(graph.links().producer(node.input(0)?)?);
    let Op::Pad { mode: PadMode::Constant } = &pad.op else { return None };
    if let Some(value) = pad.input(2)
        && graph.constant(value)?.as_f32().ok()? != [0.0]
    {
        return None;
    }
    if pad.input(3).is_some() {
        return None;
    }
    let amounts = graph.constant(pad.input(1)?)?.to_i64s().ok()?;
    let rank = amounts.len() / 2;
    let (before, after) = amounts.split_at(rank);
    let on_space = before.get(..2)? == [0, 0] && after.get(..2)? == [0, 0];
    // A negative amount crops the map. Its sum with an amount of zeros has another meaning.
    if !on_space || amounts.iter().chain(own).any(|&amount| amount < 0) {
        return None;
    }
    let around = before[2..].iter().chain(&after[2..]);
    let sum = match own.as_slice() {
        [] => around.copied().collect(),
        own if own.len() == 2 * (rank - 2) => {
            own.iter().zip(around).map(|(a, b)| a.checked_add(*b)).collect::<Option<_>>()?
        }
        _ => return None,
    };
    let (x, mut conv) = (pad.input(0), conv.clone());
    conv.padding = Padding::Explicit(sum);
    graph.edit(id, |node| {
        node.op = Op::Conv(conv);
        node.inputs[0] = x;
    });
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::alone;
    use super::*;
    use crate::graph::{Conv, Dim, Graph, TensorType};
    use crate::reference;
    use crate::tensor::{DType, Tensor};

    fn wave(shape: &[usize]) -> Tensor {
        let count = shape.iter().product();
        Tensor::new(shape, (0..count).map(|i: usize| (i as f32 * 0.7).sin()).collect()).unwrap()
    }

    fn network(amounts: Vec<i64>, own: Vec<i64>, value: f32) -> Graph {
        let mut g = Graph::new("t");
        let dims = vec![Dim::symbol("N"), 2.into(), 5.into(), 6.into()];
        let x = g.add_input("x", TensorType { dtype: DType::F32, dims });
        let depth = 2 + (amounts[1] + amounts[5]) as usize;
        let amounts = g.add_constant("amounts", Tensor::vector(amounts));
        let value = g.add_constant("value", Tensor::scalar(value));
        let padded = g.apply("pad", Op::Pad { mode: PadMode::Constant }, &[x, amounts, value]);
        let conv = Conv {
            padding: Padding::Explicit(own),
            strides: vec![2, 2],
            dilations: Vec::new(),
            groups: 1,
        };
        let weight = g.add_constant("w", wave(&[3, depth, 3, 3]));
        let y = g.apply("conv", Op::Conv(conv), &[padded, weight]);
        g.set_outputs(vec![y]);
        g
    }

    #[test]
    fn zeros_become_padding() {
        for own in [vec![], vec![1, 0, 2, 1]] {
            let mut graph = network(vec![0, 0, 0, 1, 0, 0, 2, 3], own, 0.0);
            let x = [wave(&[2, 2, 5, 6])];
            let want = reference::run(&graph, &x).unwrap();
            alone(&mut graph, fold_pad);
            assert_eq!(graph.nodes().len(), 1);
            let got = reference::run(&graph, &x).unwrap();
            assert_eq!(got[0].as_f32().unwrap(), want[0].as_f32().unwrap());
        }
    }

    #[test]
    fn other_values_channels_and_crops_stay() {
        for (amounts, own, value) in [
            (vec![0, 0, 1, 1, 0, 0, 1, 1], vec![], 1.0),
            (vec![0, 1, 1, 1, 0, 0, 1, 1], vec![], 0.0),
            (vec![0, 0, -1, 1, 0, 0, 1, 1], vec![1, 1, 1, 1], 0.0),
        ] {
            let mut graph = network(amounts, own, value);
            alone(&mut graph, fold_pad);
            assert_eq!(graph.nodes().len(), 2);
        }
    }
}
