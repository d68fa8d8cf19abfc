//! Passes: each makes a graph of the same plaintext meaning, nearer to what the encrypted run computes.
//!
//! [`encrypted`] applies all of them, in this order:
//!
//! | pass | what it does |
//! |---|---|
//! | [`affine`] | normalisation and batch norm go into their neighbours |
//! | [`dead`] | channels that are constant or unread are removed |
//! | [`mod@concat`] | concatenations are distributed over their readers |
//! | [`square`] | quadratics become squares with gains and offsets after them, which [`affine`] moves on |
//! | [`bridge`] | what found no neighbour becomes a map of its own |
//! | [`merge`] | two linear maps in a row become one |
//! | [`units`] | every tensor is brought to the unit in which the encrypted run holds it |

pub mod affine;
pub mod bridge;
pub mod concat;
pub mod dead;
pub mod merge;
mod rewrite;
pub mod shapes;
pub mod square;
pub mod units;

use crate::{Graph, ModelError};

/// All passes: input, maps, squares, polynomials, ReLUs and sums are left, in the units of the encrypted run.
///
/// # Errors
/// [`ModelError::NoStatistics`] for a graph whose activations have none, and those of the passes.
pub fn encrypted(graph: &Graph) -> Result<Graph, ModelError> {
    let graph = dead::remove(&affine::fold(graph))?;
    let graph = square::split(&concat::distribute(&graph)?);
    let graph = bridge::insert(&affine::fold_into_maps(&graph))?;
    units::normalise(&merge::merge(&graph)?)
}
