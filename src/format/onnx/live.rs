//! The values that the outputs of a network need. Nothing else is read.

use std::collections::{HashMap, HashSet};

use super::proto;

/// Returns the names of all values that `outputs` need, which `nodes` produce. What a branch reads counts
/// as needed, whether or not the branch is taken.
pub(super) fn live<'m>(
    nodes: &'m [proto::Node],
    outputs: impl Iterator<Item = &'m str>,
) -> HashSet<&'m str> {
    let mut producers: HashMap<&str, Vec<&proto::Node>> = HashMap::new();
    for node in nodes {
        for output in &node.output {
            producers.entry(output).or_default().push(node);
        }
    }
    let mut live = HashSet::new();
    let mut open: Vec<&str> = outputs.collect();
    while let Some(name) = open.pop() {
        if !name.is_empty() && live.insert(name) {
            // Two nodes that produce the same name are refused later. Until then, both count.
            for node in producers.remove(name).unwrap_or_default() {
                reads(node, &mut open);
            }
        }
    }
    live
}

/// Adds the names that a node and its branches read, including those that the branches produce.
fn reads<'m>(node: &'m proto::Node, names: &mut Vec<&'m str>) {
    names.extend(node.input.iter().map(String::as_str));
    for branch in node.attribute.iter().filter_map(|a| a.g.as_deref()) {
        names.extend(branch.output.iter().map(|output| output.name.as_str()));
        branch.node.iter().for_each(|node| reads(node, names));
    }
}
