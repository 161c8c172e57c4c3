//! Decides which groups are computed together, before any weights are packed.

use std::collections::HashMap;

use super::dynamic::ImageWeights;
use super::group::{Core, Group};
use super::network::Network;
use crate::compile::pack::Layer;
use crate::compile::tuning::JOINED_MAP;
use crate::graph::{Dim, NodeId, ValueId};

/// The groups that one step computes. The two layers of a hyperfunction are one stage of two steps.
pub(super) struct Stage<'g> {
    /// A group that is computed on the way to the main one: a transformation that a pointwise
    /// convolution applies to rows as it reads them, or a convolution that is computed line by line
    /// as the depthwise convolution needs the lines.
    pub first: Option<Group<'g>>,
    pub group: Group<'g>,
}

impl<'g> Stage<'g> {
    /// The layers whose weights the stage reads.
    pub fn layers(&self) -> impl Iterator<Item = &Layer<'g>> {
        self.first.iter().chain([&self.group]).flat_map(|group| {
            match &group.core {
                Core::Convolution(convolution) => [Some(&convolution.layer), None],
                Core::Hyperfunction(hyper) => {
                    [hyper.first.as_ref().map(|(layer, _)| layer), Some(&hyper.second)]
                }
                Core::Dynamic(dynamic) => match &dynamic.weights {
                    ImageWeights::Mixture { layer, .. } => [Some(layer), None],
                    ImageWeights::Computed(_) => [None, None],
                },
                Core::Gates(_)
                | Core::Resample(_)
                | Core::ShiftMax(_)
                | Core::Transform(_)
                | Core::Node => [None, None],
            }
            .into_iter()
            .flatten()
        })
    }
}

/// Merges groups with the only reader of their output, where one step can compute both.
pub(super) fn merge<'g>(net: &Network<'g>, groups: Vec<Group<'g>>) -> Vec<Stage<'g>> {
    let begins = |(place, group): (usize, &Group)| (group.members[0], place);
    let places: HashMap<NodeId, usize> = groups.iter().enumerate().map(begins).collect();
    let stage = |group| Some(Stage { first: None, group });
    let mut stages: Vec<Option<Stage>> = groups.into_iter().map(stage).collect();
    for place in 0..stages.len() {
        let output = match &stages[place] {
            // A stage has two groups at most.
            Some(Stage { first: None, group }) => group.output,
            _ => continue,
        };
        let reader = net.links.only_reader(output).and_then(|id| places.get(&id));
        let Some(&reader) = reader else { continue };
        let merges = match (&stages[place], &stages[reader]) {
            (Some(first), Some(second)) => can_merge(net, &first.group, second),
            _ => false,
        };
        if merges
            && let Some(first) = stages[place].take()
            && let Some(stage) = &mut stages[reader]
        {
            stage.first = Some(first.group);
        }
    }
    stages.into_iter().flatten().collect()
}

/// Whether the step of `second`, the only reader of the output of `first`, can compute `first` on the
/// way.
fn can_merge(net: &Network, first: &Group, second: &Stage) -> bool {
    let Core::Convolution(convolution) = &second.group.core else { return false };
    let reads_it_first = net.graph.node(second.group.members[0]).input(0) == Some(first.output);
    if !reads_it_first || second.first.is_some() {
        return false;
    }
    match &first.core {
        Core::Transform(_) => convolution.takes_prologue(),
        Core::Convolution(inner) => inner.can_expand(convolution) && is_large(net, first.output),
        Core::Dynamic(_)
        | Core::Gates(_)
        | Core::Hyperfunction(_)
        | Core::Resample(_)
        | Core::ShiftMax(_)
        | Core::Node => false,
    }
}

/// Whether a map has [`JOINED_MAP`] elements per image. A map of unknown size is taken to be large.
fn is_large(net: &Network, map: ValueId) -> bool {
    let dims = net.maps.dims(map).unwrap_or_default();
    let mut sizes = dims.iter().skip(1).map(Dim::as_size);
    let size = sizes.try_fold(1usize, |product, size| Some(product.saturating_mul(size?)));
    dims.len() == 4 && size.is_none_or(|size| size >= JOINED_MAP)
}
