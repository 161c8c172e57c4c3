//! Rewrites deformable convolutions as what their windows read, and a convolution with one tap.

use crate::error::Result;
use crate::graph::{Conv, DeformedWindows, NodeId, Op, Padding, Rewriter};
use crate::tensor::{DType, Tensor};

/// Rewrites every deformable convolution over two axes that has constant weights and one group.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub fn deform_conv(graph: &mut Rewriter) -> Result<()> {
    for id in graph.node_ids() {
        rewrite(graph, id);
    }
    graph.commit().map(|_| ())
}

fn rewrite(graph: &mut Rewriter, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let Op::DeformConv(op) = &node.op else { return None };
    let (x, offset, output) = (node.input(0)?, node.input(2)?, node.output());
    let weight = graph.constant(node.input(1)?)?;
    let &[filters, channels, height, width] = weight.shape() else { return None };
    if op.conv.groups != 1 || weight.dtype() != DType::F32 || weight.is_empty() {
        return None;
    }
    // The windows have all channels of a tap side by side.
    let (taps, from) = (height * width, weight.as_f32().ok()?);
    let element = |i: usize| {
        let (filter, tap, channel) = (i / (taps * channels), i / channels % taps, i % channels);
        from[(filter * channels + channel) * taps + tap]
    };
    let shape = [filters, taps * channels, 1, 1];
    let weight = Tensor::new(&shape, (0..weight.len()).map(element).collect::<Vec<f32>>()).ok()?;
    let windows = DeformedWindows { kernel: [height, width], deform: op.clone() };
    let (name, bias, mask) = (node.name.clone(), node.input(3), node.input(4));

    let inputs = [Some(x), Some(offset), mask];
    let inputs = inputs.into_iter().take(if mask.is_some() { 3 } else { 2 }).collect();
    let windows = graph.apply_to(format!("{name}.windows"), Op::DeformedWindows(windows), inputs);
    let conv = Conv {
        padding: Padding::Explicit(Vec::new()),
        strides: Vec::new(),
        dilations: Vec::new(),
        groups: 1,
    };
    let weight = graph.add_constant(format!("{name}.weight"), weight);
    let inputs: Vec<_> = [windows, weight].into_iter().chain(bias).collect();
    let sum = graph.apply(name, Op::Conv(conv), &inputs);
    graph.take_over(output, sum);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{CHANNELS, Net};
    use super::*;
    use crate::graph::DeformConv;

    fn wave(shape: &[usize]) -> Tensor {
        let count = shape.iter().product();
        Tensor::new(shape, (0..count).map(|i: usize| (i as f32 * 0.7).sin()).collect()).unwrap()
    }

    /// A deformable convolution with a window of 2x3 taps and as many groups of offsets as channels.
    fn network(groups: usize, masked: bool, bias: bool) -> Vec<Op> {
        let mut net = Net::new();
        let conv = Conv {
            padding: Padding::Explicit(vec![1, 0, 0, 2]),
            strides: vec![1, 2],
            dilations: vec![1, 2],
            groups,
        };
        let weight = net.constant(wave(&[2 * CHANNELS, CHANNELS / groups, 2, 3]));
        // Two lines and two columns of the output, for two images.
        let offset = net.constant(wave(&[2, CHANNELS * 6 * 2, 2, 2]));
        let mut inputs = vec![Some(net.x), Some(weight), Some(offset), None, None];
        if bias {
            inputs[3] = Some(net.constant(wave(&[2 * CHANNELS])));
        }
        if masked {
            inputs[4] = Some(net.constant(wave(&[2, CHANNELS * 6, 2, 2])));
        }
        let op = Op::DeformConv(DeformConv { conv, offset_groups: CHANNELS });
        let y = net.apply_to(op, inputs);
        net.rewritten(y, deform_conv)
    }

    #[test]
    fn windows_of_one_group_become_a_map() {
        for (masked, bias) in [(false, false), (true, false), (false, true), (true, true)] {
            let ops = network(1, masked, bias);
            assert!(matches!(ops[..], [Op::DeformedWindows(_), Op::Conv(_)]), "{ops:?}");
        }
        assert!(matches!(network(CHANNELS, true, true)[..], [Op::DeformConv(_)]));
    }
}
