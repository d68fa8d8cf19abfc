//! What no neighbour took becomes a linear map, so that only maps, activations and sums are left.

use super::rewrite::Rewrite;
use crate::{
    ModelError,
    graph::{Affine, Function, Graph, NodeId, Op, maps},
};

/// Puts maps of single channels in the place of gains and offsets, and between squares and the sums or activations that read
/// them: only a map reads a square.
///
/// # Errors
/// [`ModelError::Layer`] for gains that are not finite.
pub fn insert(graph: &Graph) -> Result<Graph, ModelError> {
    let shapes = graph.shapes()?;
    let is_square = |id: NodeId| match &graph.node(id).op {
        Op::Activation(activation) => matches!(activation.function, Function::Quadratic(_)),
        Op::Input | Op::Linear(_) | Op::Affine(_) | Op::Add | Op::Concat => false,
    };
    let mut rewrite = Rewrite::empty(graph);
    let mut positions: Vec<NodeId> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let mut inputs: Vec<NodeId> = Vec::with_capacity(node.inputs.len());
        for id in &node.inputs {
            let position = positions[id.0];
            if matches!(node.op, Op::Add | Op::Activation(_)) && is_square(*id) {
                let channels = shapes[id.0].channels;
                let identity = Affine {
                    gain: vec![1.0; channels],
                    offset: vec![0.0; channels],
                };
                let name = format!("{}.value", graph.node(*id).name);
                inputs.push(rewrite.push_linear(position, maps::scaled(&name, &identity)?));
            } else {
                inputs.push(position);
            }
        }
        positions.push(match &node.op {
            Op::Affine(affine) => rewrite.push_linear(inputs[0], maps::scaled(&node.name, affine)?),
            op @ (Op::Input | Op::Linear(_) | Op::Activation(_) | Op::Add | Op::Concat) => {
                rewrite.push(node.name.clone(), inputs, op.clone())
            }
        });
    }
    Ok(rewrite.finish())
}
