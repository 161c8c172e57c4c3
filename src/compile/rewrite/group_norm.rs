//! Rewrites normalisations over groups of channels as functions with computed coefficients.
//!
//! Group and instance normalisation (Wu and He, *Group Normalization*) are `a[c] x + b[c]` for every
//! image, with numbers that follow from means and variances of the map. Such a function is fused into
//! neighbouring steps like those of dynamic activations.

use super::channel_affine::constant_piece;
use crate::error::Result;
use crate::graph::{MaxAffine, NodeId, Op, Rewriter, ValueId};
use crate::tensor::Tensor;

/// Finds normalisations over groups that are written as instance normalisation of a reshaped map, as
/// PyTorch exports them for older opsets.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub fn spelled_group_norm(graph: &mut Rewriter) -> Result<()> {
    for id in graph.node_ids() {
        spelled(graph, id);
    }
    graph.commit().map(|_| ())
}

/// Rewrites every normalisation of a map with four axes.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub fn group_norm(graph: &mut Rewriter) -> Result<()> {
    for id in graph.node_ids() {
        rewrite(graph, id);
    }
    graph.commit().map(|_| ())
}

/// The numbers of a constant vector.
fn numbers(graph: &Rewriter, value: Option<ValueId>) -> Option<Vec<f32>> {
    Some(graph.constant(value?)?.as_f32().ok()?.to_vec())
}

fn spelled(graph: &mut Rewriter, id: NodeId) -> Option<()> {
    let back = graph.node(id);
    let Op::Reshape { .. } = back.op else { return None };
    let norm = graph.node(graph.links().producer(back.input(0)?)?);
    let Op::InstanceNormalization { epsilon } = norm.op else { return None };
    let grouped = norm.input(0)?;
    let first = graph.node(graph.links().producer(grouped)?);
    let Op::Reshape { .. } = first.op else { return None };
    let x = first.input(0)?;
    let dims = |value: ValueId| graph.types().get(value).map(|ty| ty.dims.as_slice());
    let (map, groups) = (dims(x)?, dims(grouped)?);
    let (channels, num_groups) = (map.get(1)?.as_size()?, groups.get(1)?.as_size()?);
    let is_view = map.len() == 4 && dims(back.output())? == map && groups[0] == map[0];
    let depth = channels.checked_div(num_groups).filter(|depth| depth * num_groups == channels)?;
    if !is_view || depth == 0 {
        return None;
    }
    let per_channel = |numbers: Vec<f32>| -> Vec<f32> {
        numbers.into_iter().flat_map(|number| std::iter::repeat_n(number, depth)).collect()
    };
    let scale = per_channel(numbers(graph, norm.input(1))?);
    let bias = per_channel(numbers(graph, norm.input(2))?);
    let name = graph.node(id).name.clone();
    let scale = graph.add_constant(format!("{name}.scale"), Tensor::vector(scale));
    let bias = graph.add_constant(format!("{name}.bias"), Tensor::vector(bias));
    graph.edit(id, |node| {
        node.op = Op::GroupNormalization { num_groups, epsilon };
        node.inputs = vec![Some(x), Some(scale), Some(bias)];
    });
    Some(())
}

fn rewrite(graph: &mut Rewriter, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let (x, mut output) = (node.input(0)?, node.output());
    let dims = &graph.types().get(x)?.dims;
    let channels = dims.get(1)?.as_size().filter(|_| dims.len() == 4)?;
    let (num_groups, epsilon) = match node.op {
        Op::GroupNormalization { num_groups, epsilon } => (num_groups, epsilon),
        Op::InstanceNormalization { epsilon } => (channels, epsilon),
        _ => return None,
    };
    let mut scale = numbers(graph, node.input(1)).filter(|scale| scale.len() == channels)?;
    let mut bias = numbers(graph, node.input(2)).filter(|bias| bias.len() == channels)?;
    let mut anchor = id;
    if let Some(reader) = graph.links().only_reader(output)
        && let Some((_, affine)) = constant_piece(graph, graph.node(reader).output())
        && affine.slopes.len() == channels
    {
        for c in 0..channels {
            scale[c] = (f64::from(scale[c]) * affine.slopes[c]) as f32;
            bias[c] = (f64::from(bias[c]) * affine.slopes[c] + affine.offsets[c]) as f32;
        }
        (anchor, output) = (reader, graph.node(reader).output());
    }
    let name = graph.value(output).name.clone();
    let scale = graph.add_constant(format!("{name}.scale"), Tensor::vector(scale));
    let bias = graph.add_constant(format!("{name}.bias"), Tensor::vector(bias));
    let op = Op::GroupCoefficients { num_groups, epsilon };
    let coefficients = graph.apply(format!("{name}.coefficients"), op, &[x, scale, bias]);
    graph.edit(anchor, |node| {
        node.op = Op::MaxAffine(MaxAffine { k: 1 });
        node.inputs = vec![Some(x), Some(coefficients)];
    });
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::channel_affine;
    use super::super::testing::{CHANNELS, Net};
    use super::*;
    use crate::graph::Binary;

    fn coefficients(num_groups: usize) -> Op {
        Op::GroupCoefficients { num_groups, epsilon: 1e-3 }
    }

    fn both(graph: &mut Rewriter) -> Result<()> {
        spelled_group_norm(graph)?;
        channel_affine(graph)?;
        group_norm(graph)
    }

    #[test]
    fn a_normalisation_has_computed_coefficients() {
        for (op, groups) in [
            (Op::GroupNormalization { num_groups: 1, epsilon: 1e-3 }, 1),
            (Op::InstanceNormalization { epsilon: 1e-3 }, CHANNELS),
        ] {
            let mut net = Net::new();
            let scale = net.constant(Tensor::vector(vec![0.5f32, -1.0, 2.0]));
            let bias = net.constant(Tensor::vector(vec![0.25f32, 1.0, 0.0]));
            let y = net.apply(op, &[net.x, scale, bias]);
            let ops = [coefficients(groups), Op::MaxAffine(MaxAffine { k: 1 })];
            assert_eq!(net.rewritten(y, both), ops);
        }
    }

    #[test]
    fn instance_normalisation_of_groups_takes_the_scale_behind_it() {
        let mut net = Net::new();
        let (ones, zeros) = ([1f32].to_vec(), [0f32].to_vec());
        let [ones, zeros] = [ones, zeros].map(|numbers| net.constant(Tensor::vector(numbers)));
        let [to, back] = [vec![0, 1, -1], vec![-1, 3, 2, 5]];
        let [to, back] = [to, back].map(|shape: Vec<i64>| net.constant(Tensor::vector(shape)));
        let channel = |numbers: [f32; 3]| Tensor::new(&[3, 1, 1], numbers.to_vec()).unwrap();
        let scale = net.constant(channel([0.5, -1.0, 2.0]));
        let bias = net.constant(channel([0.25, 1.0, 0.0]));
        let reshape = || Op::Reshape { allow_zero: false };
        let y = net.apply(reshape(), &[net.x, to]);
        let y = net.apply(Op::InstanceNormalization { epsilon: 1e-3 }, &[y, ones, zeros]);
        let y = net.apply(reshape(), &[y, back]);
        let y = net.apply(Op::Binary(Binary::Mul), &[y, scale]);
        let y = net.apply(Op::Binary(Binary::Add), &[y, bias]);
        assert_eq!(net.rewritten(y, both), [coefficients(1), Op::MaxAffine(MaxAffine { k: 1 })]);
    }
}
