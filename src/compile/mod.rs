//! From a network as read to a network as run, one pass a file.
//!
//! [`optimise`] rewrites a graph into an equal one that says what it means: all of it in single
//! precision, constants folded,
//! batch normalisation and padding folded into convolutions, dynamic activations recognised, a batch
//! that was fixed to one image freed, contexts taken from before the convolutions that they follow.

mod fold_batch_norm;
mod fold_pad;
mod free_batch;
mod lower;
mod pool_before_conv;
mod prepared;
mod recognise;
mod report;
mod simplify;
mod split_maxout;
mod static_activations;
mod static_slopes;

pub use fold_batch_norm::fold_batch_norm;
pub use fold_pad::fold_pad;
pub use free_batch::{FixedBatch, free_batch};
pub use lower::lower;
pub use pool_before_conv::pool_before_conv;
pub use prepared::{PREPARATION, Packs, Prepared, pack, prepare};
pub use recognise::{Unrecognised, recognise};
pub use report::{DynamicActivation, Report};
pub use simplify::simplify;
pub use split_maxout::split_maxout;
pub use static_activations::StaticActivation;
pub use static_slopes::static_slopes;

use std::path::PathBuf;

use crate::error::Result;
use crate::graph::infer::infer;
use crate::graph::{Graph, in_single_precision};

/// What a caller decides about how a network is opened and computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// A folder under which the external data of an ONNX file may lie, too. Data lies in the folder of its
    /// model or under it; a link there that leads elsewhere is refused unless it leads to this folder.
    pub external_data_root: Option<PathBuf>,
    /// Whether 3x3 convolutions of large maps may go by Winograd's algorithm, which is faster and
    /// rounds a little more.
    pub winograd: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { external_data_root: None, winograd: true }
    }
}

/// Runs all passes that rewrite a graph, and reports what they recognised.
///
/// # Errors
/// `Graph` or `Shape` where the graph contradicts itself.
pub fn optimise(graph: &mut Graph) -> Result<Report> {
    graph.validate()?;
    if let Some(single) = in_single_precision(graph)? {
        *graph = single;
    }
    simplify(graph)?;
    fold_batch_norm(graph)?;
    fold_pad(graph)?;
    let unrecognised = recognise(graph)?;
    simplify(graph)?;
    let fixed_batch = free_batch(graph)?;
    static_slopes(graph)?;
    split_maxout(graph)?;
    pool_before_conv(graph)?;
    Ok(Report::of(graph, &infer(graph)?, unrecognised, fixed_batch))
}
