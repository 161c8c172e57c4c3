//! Lowers an optimised graph to a plan.
//!
//! [`group`] puts nodes that become one step into a group, for which [`choose`] chooses the kernel.
//! [`merge`] joins groups that are computed together. Then the layers of all steps are
//! [packed](super::pack), and [`build`] makes the plan, which is final. [`planes`] is what it does for the
//! attention of DY-ReLU-C.

mod alone;
mod build;
mod channels;
mod choose;
mod dynamic;
mod group;
mod heads;
mod layouts;
mod lines;
mod maps;
mod merge;
mod network;
mod pixels;
mod planes;
mod rearranged;
mod resample;
mod shift_max;
mod tensors;

use super::pack::{Packed, to_store};
use crate::format::{PackedTensors, SourceFiles};
use crate::plan::Plan;
use merge::Stage;
pub(super) use network::Network;

/// Lowers a network to a plan. Weights that are not in `stored` are packed; the plain weights lie in
/// `files`.
pub(super) fn lower(network: &Network, stored: &PackedTensors, files: &SourceFiles) -> Plan {
    let stages = stages(network);
    let layers: Vec<_> = stages.iter().flat_map(Stage::layers).collect();
    let packed = Packed::new(&layers, stored, files);
    build::build(network, &stages, packed)
}

/// Packs the weights of the plan that [`lower`] would build.
pub(super) fn packed(network: &Network) -> PackedTensors {
    let stages = stages(network);
    let layers: Vec<_> = stages.iter().flat_map(Stage::layers).collect();
    to_store(&layers)
}

fn stages<'g>(network: &Network<'g>) -> Vec<Stage<'g>> {
    merge::merge(network, group::groups(network))
}
