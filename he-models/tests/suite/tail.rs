//! The last block of a network.

use datasets::{Dataset, Synthetic};
use he_layers::PlainTensor;
use he_models::Model;
use he_models::graph::Op;

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
    for name in ["resnet20", "resnet34"] {
        let model = Model::bundled(name).unwrap();
        let images = Synthetic::new(3).read(0, 2).unwrap().view().to_f64();
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
fn graphs_without_a_last_block_are_refused() {
    // Its last block has a stride.
    let strided = Model::bundled("tiny").unwrap();
    let error = strided.graph().last_block().unwrap_err().to_string();
    assert!(error.contains("stage2.block1"), "{error}");

    let mut graph = Model::bundled("resnet20").unwrap().graph().clone();
    let mut sums = graph.nodes.iter_mut().rev().filter(|n| n.op == Op::Add);
    // The last block adds its inner map to itself instead of to what it reads.
    let sum = sums.next().unwrap();
    let map = *sum.inputs.iter().max_by_key(|id| id.0).unwrap();
    sum.inputs = vec![map, map];
    let error = graph.last_block().unwrap_err().to_string();
    let expected = "operation is another, expected the sum of a block's last map and its shortcut";
    assert!(error.ends_with(expected), "{error}");
}
