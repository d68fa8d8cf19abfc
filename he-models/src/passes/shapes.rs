//! Shapes of all nodes, and whether what meets fits.

use he_layers::{Chw, LayerError};

use crate::{
    Graph, ModelError,
    graph::{Function, Node, Op},
    spec::{MAX_EXTENT, MAX_MAP},
};

/// Shape of every node's output.
///
/// # Errors
/// [`ModelError::Layer`], [`ModelError::JoinedShapes`] or [`ModelError::Node`] for the first node that does not take what it
/// reads.
pub fn infer(graph: &Graph) -> Result<Vec<Chw>, ModelError> {
    let mut shapes: Vec<Chw> = Vec::with_capacity(graph.nodes.len());
    for (i, node) in graph.nodes.iter().enumerate() {
        let inputs: Option<Vec<Chw>> = node
            .inputs
            .iter()
            .map(|id| shapes.get(id.0).copied())
            .collect();
        let inputs = inputs.ok_or_else(|| {
            ModelError::node(&node.name, "an input", "a later node", "an earlier one")
        })?;
        let shape = output_shape(node, &inputs, (i == 0).then_some(graph.input))?;
        shapes.push(shape);
    }
    Ok(shapes)
}

/// Shape of what a node gives; `image` is that of the input, for the first node.
pub(crate) fn output_shape(
    node: &Node,
    inputs: &[Chw],
    image: Option<Chw>,
) -> Result<Chw, ModelError> {
    let arity = match node.op {
        Op::Input => inputs.is_empty(),
        Op::Linear(_) | Op::Affine(_) | Op::Activation(_) => inputs.len() == 1,
        Op::Add | Op::Concat => !inputs.is_empty(),
    };
    if !arity || image.is_some() != (node.op == Op::Input) {
        let found = format!("{} inputs", inputs.len());
        let expected =
            "one input, more for sums and concatenations, none for the graph's first node";
        return Err(ModelError::node(
            &node.name,
            "place in the graph",
            found,
            expected,
        ));
    }
    let per_channel =
        |arrays: &[&[f64]]| match arrays.iter().find(|a| a.len() != inputs[0].channels) {
            None => Ok(inputs[0]),
            Some(array) => Err(ModelError::Layer(LayerError::Channels {
                layer: node.name.clone(),
                found: inputs[0].channels,
                expected: array.len(),
            })),
        };
    let shape = match &node.op {
        Op::Input => image.unwrap_or(Chw::new(0, 0, 0)),
        Op::Linear(linear) => linear.output_shape(inputs[0])?,
        Op::Affine(affine) => per_channel(&[&affine.gain, &affine.offset])?,
        Op::Activation(activation) => match &activation.function {
            Function::Quadratic(q) => per_channel(&[&q.g, &q.t, &q.d])?,
            Function::Polynomial { .. } | Function::Relu(_) => inputs[0],
        },
        Op::Add => match inputs.iter().find(|shape| **shape != inputs[0]) {
            None => inputs[0],
            Some(found) => return Err(joined(node, *found, inputs[0])),
        },
        Op::Concat => {
            let size = |shape: &Chw| (shape.height, shape.width);
            if let Some(found) = inputs.iter().find(|shape| size(shape) != size(&inputs[0])) {
                return Err(joined(node, *found, inputs[0]));
            }
            let channels = inputs.iter().map(|shape| shape.channels).sum();
            Chw::new(channels, inputs[0].height, inputs[0].width)
        }
    };
    check(&node.name, shape)?;
    Ok(shape)
}

/// Refuses maps that are empty or too large.
pub(crate) fn check(node: &str, shape: Chw) -> Result<(), ModelError> {
    let sides = [shape.channels, shape.height, shape.width];
    let values = sides.into_iter().fold(1, usize::saturating_mul);
    if values == 0 || values > MAX_MAP || sides.into_iter().any(|side| side > MAX_EXTENT) {
        let expected = format!("1 to {MAX_MAP} values, no side above {MAX_EXTENT}");
        return Err(ModelError::node(
            node,
            "shape of its output",
            shape,
            expected,
        ));
    }
    Ok(())
}

fn joined(node: &Node, found: Chw, expected: Chw) -> ModelError {
    ModelError::JoinedShapes {
        node: node.name.clone(),
        found,
        expected,
    }
}
