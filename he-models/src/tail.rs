//! The last residual block of a network and what leads to it: for training that goes beyond the head.

use std::sync::Arc;

use he_layers::{Chw, Conv2d, Linear};

use crate::{
    Graph, ModelError,
    graph::{Activation, Function, Node, NodeId, Op},
    passes,
};

/// The last block of a pre-activation residual network, in the units of the encrypted run:
///
/// `z2 = conv1((z1 + t1)^2)`, `z3 = conv2((z2 + t2)^2) + z1`, `logits = head((z3 + t3)^2)`.
///
/// The scales of the exported activations are part of the maps that come after them. The scale of each square is 1 here.
#[derive(Clone, Debug)]
pub struct LastBlock {
    /// The network up to `z1`, which it gives in the place of logits. See [`Graph::evaluate`].
    pub front: Graph,
    /// Shape of one image's maps in the block.
    pub shape: Chw,
    /// The two convolutions.
    pub convolutions: [Conv2d; 2],
    /// Offsets `t` of the three activations, one for each channel.
    pub offsets: [Vec<f64>; 3],
    /// Declared range of the absolute value of `z + t`, of each activation and channel.
    pub declared: [Vec<f64>; 3],
    /// What reads the last activation.
    pub head: Arc<Linear>,
}

impl Graph {
    /// The last block of the network.
    ///
    /// # Errors
    /// [`ModelError::Node`] for a network that does not end with a pre-activation block of two convolutions of stride 1, an
    /// identity shortcut, three quadratic activations and a head; those of [`passes::encrypted`].
    pub fn last_block(&self) -> Result<LastBlock, ModelError> {
        let graph = passes::encrypted(self)?;
        let output = graph.output();
        let (head, last) = linear(&graph, output)?;
        let (third, sum) = square(&graph, last)?;
        let (second, shortcut) = sum_of_two(&graph, sum)?;
        let (conv2, read) = convolution(&graph, second)?;
        let (square2, inner) = square(&graph, read)?;
        let (conv1, read) = convolution(&graph, inner)?;
        let (square1, input) = square(&graph, read)?;
        if input != shortcut {
            let (found, expected) = (&graph.node(shortcut).name, &graph.node(input).name);
            return Err(wrong(graph.node(sum), "shortcut", found, expected));
        }
        let shape = graph.shapes()?[input.0];
        let mut front = graph.clone();
        front.nodes.truncate(input.0 + 1);
        let squares = [square1, square2, third];
        let offsets = squares.clone().map(|(t, _)| t);
        Ok(LastBlock {
            front,
            shape,
            convolutions: [conv1, conv2],
            offsets,
            declared: squares.map(|(_, declared)| declared),
            head,
        })
    }
}

fn wrong(node: &Node, what: &str, found: impl ToString, expected: &str) -> ModelError {
    ModelError::node(&node.name, what, found, expected)
}

fn linear(graph: &Graph, id: NodeId) -> Result<(Arc<Linear>, NodeId), ModelError> {
    let node = graph.node(id);
    match (&node.op, node.inputs.as_slice()) {
        (Op::Linear(map), [input]) => Ok((Arc::clone(map), *input)),
        _ => Err(wrong(node, "operation", "another", "a linear map")),
    }
}

fn convolution(graph: &Graph, id: NodeId) -> Result<(Conv2d, NodeId), ModelError> {
    let (map, input) = linear(graph, id)?;
    match &*map {
        Linear::Conv(conv) if conv.stride == (1, 1) => Ok((conv.clone(), input)),
        Linear::Conv(_) | Linear::Dense(_) => {
            let expected = "a convolution of stride 1";
            Err(wrong(graph.node(id), "map", "another", expected))
        }
    }
}

/// Offsets and declared ranges of a square, and what it reads.
type Squared = ((Vec<f64>, Vec<f64>), NodeId);

fn square(graph: &Graph, id: NodeId) -> Result<Squared, ModelError> {
    let node = graph.node(id);
    if let (
        Op::Activation(Activation {
            function: Function::Quadratic(q),
            declared,
            ..
        }),
        [input],
    ) = (&node.op, node.inputs.as_slice())
        && q.is_square()
    {
        return Ok(((q.t.clone(), declared.clone()), *input));
    }
    Err(wrong(
        node,
        "operation",
        "another",
        "a quadratic activation",
    ))
}

/// The summand that is a map, and the other.
fn sum_of_two(graph: &Graph, id: NodeId) -> Result<(NodeId, NodeId), ModelError> {
    let node = graph.node(id);
    let is_map = |id: NodeId| matches!(graph.node(id).op, Op::Linear(_));
    match (&node.op, node.inputs.as_slice()) {
        // A map before the block comes first in the graph.
        (Op::Add, [a, b]) if is_map(*b) && a.0 < b.0 => Ok((*b, *a)),
        (Op::Add, [a, b]) if is_map(*a) && b.0 < a.0 => Ok((*a, *b)),
        _ => {
            let expected = "the sum of a block's last map and its shortcut";
            Err(wrong(node, "operation", "another", expected))
        }
    }
}
