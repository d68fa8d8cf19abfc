//! Images that leave the declared ranges, and where logits can be if none does.

use he_models::{
    Model, front,
    graph::{Function, Op},
};
use proptest::prelude::*;

use crate::network::{Kind, Network, file};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn prop_logits_of_images_within_the_ranges_are_within_the_bounds(seed: u64) {
        for kind in [Kind::Quadratic, Kind::Relu, Kind::Any] {
            let (model, _, evaluation) = Network::random(kind, seed).measured(4);
            let bounds = model.logit_bounds().unwrap();
            prop_assert_eq!(bounds.least.len(), evaluation.classes);
            for logits in evaluation.logits.chunks_exact(evaluation.classes) {
                prop_assert!(bounds.hold(logits), "{logits:?} in {bounds:?}");
            }
        }
    }
}

/// The head's share of a logit bound, written out: the last quadratic's values times the weights of the dense layer.
#[test]
fn bounds_of_the_tiny_network_are_those_of_its_head() {
    let model = Model::bundled("tiny").unwrap();
    let mut nodes = model.graph().nodes.iter();
    let head = nodes.find(|node| node.name == "final.fc").unwrap();
    let Op::Linear(map) = &head.op else {
        panic!("{head:?}")
    };
    let he_layers::Linear::Dense(dense) = map.as_ref() else {
        panic!("{map:?}")
    };
    let (_, _, last) = model.graph().activations().last().unwrap();
    let Function::Quadratic(q) = &last.function else {
        panic!("{last:?}")
    };
    let mut exact = Vec::new();
    for (row, bias) in dense.weight.chunks_exact(q.g.len()).zip(&dense.bias) {
        let (mut least, mut most) = (*bias, *bias);
        for (c, w) in row.iter().enumerate() {
            let ends = [q.d[c], q.g[c] * last.declared[c].powi(2) + q.d[c]].map(|y| w * y);
            least += ends[0].min(ends[1]);
            most += ends[0].max(ends[1]);
        }
        exact.push((least, most));
    }
    let size = |(least, most): &(f64, f64)| (most - least).max(least.abs()).max(most.abs());
    let margin = 0.1 * exact.iter().map(size).fold(0.0, f64::max);
    let found = model.logit_bounds().unwrap();
    for (k, (least, most)) in exact.iter().enumerate() {
        assert!((found.least[k] - (least - margin)).abs() < 1e-9, "{k}");
        assert!((found.most[k] - (most + margin)).abs() < 1e-9, "{k}");
        let mut logits: Vec<f64> = exact.iter().map(|(a, b)| (a + b) / 2.0).collect();
        assert!(found.hold(&logits));
        for beyond in [
            most + 1.01 * margin,
            least - 1.01 * margin,
            f64::NAN,
            f64::INFINITY,
        ] {
            logits[k] = beyond;
            assert!(!found.hold(&logits), "{beyond} at {k}");
        }
    }
    assert!(!found.hold(&[0.0]));
}

#[test]
fn nothing_is_known_of_the_logits_of_networks_without_ranges() {
    let net = Network::random(Kind::Any, 3);
    let bounds = net.model().unwrap().logit_bounds().unwrap();
    assert!(bounds.most.iter().all(|most| *most == f64::INFINITY));
    let logits = vec![1e300; bounds.least.len()];
    assert!(bounds.hold(&logits) && !bounds.hold(&vec![f64::NAN; logits.len()]));
}

