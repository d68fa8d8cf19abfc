//! Every pass keeps the plaintext meaning, on random graphs; and the lowered program computes the same logits.

use he_layers::PlainTensor;
use he_models::{
    Evaluation, Graph,
    graph::{Function, Op},
    passes::{self, affine, bridge, concat, dead, merge, square},
};
use proptest::prelude::*;

use crate::network::{Kind, Network};

/// Largest difference of logits, relative to the largest logit or activation input of the expected evaluation.
fn difference(found: &[f64], expected: &Evaluation) -> f64 {
    assert_eq!(found.len(), expected.logits.len());
    let seen = expected.activations.iter().flat_map(|a| &a.max_abs);
    let size = expected
        .logits
        .iter()
        .chain(seen)
        .fold(1e-6, |m: f64, v| m.max(v.abs()));
    let pairs = found.iter().zip(&expected.logits);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / size
}

fn keeps(graph: &Graph, images: &[f64], expected: &Evaluation) -> Result<(), TestCaseError> {
    let found = graph.evaluate(images).unwrap();
    let difference = difference(&found.logits, expected);
    prop_assert!(difference < 1e-9, "{difference:e}");
    Ok(())
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![Kind::Quadratic, Kind::Relu, Kind::Any])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn prop_each_pass_keeps_the_meaning(kind in kinds(), seed: u64) {
        let (model, images, expected) = Network::random(kind, seed).measured(4);
        let graph = model.graph();
        keeps(&affine::fold(graph), &images, &expected)?;
        keeps(&affine::fold_into_maps(graph), &images, &expected)?;
        keeps(&dead::remove(graph).unwrap(), &images, &expected)?;
        keeps(&square::split(graph), &images, &expected)?;
        keeps(&bridge::insert(graph).unwrap(), &images, &expected)?;
        keeps(&merge::merge(graph).unwrap(), &images, &expected)?;
        let without_joins = concat::distribute(graph).unwrap();
        prop_assert!(without_joins.nodes.iter().all(|node| node.op != Op::Concat));
        keeps(&without_joins, &images, &expected)?;
    }

    #[test]
    fn prop_all_passes_together_keep_the_meaning_and_the_ranges(kind in kinds(), seed: u64) {
        let (model, images, expected) = Network::random(kind, seed).measured(4);
        let graph = passes::encrypted(model.graph()).unwrap();
        keeps(&graph, &images, &expected)?;
        // Declared ranges follow the units.
        prop_assert_eq!(graph.evaluate(&images).unwrap().out_of_range, []);
        for node in &graph.nodes {
            prop_assert!(!matches!(node.op, Op::Affine(_) | Op::Concat), "{}", node.name);
            if let Op::Activation(activation) = &node.op
                && let Function::Quadratic(q) = &activation.function
            {
                prop_assert!(q.is_square());
            }
        }
    }

    #[test]
    fn prop_lowered_quadratic_networks_are_the_exported_networks(seed: u64) {
        let (model, images, expected) = Network::random(Kind::Quadratic, seed).measured(4);
        let lowered = model.lower().unwrap();
        let images = PlainTensor::new(4, lowered.input, images).unwrap();
        let found = lowered.program.forward_plain(&images).unwrap();
        let difference = difference(&found.data, &expected);
        prop_assert!(difference < 1e-9, "{difference:e}");
    }
}

#[test]
fn squares_have_mean_one_where_nothing_is_summed() {
    let mut net = Network::random(Kind::Quadratic, 5);
    let (model, images, _) = net.measured(40);
    let graph = passes::encrypted(model.graph()).unwrap();
    let evaluation = graph.evaluate(&images).unwrap();
    let mut checked = 0;
    for (record, (_, node, _)) in evaluation.activations.iter().zip(graph.activations()) {
        if matches!(graph.node(node.inputs[0]).op, Op::Linear(_))
            && graph.readers()[node.inputs[0].0].len() == 1
        {
            for moment in record.second_moment() {
                assert!((moment - 1.0).abs() < 1e-3, "{}: {moment}", record.name);
                checked += 1;
            }
        }
    }
    assert!(checked > 0);
}
