//! Two linear maps in a row become one, where that is exact and cheaper.

use std::sync::Arc;

use super::rewrite::Rewrite;
use crate::{
    Graph, ModelError,
    graph::{NodeId, Op},
};

/// Merges every map with the map that alone reads it, where they are one map.
///
/// # Errors
/// [`ModelError::Layer`] for maps that do not fit together.
pub fn merge(graph: &Graph) -> Result<Graph, ModelError> {
    let shapes = graph.shapes()?;
    let mut rewrite = Rewrite::new(graph);
    for i in 0..rewrite.graph.nodes.len() {
        let id = NodeId(i);
        let (Op::Linear(next), [first]) = (&rewrite.graph.nodes[i].op, rewrite.graph.nodes[i].inputs.as_slice()) else {
            continue;
        };
        let first = *first;
        let Op::Linear(before) = &rewrite.graph.node(first).op else {
            continue;
        };
        if !rewrite.is_only_reader(first, id) {
            continue;
        }
        let source = rewrite.graph.node(first).inputs[0];
        if let Some(both) = before.then(next, shapes[source.0])? {
            let node = &mut rewrite.graph.nodes[i];
            node.op = Op::Linear(Arc::new(both));
            node.inputs = vec![source];
        }
    }
    Ok(rewrite.finish())
}