#[test]
fn an_image_that_leaves_a_range_is_told_with_the_first_activation_that_it_leaves() {
    let model = Model::bundled("tiny").unwrap();
    let len = model.image_len();
    let grey = vec![0.5; len];
    // So strong that all values overflow, and so strong that some leave their ranges.
    let strong =
        |factor: f64| (0..len).map(move |i| 0.5 + factor * f64::from(u8::from(i % 2 == 0)));
    let images = [
        grey.clone(),
        strong(1e200).collect(),
        grey.clone(),
        strong(20.0).collect(),
    ];
    let evaluation = model.evaluate(&images.concat()).unwrap();
    let found = &evaluation.out_of_range;
    assert_eq!(found.iter().map(|e| e.image).collect::<Vec<_>>(), [1, 3]);
    assert_eq!((found[0].activation, found[1].activation), (0, 0));
    assert!(found[0].share > 1e190, "{found:?}");
    // What the record of the activation says about that image alone.
    let alone = model.evaluate(&images[3]).unwrap();
    let record = &alone.activations[0];
    let share = record.max_abs[found[1].channel] / record.declared[found[1].channel];
    assert_eq!(found[1].share, share);
    assert_eq!(record.share(), Some(share));
    assert!((1.0..100.0).contains(&share), "{share}");

    // Images after others keep their numbers.
    let mut whole = model.evaluate(&grey).unwrap();
    assert!(whole.activations[0].share().unwrap() < 1.0);
    whole.append(evaluation.clone());
    let moved: Vec<usize> = whole.out_of_range.iter().map(|e| e.image).collect();
    assert_eq!(moved, [2, 4]);
    assert!(whole.activations.iter().all(|a| a.share().unwrap() > 1.0));
    assert_eq!(
        whole.activations.last().unwrap().share(),
        Some(f64::INFINITY)
    );
}

#[test]
fn the_front_of_a_network_finds_what_leaves_there_with_no_more_weights() {
    let spec = Model::bundled("tiny").unwrap().spec().clone();
    let weights = include_bytes!("../../checkpoints/tiny/tiny.safetensors");
    let model = Model::new(spec.clone(), weights).unwrap();
    // The more contrast, the earlier a range is left.
    let len = model.image_len();
    let board = |factor: f64| {
        (0..len).map(move |i| {
            if (i + i / 8) % 2 == 0 {
                factor
            } else {
                1.0 - factor
            }
        })
    };
    let images: Vec<f64> = (0..40)
        .flat_map(|i| board(0.5 + 0.1 * f64::from(i)))
        .collect();
    let whole = model.evaluate(&images).unwrap();
    let names: Vec<&str> = spec.activation_names().collect();
    let mut found = Vec::new();
    for (last, name) in names.iter().enumerate() {
        let (front, bytes) = front(&spec, weights, name).unwrap();
        assert!(bytes.len() < weights.len());
        assert_eq!(front.activations, spec.activations[..=last]);
        let front = Model::from_parts(&front.to_ron().unwrap(), &bytes).unwrap();
        let evaluation = front.evaluate(&images).unwrap();
        let expected = whole.out_of_range.iter().filter(|e| e.activation <= last);
        assert_eq!(
            evaluation.out_of_range,
            expected.copied().collect::<Vec<_>>(),
            "{name}"
        );
        found.push(evaluation.out_of_range.len());
    }
    assert!(found[0] < found[1] && found[1] < found[4], "{found:?}");
    assert_eq!(found[4], whole.out_of_range.len());
    for name in ["stem", "final.fc", "nothing"] {
        let error = front(&spec, weights, name).unwrap_err().to_string();
        assert!(
            error.contains("is no activation, expected one of stage1.block1.act1, "),
            "{error}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn prop_fronts_of_any_network_see_what_the_network_sees(seed: u64, at: prop::sample::Index) {
        let mut net = Network::random(Kind::Any, seed);
        let (model, images, evaluation) = net.measured(3);
        prop_assume!(!evaluation.activations.is_empty());
        let record = &evaluation.activations[at.index(evaluation.activations.len())];
        let (spec, bytes) = front(model.spec(), &file(&net.tensors), &record.name).unwrap();
        let found = Model::new(spec, &bytes).unwrap().evaluate(&images).unwrap();
        prop_assert_eq!(found.activations.last().unwrap(), record);
        for seen in &found.activations {
            prop_assert!(evaluation.activations.contains(seen));
        }
    }
}
