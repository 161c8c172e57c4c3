//! Lowers an optimised graph to a plan.
//!
//! [`group`] puts nodes that become one step into a group, for which [`choose`] chooses the kernel.
//! [`merge`] joins groups that are computed together. Then the layers of all steps are
//! [packed](super::pack), and [`build`] makes the plan, which is final.

mod build;
mod choose;
mod group;
mod maps;
mod merge;

use super::Options;
use super::pack::{Packed, to_store};
use crate::format::{PackedTensors, SourceFiles};
use crate::graph::infer::Types;
use crate::graph::{Graph, Links};
use crate::plan::Plan;
use maps::Maps;
use merge::Stage;

/// An optimised graph, with its types and links.
pub(super) struct Network<'g> {
    pub graph: &'g Graph,
    pub types: &'g Types,
    pub links: &'g Links,
    pub options: &'g Options,
    maps: Maps<'g>,
}

impl<'g> Network<'g> {
    /// A view of `graph`, which is of these types and links.
    pub fn new(graph: &'g Graph, types: &'g Types, links: &'g Links, options: &'g Options) -> Self {
        Network { graph, types, links, options, maps: Maps::new(graph, types) }
    }

    fn stages(&self) -> Vec<Stage<'g>> {
        merge::merge(self, group::groups(self))
    }

    /// Lowers the graph to a plan. Weights that are not in `stored` are packed; the plain weights
    /// lie in `files`.
    pub fn lower(&self, stored: &PackedTensors, files: &SourceFiles) -> Plan {
        let stages = self.stages();
        let layers: Vec<_> = stages.iter().flat_map(Stage::layers).collect();
        let packed = Packed::new(&layers, stored, files);
        build::build(self, &stages, packed)
    }

    /// Packs the weights of the plan that [`lower`](Self::lower) would build.
    pub fn packed(&self) -> PackedTensors {
        let stages = self.stages();
        let layers: Vec<_> = stages.iter().flat_map(Stage::layers).collect();
        to_store(&layers)
    }
}
