//! Finds dynamic activations by what they compute, whichever way they are written.
//!
//! A dynamic ReLU is a maximum over pieces `a_k * x + b_k` of one feature map `x`, with coefficients
//! that do not depend on the position. [`pieces`] splits a maximum into its pieces. [`paths`] follows
//! each piece back to a feature map that all pieces have in common. [`hyperfunction`] finds the two
//! fully connected layers behind the coefficients, with the help of [`elements`]. [`attention`] finds
//! the spatial factor of DY-ReLU-C.
//!
//! If the coefficients are not computed by a hyperfunction of the usual form, the nodes that compute
//! them stay, and [`coefficients`] adds nodes that stack their results. A maximum that is not a
//! dynamic ReLU is not changed.

mod acon;
mod attention;
mod bounds;
mod coefficients;
mod context;
mod elements;
mod factor;
mod found;
mod hyperfunction;
mod maxima;
mod paths;
mod pieces;
mod scope;
mod shift_max;
mod single;
mod two_slopes;

use crate::compile::rewrite::simplify;
use crate::error::Result;
use crate::graph::Rewriter;
pub use found::Unrecognised;

/// Replaces dynamic activations by `Hyperfunction`, `MaxAffine` and `SpatialAttention`. Returns the
/// parts that resemble one and were not recognised.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub fn recognise(graph: &mut Rewriter) -> Result<Vec<Unrecognised>> {
    shift_max::recognise(graph)?;
    bounds::recognise(graph)?;
    let unrecognised = maxima::recognise(graph)?;
    simplify(graph)?;
    two_slopes::recognise(graph)?;
    acon::recognise(graph)?;
    single::recognise(graph)?;
    simplify(graph)?;
    attention::absorb(graph)?;
    Ok(unrecognised)
}
