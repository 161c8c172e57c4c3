//! All passes, in order.

use super::report::Report;
use super::{recognise::recognise, rewrite};
use crate::error::Result;
use crate::graph::{Graph, Rewriter};

/// What a caller decides about how a network is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether 3x3 convolutions of large maps may go by Winograd's algorithm, which is faster and
    /// rounds a little more.
    pub winograd: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { winograd: true }
    }
}

/// Runs all passes that rewrite a graph, and reports what they recognised.
///
/// # Errors
/// `Graph` or `Shape` where the graph contradicts itself.
pub fn optimise(graph: &mut Graph) -> Result<Report> {
    graph.validate()?;
    let mut rewriter = Rewriter::new(graph)?;
    rewrite_all(&mut rewriter)
}

fn rewrite_all(graph: &mut Rewriter) -> Result<Report> {
    rewrite::simplify(graph)?;
    rewrite::fold_batch_norm(graph)?;
    rewrite::fold_pad(graph)?;
    let unrecognised = recognise(graph)?;
    rewrite::simplify(graph)?;
    let fixed_batch = rewrite::free_batch(graph)?;
    rewrite::static_slopes(graph)?;
    rewrite::split_maxout(graph)?;
    rewrite::pool_before_conv(graph)?;
    Ok(Report::of(graph, graph.types(), unrecognised, fixed_batch))
}
