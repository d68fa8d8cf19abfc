//! Two linear maps in a row become one, where that is exact and not dear: see [`Linear::then`].

use std::sync::Arc;

use he_layers::Linear;

use super::rewrite::Rewrite;
use crate::{
    Graph, ModelError,
    graph::{NodeId, Op},
};

/// Merges every map with the map that alone reads it, where they are one map. That saves a level and a map's rotations.
///
/// # Errors
/// As [`Graph::shapes`] and [`Linear::then`].
pub fn merge(graph: &Graph) -> Result<Graph, ModelError> {
    let shapes = graph.shapes()?;
    let mut rewrite = Rewrite::new(graph);
    for i in 0..rewrite.graph.nodes.len() {
        let node = &rewrite.graph.nodes[i];
        let (Op::Linear(next), [first]) = (&node.op, node.inputs.as_slice()) else {
            continue;
        };
        let Op::Linear(before) = &rewrite.graph.node(*first).op else {
            continue;
        };
        if !rewrite.is_only_reader(*first, NodeId(i)) {
            continue;
        }
        let source = rewrite.graph.node(*first).inputs[0];
        if let Some(mut both) = before.then(next, shapes[source.0])? {
            let name = next.name().to_owned();
            match &mut both {
                Linear::Conv(conv) => conv.name = name,
                Linear::Dense(dense) => dense.name = name,
            }
            let node = &mut rewrite.graph.nodes[i];
            node.op = Op::Linear(Arc::new(both));
            node.inputs = vec![source];
        }
    }
    Ok(rewrite.finish())
}
