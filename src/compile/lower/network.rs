//! What lowering knows about a network.

use super::maps::Maps;
use crate::compile::options::Options;
use crate::graph::infer::Types;
use crate::graph::{Graph, Links};

/// An optimised graph, with its types and links.
pub(in crate::compile) struct Network<'g> {
    pub graph: &'g Graph,
    pub types: &'g Types,
    pub links: &'g Links,
    pub options: &'g Options,
    pub(super) maps: Maps<'g>,
}

impl<'g> Network<'g> {
    /// A view of `graph`, which is of these types and links.
    pub fn new(graph: &'g Graph, types: &'g Types, links: &'g Links, options: &'g Options) -> Self {
        Network { graph, types, links, options, maps: Maps::new(graph, types) }
    }
}
