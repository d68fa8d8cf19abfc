//! The first layers of a network as a network of their own: for a check by clients that may have no more than that.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use crate::{
    Model, ModelError, ModelSpec, Provenance,
    spec::{INPUT, NodeSpec, OpSpec, WeightsSpec},
    weights::{self, Weights, hex},
};

/// The part of a network that leads to an activation, as a model file and its weights: all that comes before, the activation
/// with its declared range, and the mean of each of its channels in the place of logits.
///
/// A client that must not have the network can evaluate this part of it, and finds the pictures that leave a range there. How
/// many of those that leave some range these are depends on the part. Of the bundled networks the first activation finds none;
/// `docs/notes/containment.md` has the figures. Whoever owns the network decides how much of it may be known.
///
/// # Errors
/// [`ModelError::Node`] if there is no such activation; whatever is wrong with the network.
pub fn front(
    spec: &ModelSpec,
    weights: &[u8],
    activation: &str,
) -> Result<(ModelSpec, Vec<u8>), ModelError> {
    let model = Model::new(spec.clone(), weights)?;
    let mut activations = model.graph().activations();
    let found = activations.find(|(_, node, _)| node.name == activation);
    let Some((id, ..)) = found else {
        let names = spec.activation_names().collect::<Vec<_>>().join(", ");
        let expected = format!("one of {names}");
        return Err(ModelError::node(
            activation,
            "operation",
            "no activation",
            expected,
        ));
    };
    let channels = model.graph().shapes()?[id.0].channels;

    let mut needed = BTreeSet::from([activation]);
    for node in spec.nodes.iter().rev() {
        if needed.contains(node.name.as_str()) {
            needed.extend(node.inputs.iter().map(String::as_str));
        }
    }
    needed.remove(INPUT);
    let kept = |name: &str| needed.contains(name);
    let mut nodes: Vec<NodeSpec> = spec.nodes.clone();
    nodes.retain(|node| kept(&node.name));
    let names: BTreeSet<&str> = nodes.iter().flat_map(|node| node.op.tensors()).collect();
    let mut tensors = Weights::parse(&spec.name, weights, None)?.into_tensors();
    tensors.retain(|name, _| names.contains(name.as_str()));
    nodes.push(NodeSpec {
        name: format!("{activation}.mean"),
        inputs: vec![activation.to_owned()],
        op: OpSpec::GlobalAvgPool,
    });
    let bytes = weights::serialize(&spec.name, &tensors)?;
    let name = format!("{}.front", spec.name);
    let mut statistics = spec.activations.clone();
    statistics.retain(|entry| kept(&entry.name));
    let front = ModelSpec {
        weights: WeightsSpec {
            file: format!("{name}.safetensors"),
            sha256: Some(hex(&Sha256::digest(&bytes))),
        },
        name,
        classes: (0..channels).map(|k| k.to_string()).collect(),
        nodes,
        activations: statistics,
        provenance: Provenance {
            origin: Some(format!("{} up to {activation}", spec.name)),
            licence: spec.provenance.licence.clone(),
            ..Provenance::default()
        },
        ..spec.clone()
    };
    front.validate()?;
    Ok((front, bytes))
}
