//! A network whose static activations have constant coefficients.

use super::probe::Probe;
use super::statistics::{Statistics, Summary};
use crate::error::Result;
use crate::graph::Graph;
use crate::tensor::Tensor;

/// Returns the network with the mean parameters of every activation that is static, and how many are. What
/// computed them is left out.
pub fn freeze(
    mut graph: Graph,
    probe: &Probe,
    statistics: &Statistics,
    summary: &Summary,
) -> Result<(Graph, usize)> {
    let layers = probe.activations.iter().zip(&statistics.layers).zip(&summary.activations);
    let mut frozen = 0;
    for ((activation, layer), figures) in layers {
        if !figures.is_static {
            continue;
        }
        let means = layer.means();
        let rows = activation.parameters.len();
        let constant = Tensor::new(&[1, rows, means.len() / rows], means)?;
        let constant = graph.add_constant(format!("{}.frozen", figures.name), constant);
        graph.node_mut(activation.node).inputs[1] = Some(constant);
        frozen += 1;
    }
    graph.prune()?;
    Ok((graph, frozen))
}
