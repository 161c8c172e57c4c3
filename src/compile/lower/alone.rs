//! A dynamic ReLU between an input and an output of the network.
//!
//! Its steps read and write the tensors of the caller, `[N,C,H,W]`. In the arena its map would have
//! another layout, so it would be copied before and after.

use super::choose;
use super::network::Network;
use crate::graph::{Node, Op, ValueId};
use crate::plan::PerPlane;

/// Returns what computes `node` from tensors, if it is a part of such a dynamic ReLU.
pub(super) fn operation(net: &Network, node: &Node) -> Option<PerPlane> {
    let x = node.input(0).filter(|&x| is_read_by_dynamic_relus_alone(net, x))?;
    match is_last(net, node, x) {
        true => Some(PerPlane::MaxAffine),
        false => {
            let rank = net.types.get(node.output())?.dims.len();
            Some(PerPlane::Means { keep_dims: rank == 4 })
        }
    }
}

/// Whether `x` is an input of the network whose readers are means of its planes and max-affine functions
/// that compute outputs of the network.
fn is_read_by_dynamic_relus_alone(net: &Network, x: ValueId) -> bool {
    let is_input = net.graph.value(x).input.is_some() && net.maps.is_nchw(x);
    let mut readers = net.links.consumers(x).iter().map(|&id| net.graph.node(id));
    let is_part = |node: &Node| is_last(net, node, x) || choose::is_global_average(net, node);
    is_input && readers.clone().any(|node| is_last(net, node, x)) && readers.all(is_part)
}

/// Whether `node` is a max-affine function of `x` whose result is only an output of the network.
fn is_last(net: &Network, node: &Node, x: ValueId) -> bool {
    let &[Some(of), Some(coefficients)] = node.inputs.as_slice() else { return false };
    let y = node.output();
    matches!(node.op, Op::MaxAffine(_))
        && of == x
        && coefficients != x
        && net.graph.constant(coefficients).is_none()
        && net.links.is_output(y)
        && net.links.consumers(y).is_empty()
}
