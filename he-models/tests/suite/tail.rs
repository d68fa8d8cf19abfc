//! The last block of a network.

use datasets::{Dataset, Shape, Synthetic};
use he_layers::PlainTensor;
use he_models::Model;

/// Logits by way of the block.
fn logits(model: &Model, images: &[f64]) -> Vec<f64> {
    let block = model.graph().last_block().unwrap();
    let inputs = block.front.evaluate(images).unwrap().logits;
    let count = inputs.len() / block.shape.volume();
    let z1 = PlainTensor::new(count, block.shape, inputs).unwrap();
    let squared = |z: &PlainTensor, t: &[f64]| {
        PlainTensor::from_fn(z.n, z.shape, |n, c, y, x| (z.at(n, c, y, x) + t[c]).powi(2))
    };
    let [t1, t2, t3] = &block.offsets;
    let [conv1, conv2] = &block.convolutions;
    let z2 = conv1.forward_plain(&squared(&z1, t1)).unwrap();
    let mut z3 = conv2.forward_plain(&squared(&z2, t2)).unwrap();
    z3.add_assign("shortcut", &z1).unwrap();
    block.head.forward_plain(&squared(&z3, t3)).unwrap().data
}

#[test]
fn logits_come_by_way_of_the_last_block() {
    for (name, side, count) in [("tiny", 8, 5), ("resnet34", 32, 2)] {
        let model = Model::bundled(name).unwrap();
        let shape = Shape {
            channels: 3,
            height: side,
            width: side,
        };
        let images = Synthetic::with_shape(3, shape).unwrap().read(0, count);
        let images = images.unwrap().view().to_f64();
        let (found, expected) = (logits(&model, &images), model.logits(&images).unwrap());
        assert_eq!(found.len(), expected.len());
        let size = expected.iter().fold(0f64, |m, x| m.max(x.abs()));
        for (found, expected) in found.iter().zip(&expected) {
            assert!(
                (found - expected).abs() < 1e-9 * size,
                "{name}: {found} {expected}"
            );
        }
    }
}

#[test]
fn a_graph_without_a_last_block_is_refused() {
    let mut graph = Model::bundled("tiny").unwrap().graph().clone();
    let sums = graph.nodes.iter_mut();
    let sum = sums
        .rev()
        .find(|n| n.op == he_models::graph::Op::Add)
        .unwrap();
    // The block adds its own inner map instead of what it reads.
    sum.inputs[0] = sum.inputs[1];
    let error = graph.last_block().unwrap_err().to_string();
    assert!(error.contains(" is another, expected "), "{error}");
}
