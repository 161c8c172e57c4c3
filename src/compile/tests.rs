//! Tests of all passes together.

use super::pipeline::rewrite_all;
use crate::graph::infer::{Types, infer};
use crate::graph::{Graph, Rewriter};
use chain::chain;

#[path = "../../tests/chain/mod.rs"]
mod chain;

/// The types that inference knows after following every edit, and those that it infers from scratch.
fn check_current(graph: &Graph, types: &Types, what: &str) {
    let anew = infer(graph).unwrap();
    for value in graph.nodes().iter().flat_map(|node| node.outputs.iter().flatten()) {
        let name = &graph.value(*value).name;
        assert_eq!(types.get(*value), anew.get(*value), "{what}: type of {name:?}");
        assert_eq!(types.contents(*value), anew.contents(*value), "{what}: contents of {name:?}");
    }
}

#[test]
fn a_chain_is_recognised_and_its_types_stay_current() {
    let mut graph = chain(5);
    graph.validate().unwrap();
    let mut rewriter = Rewriter::new(&mut graph).unwrap();
    let report = rewrite_all(&mut rewriter).unwrap();
    assert_eq!(report.dynamic_activations.len(), 5, "{report:?}");
    assert!(report.dynamic_activations.iter().all(|a| a.hidden == Some(2)), "{report:?}");
    let (types, _) = rewriter.finish().unwrap();
    check_current(&graph, &types, "chain");
}

#[cfg(feature = "onnx")]
#[test]
fn types_stay_current_in_every_style_of_published_code() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialects");
    let mut checked = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "onnx") {
            continue;
        }
        let mut graph = crate::format::open(&path).unwrap();
        graph.validate().unwrap();
        let mut rewriter = Rewriter::new(&mut graph).unwrap();
        rewrite_all(&mut rewriter).unwrap();
        let (types, _) = rewriter.finish().unwrap();
        check_current(&graph, &types, &path.display().to_string());
        checked += 1;
    }
    assert!(checked > 200, "only {checked} files");
}

/// Types of a node are inferred once, and again only after a pass has changed a node before it.
#[test]
fn inference_looks_at_nodes_in_proportion_to_their_number() {
    let visits = |length: usize| {
        let mut graph = chain(length);
        graph.validate().unwrap();
        let nodes = graph.nodes().len();
        let mut rewriter = Rewriter::new(&mut graph).unwrap();
        assert_eq!(rewriter.visits(), nodes);
        rewrite_all(&mut rewriter).unwrap();
        (nodes, rewriter.visits())
    };
    let (nodes, few) = visits(10);
    let (more_nodes, more) = visits(40);
    assert_eq!(more_nodes, 4 * nodes);
    assert!(few < 2 * nodes, "{few} visits for {nodes} nodes");
    assert!(more < 2 * more_nodes, "{more} visits for {more_nodes} nodes");
}
