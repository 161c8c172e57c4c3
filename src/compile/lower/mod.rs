//! From an optimised graph to a plan.
//!
//! [`group`] says which nodes become one step and, through [`choose`], which kernel computes it;
//! [`merge`] which steps are computed together; then the layers of all steps are
//! [packed](super::pack), and [`build`] makes the plan, in which nothing changes any more.

mod build;
mod choose;
mod group;
mod maps;
mod merge;

use super::Options;
use super::pack::{Packed, to_store};
use crate::format::PackedTensors;
use crate::graph::infer::Types;
use crate::graph::{Graph, Links};
use crate::plan::Plan;
use maps::Maps;
use merge::Stage;

/// An optimised graph and what is known about it.
pub(super) struct Network<'g> {
    pub graph: &'g Graph,
    pub types: &'g Types,
    pub links: &'g Links,
    pub options: &'g Options,
    maps: Maps<'g>,
}

impl<'g> Network<'g> {
    /// A graph and what is known about it.
    pub fn new(graph: &'g Graph, types: &'g Types, links: &'g Links, options: &'g Options) -> Self {
        Network { graph, types, links, options, maps: Maps::new(graph, types) }
    }

    fn stages(&self) -> Vec<Stage<'g>> {
        merge::merge(self, group::groups(self))
    }

    /// Lowers the graph to a plan, whose weights are those in `stored` or packed now.
    pub fn lower(&self, stored: &PackedTensors) -> Plan {
        let stages = self.stages();
        let layers: Vec<_> = stages.iter().flat_map(Stage::layers).collect();
        let packed = Packed::new(&layers, stored);
        build::build(self, &stages, packed)
    }

    /// The packed weights of the plan that the graph would be lowered to.
    pub fn packed(&self) -> PackedTensors {
        let stages = self.stages();
        let layers: Vec<_> = stages.iter().flat_map(Stage::layers).collect();
        to_store(&layers)
    }
}
