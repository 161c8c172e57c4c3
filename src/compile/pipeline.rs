//! All passes of the compiler, in order.

use super::lower::{self, Network};
use super::options::Options;
use super::pack::PREPARATION;
use super::recognise::{Unrecognised, recognise};
use super::report::Report;
use super::rewrite;
use crate::error::{Error, Result};
use crate::format::{Opened, PackedTensors, Prepared};
use crate::graph::infer::Types;
use crate::graph::{Graph, Rewriter, in_single_precision};
use crate::plan::Plan;

/// A network that is ready to run.
pub struct Compiled {
    /// The graph after all passes.
    pub graph: Graph,
    /// The steps that a run consists of.
    pub plan: Plan,
    /// The types of the values of the graph.
    pub types: Types,
    /// What was recognised.
    pub report: Report,
}

/// Compiles the network of a file, from the weights that the file has packed where they are for
/// this version.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub fn compile(opened: Opened, options: &Options) -> Result<Compiled> {
    let Opened { mut graph, prepared, files } = opened;
    validate(&mut graph)?;
    let mut rewriter = Rewriter::new(&mut graph)?;
    let (report, packed) = match prepared.and_then(usable) {
        None => (rewrite_all(&mut rewriter)?, PackedTensors::default()),
        Some((unrecognised, packed)) => {
            // All passes ran when the file was written, except that the writer may have been asked
            // to leave the batch fixed.
            let fixed_batch = rewrite::free_batch(&mut rewriter)?;
            (Report::of(&rewriter, unrecognised, fixed_batch), packed)
        }
    };
    let (types, links) = rewriter.finish()?;
    let network = Network::new(&graph, &types, &links, options);
    let plan = lower::lower(&network, &packed, &files);
    Ok(Compiled { graph, plan, types, report })
}

/// The notes and the packed weights of a file, if this version of the compiler prepared them.
fn usable(prepared: Prepared) -> Option<(Vec<Unrecognised>, PackedTensors)> {
    let Prepared { version, notes, packed } = prepared;
    let unrecognised = serde_json::from_value(notes).ok()?;
    (version == PREPARATION).then_some((unrecognised, packed))
}

/// Packs the weights of a graph that [`optimise`] has rewritten, for storage beside it.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub fn prepare(graph: &Graph, unrecognised: &[Unrecognised]) -> Result<Prepared> {
    let mut graph = graph.clone();
    let (types, links) = Rewriter::new(&mut graph)?.finish()?;
    let options = Options::default();
    let packed = lower::packed(&Network::new(&graph, &types, &links, &options));
    let notes = serde_json::to_value(unrecognised);
    let notes = notes.map_err(|e| Error::format(format!("notes cannot be stored: {e}")))?;
    Ok(Prepared { version: PREPARATION, notes, packed })
}

/// Runs all passes that rewrite a graph, and reports what they recognised.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub fn optimise(graph: &mut Graph) -> Result<Report> {
    validate(graph)?;
    let mut rewriter = Rewriter::new(graph)?;
    rewrite_all(&mut rewriter)
}

/// Checks a graph, and converts it to single precision.
fn validate(graph: &mut Graph) -> Result<()> {
    graph.validate()?;
    if let Some(single) = in_single_precision(graph)? {
        *graph = single;
    }
    Ok(())
}

/// Runs the passes, in order.
pub(super) fn rewrite_all(graph: &mut Rewriter) -> Result<Report> {
    rewrite::simplify(graph)?;
    rewrite::constant_shapes(graph)?;
    rewrite::squeezed_batch(graph)?;
    rewrite::merge_means(graph)?;
    rewrite::sum_of_squares(graph)?;
    rewrite::dynamic_conv(graph)?;
    rewrite::simplify(graph)?;
    rewrite::spelled_activations(graph)?;
    rewrite::spelled_layer_norm(graph)?;
    rewrite::fold_batch_norm(graph)?;
    rewrite::fold_pad(graph)?;
    rewrite::channel_shuffle(graph)?;
    rewrite::spelled_group_norm(graph)?;
    let unrecognised = recognise(graph)?;
    rewrite::simplify(graph)?;
    let fixed_batch = rewrite::free_batch(graph)?;
    rewrite::channel_affine(graph)?;
    rewrite::delay_permutations(graph)?;
    rewrite::sum_convs(graph)?;
    rewrite::group_norm(graph)?;
    rewrite::static_slopes(graph)?;
    rewrite::split_maxout(graph)?;
    rewrite::pool_before_conv(graph)?;
    rewrite::constant_sizes(graph)?;
    rewrite::transposed_conv(graph)?;
    rewrite::deform_conv(graph)?;
    Ok(Report::of(graph, unrecognised, fixed_batch))
}
