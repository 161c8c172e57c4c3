//! TEMPORARY: faults that other changes mend. Remove when they have landed.

use dyrelu::graph::{Op, Padding, ResizeMode};

use crate::graphs::Case;

/// Whether the network has one of the faults.
pub fn has_known_fault(case: &Case) -> bool {
    let graph = &case.graph;
    graph.nodes().iter().any(|node| match &node.op {
        Op::Conv(conv) => {
            let weight = node.input(1).and_then(|w| graph.constant(w));
            let pointwise =
                weight.is_none_or(|w| w.shape().get(2..).is_none_or(|k| k.iter().all(|&k| k == 1)));
            let padded = match &conv.padding {
                Padding::Explicit(pads) => pads.iter().any(|&p| p != 0),
                _ => true,
            };
            let single = node.input(0).is_some_and(|x| {
                let at = graph.inputs().iter().position(|&id| id == x);
                at.is_some_and(|at| case.inputs[at].shape()[2..].iter().all(|&d| d == 1))
            });
            pointwise && (padded || single)
        }
        Op::Resize(resize) => matches!(resize.mode, ResizeMode::Nearest(_)),
        Op::PRelu => case.inputs.iter().any(|t| t.shape().contains(&0)),
        _ => false,
    })
}

pub fn is_known(difference: &str) -> bool {
    difference.contains("has no elements for inputs of such sizes")
}
