//! Sizes that a small file can claim: they are refused before any memory is taken for them.

use he_models::{
    ModelError,
    spec::{INPUT, NodeSpec, OpSpec},
};

use crate::network::Network;

/// What is said of a network that begins with one node on a map of 8x8.
fn refused(op: OpSpec) -> String {
    let mut net = Network::empty(1, (1, 8, 8));
    if let OpSpec::Conv2d { weight, .. } = &op {
        net.tensor(weight.clone(), &[1, 1, 2, 2], -1.0..1.0);
    }
    let mut node = |name: &str, inputs: &str, op| {
        net.spec.nodes.push(NodeSpec {
            name: name.into(),
            inputs: vec![inputs.into()],
            op,
        });
    };
    node("large", INPUT, op);
    node("flat", "large", OpSpec::GlobalAvgPool);
    net.spec.classes = vec!["one".into()];
    let error = net.model().unwrap_err();
    assert!(matches!(error, ModelError::Node { .. }), "{error}");
    error.to_string()
}

fn pool(side: usize, zeros: usize) -> OpSpec {
    OpSpec::AvgPool {
        kernel: (side, side),
        stride: (1, 1),
        padding: (zeros, zeros, zeros, zeros),
    }
}

/// A kernel of 2x2 weights, far from one another.
fn spread(step: usize, zeros: usize) -> OpSpec {
    OpSpec::Conv2d {
        channels: 1,
        kernel: (2, 2),
        stride: (1, 1),
        padding: (zeros, zeros, zeros, zeros),
        dilation: (step, step),
        groups: 1,
        weight: "large.weight".into(),
        bias: None,
    }
}

#[test]
fn kernels_larger_than_their_padded_map_are_refused() {
    // The last one fits its padding, but is longer than any side of a map.
    for op in [
        pool(9, 0),
        pool(30_009, 15_000),
        spread(8, 0),
        spread(1 << 16, 1 << 15),
    ] {
        let words = refused(op);
        assert!(words.contains("kernel rows"), "{words}");
        assert!(words.contains("at most the map's 8 with"), "{words}");
    }
}

#[test]
fn kernels_of_more_weights_than_any_map_has_values_are_refused() {
    // Each fits its map with the padding, and would take 29 GB.
    for op in [pool(60_000, 30_000), spread(59_999, 30_000)] {
        let words = refused(op);
        assert!(words.contains("number of weights is 3600000000"), "{words}");
    }
}

#[test]
fn maps_of_any_size_are_refused() {
    // One has a side above 2^16, one has more than 2^26 values.
    for zeros in [1 << 15, 1 << 13] {
        let words = refused(spread(1, zeros));
        assert!(words.contains("shape of its output"), "{words}");
    }
}
