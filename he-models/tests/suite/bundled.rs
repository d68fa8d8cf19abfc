//! The models that come with the library.

use he_layers::{Linear, PlainTensor, Term};
use he_models::{
    Model,
    graph::{Function, Op},
    passes,
};

fn images_like_cifar(model: &Model, count: usize) -> Vec<f64> {
    use datasets::{Dataset, Shape, Synthetic};
    let he_layers::Chw {
        channels,
        height,
        width,
    } = model.input_shape();
    let shape = Shape {
        channels,
        height,
        width,
    };
    let images = Synthetic::with_shape(7, shape)
        .unwrap()
        .read(0, count)
        .unwrap();
    images.view().to_f64()
}

#[test]
fn unknown_models_are_told_what_there_is() {
    let error = Model::open("resnet50").unwrap_err();
    let text =
        "unknown model `resnet50`; bundled: resnet20, resnet34, tiny, or a path to a .ron file";
    assert_eq!(error.to_string(), text);
}

#[test]
fn bundled_models_are_named_as_their_files() {
    for name in he_models::bundled_names() {
        let model = Model::bundled(name).unwrap();
        assert_eq!(model.name(), name);
        assert_eq!(model.spec().weights.file, format!("{name}.safetensors"));
        let provenance = &model.spec().provenance;
        assert!(provenance.origin.is_some() && provenance.licence.is_some());
    }
}

#[test]
fn synthetic_images_stay_in_the_ranges_of_bundled_models() {
    for name in he_models::bundled_names() {
        let model = Model::bundled(name).unwrap();
        let evaluation = model.evaluate(&images_like_cifar(&model, 32)).unwrap();
        assert_eq!(evaluation.out_of_range, [], "{name}");
        assert!(evaluation.logit_std() > 0.2, "{name}");
    }
}

#[test]
fn lowered_bundled_networks_are_the_exported_networks() {
    for name in he_models::bundled_names() {
        let model = Model::bundled(name).unwrap();
        let images = images_like_cifar(&model, 4);
        let expected = model.logits(&images).unwrap();
        let lowered = model.lower().unwrap();
        let images = PlainTensor::new(4, lowered.input, images).unwrap();
        let found = lowered.program.forward_plain(&images).unwrap().data;
        let size = expected.iter().fold(0.0, |m: f64, l| m.max(l.abs()));
        for (a, b) in found.iter().zip(&expected) {
            assert!((a - b).abs() < 1e-9 * size, "{name}: {a} against {b}");
        }
    }
}

#[test]
fn bundled_programs_have_one_node_for_stem_and_head_and_two_for_each_block() {
    for (name, blocks) in [("tiny", 2), ("resnet20", 9), ("resnet34", 16)] {
        let program = Model::bundled(name).unwrap().lower().unwrap().program;
        let stages: Vec<&str> = program.nodes().iter().map(|node| node.stage()).collect();
        assert_eq!(stages.len(), 2 + 2 * blocks, "{stages:?}");
        assert_eq!(
            (stages[0], stages[1], stages[2]),
            ("stem", "stage1.block1", "stage1.block1")
        );
        assert_eq!(stages.last(), Some(&"final"));
        let adds = |node: &he_layers::Node| node.terms().iter().any(|t| matches!(t, Term::Add(_)));
        let streams = program.nodes().iter().filter(|node| adds(node)).count();
        let projections = match name {
            "tiny" => 1,
            "resnet20" => 2,
            _ => 3,
        };
        assert_eq!(streams, blocks - projections, "{name}");
    }
}

/// A length, a sum with weights that tell places apart, and a sum of absolute values.
fn signature(values: &[f64]) -> (usize, f64, f64) {
    let weighted = values
        .iter()
        .enumerate()
        .map(|(i, x)| x * (1.0 + (i as f64).sin()));
    (
        values.len(),
        weighted.sum(),
        values.iter().map(|x| x.abs()).sum(),
    )
}

/// `folded_units.csv` was written by the first implementation, which knew these three networks only.
#[test]
fn kat_bundled_networks_in_units_of_the_encrypted_run() {
    let expected = include_str!("../vectors/folded_units.csv");
    let mut graphs = std::collections::BTreeMap::new();
    for name in he_models::bundled_names() {
        let model = Model::bundled(name).unwrap();
        graphs.insert(name, passes::encrypted(model.graph()).unwrap());
    }
    for line in expected.lines() {
        let fields: Vec<&str> = line.split(',').collect();
        let [model, node, what, ..] = fields[..] else {
            panic!("{line}")
        };
        let named = if node == "head" { "final.fc" } else { node };
        let graph = &graphs[model];
        let mut nodes = graph.nodes.iter();
        let op = &nodes
            .find(|n| n.name == named)
            .unwrap_or_else(|| panic!("{line}"))
            .op;
        let values = match op {
            Op::Linear(map) => match (map.as_ref(), what) {
                (Linear::Conv(conv), "weight") => conv.weight.clone(),
                (Linear::Conv(conv), "tap_bias") => conv.tap_bias.clone(),
                // One weight for all pixels of a channel.
                (Linear::Dense(dense), "weight") => dense
                    .weight
                    .chunks(dense.input.pixels())
                    .map(|pixels| pixels[0])
                    .collect(),
                (Linear::Dense(dense), "bias") => dense.bias.clone(),
                _ => panic!("{line}"),
            },
            Op::Activation(activation) => match (&activation.function, what) {
                (Function::Quadratic(q), "t") => q.t.clone(),
                (_, "declared") => activation.declared.clone(),
                (_, "second_moment") => activation.second_moment.clone(),
                _ => panic!("{line}"),
            },
            Op::Input | Op::Affine(_) | Op::Add | Op::Concat => panic!("{line}"),
        };
        let (length, weighted, absolute) = signature(&values);
        let [_, _, _, l, w, a] = fields[..] else {
            panic!("{line}")
        };
        let (w, a): (f64, f64) = (w.parse().unwrap(), a.parse().unwrap());
        assert_eq!(length, l.parse::<usize>().unwrap(), "{line}");
        assert!((weighted - w).abs() < 1e-12 * a, "{line}: {weighted}");
        assert!((absolute - a).abs() < 1e-12 * a, "{line}: {absolute}");
    }
}
