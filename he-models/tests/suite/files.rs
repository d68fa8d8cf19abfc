//! Model files: what they say, what is wrong with them, and where they are.

use std::fs;

use he_models::{Model, ModelError, ModelSpec, graph::LayerSpec};

use crate::network::{Extents, Network};

const MODEL: &str = r#"(
    format: 1,
    name: "mine",
    dataset: "digits",
    weights: (file: "mine.safetensors"),
    input: (channels: 1, height: 8, width: 8, mean: [0.3], std: [0.5]),
    classes: ["zero", "one"],
    layers: [
        Stem(name: "stem", channels: 2),
        PreActBlock(name: "a", channels: 2, shortcut: Identity),
        PreActBlock(name: "b", channels: 3, stride: 2, shortcut: Projection),
        Head(activation: "last", dense: "out"),
    ],
)"#;

#[test]
fn model_file_has_defaults() {
    let spec = ModelSpec::parse(MODEL, "mine.ron").unwrap();
    let stem = LayerSpec::Stem {
        name: "stem".into(),
        channels: 2,
        kernel: 3,
        stride: 1,
    };
    assert_eq!(spec.layers[0], stem);
    let activations: Vec<(String, usize)> = spec.activation_channels();
    let expected = [
        ("a.act1", 2),
        ("a.act2", 2),
        ("b.act1", 2),
        ("b.act2", 3),
        ("last", 3),
    ];
    assert_eq!(
        activations,
        expected.map(|(name, channels)| (name.to_owned(), channels))
    );
}

#[test]
fn model_files_of_other_writers_are_read() {
    // As Python writes numbers, with RON's header line, and options with and without `Some`.
    let text = MODEL.replace("[0.3]", "[1e-05]").replace(
        "    ],\n)",
        "    ],\n provenance: (seed: Some(7), licence: \"MIT\"),\n)",
    );
    let spec = ModelSpec::parse(&format!("#![enable(implicit_some)]\n{text}"), "mine.ron").unwrap();
    assert_eq!(spec.input.mean, [1e-5]);
    assert_eq!(spec.provenance.seed, Some(7));
    assert_eq!(spec.provenance.licence.as_deref(), Some("MIT"));
}

#[test]
fn model_file_survives_writing_and_reading() {
    let mut spec = ModelSpec::parse(MODEL, "mine.ron").unwrap();
    spec.provenance.seed = Some(u64::MAX);
    spec.provenance.command = Some("train \"quoted\"".into());
    spec.input.mean = vec![0.1 + 0.2];
    assert_eq!(
        ModelSpec::parse(&spec.to_ron().unwrap(), "again").unwrap(),
        spec
    );
    for name in he_models::bundled_names() {
        let spec = Model::bundled(name).unwrap().spec().clone();
        assert_eq!(
            ModelSpec::parse(&spec.to_ron().unwrap(), "again").unwrap(),
            spec
        );
    }
}

/// The message for the model file with `from` replaced by `to`.
fn message(from: &str, to: &str) -> String {
    assert!(MODEL.contains(from));
    ModelSpec::parse(&MODEL.replacen(from, to, 1), "mine.ron")
        .unwrap_err()
        .to_string()
}

#[test]
fn wrong_values_are_named_with_what_was_found_and_expected() {
    let cases = [
        (
            "format: 1",
            "format: 2, unheard_of: 7",
            "model file `mine.ron`: format 2, expected 1",
        ),
        (
            "name: \"mine\"",
            "name: \" \"",
            "name is empty, expected a name",
        ),
        (
            "mine.safetensors",
            "../mine",
            "weights.file is `../mine`, expected the name of a file",
        ),
        ("height: 8", "height: 0", "input.height is 0, expected 1 to"),
        (
            "width: 8",
            "width: 99999999",
            "input.width is 99999999, expected 1 to",
        ),
        (
            "channels: 1, height: 8, width: 8",
            "channels: 1, height: 60000, width: 60000",
            "input is 3600000000 values",
        ),
        (
            "mean: [0.3]",
            "mean: [0.3, 0.3]",
            "input.mean is 2 values, expected 1, one a channel",
        ),
        (
            "mean: [0.3]",
            "mean: [NaN]",
            "input.mean is NaN, expected finite values",
        ),
        (
            "std: [0.5]",
            "std: [0.0]",
            "input.std is 0, expected finite values above 0",
        ),
        (
            "[\"zero\", \"one\"]",
            "[]",
            "classes is empty, expected at least one",
        ),
        (
            "channels: 2, shortcut",
            "channels: 3, shortcut",
            "layers[1].shortcut is Identity from 2x8x8 to 3x8x8",
        ),
        (
            "channels: 2, shortcut",
            "channels: 2, stride: 2, shortcut",
            "Identity from 2x8x8 to 2x4x4",
        ),
        (
            "stride: 2",
            "stride: 3",
            "layers[2].stride is 3, expected 1 or 2",
        ),
        (
            "stride: 2",
            "kernel: 4",
            "layers[2].kernel is 4, expected an odd number",
        ),
        (
            "channels: 3",
            "channels: 0",
            "layers[2].channels is 0, expected 1 to",
        ),
        (
            "channels: 3",
            "channels: 70000",
            "layers[2].channels is 70000, expected 1 to",
        ),
        (
            "name: \"b\"",
            "name: \"a\"",
            "layers[2].name is `a`, expected a name that no other layer has",
        ),
        (
            "Stem(name: \"stem\", channels: 2),",
            "",
            "layers[0] is PreActBlock, expected Stem",
        ),
        (
            "Head(activation: \"last\", dense: \"out\"),",
            "",
            "layers[2] is PreActBlock, expected Head",
        ),
        (
            "    ],\n)",
            "    ],\n provenance: (accuracy: 91.3))",
            "provenance.accuracy is 91.3, expected a fraction",
        ),
    ];
    for (from, to, expected) in cases {
        let found = message(from, to);
        assert!(found.contains(expected), "{to}: {found}");
    }
}

#[test]
fn syntax_errors_say_where() {
    for (from, to) in [
        ("height: 8", "hight: 8"),
        ("format: 1", "format: one"),
        ("Identity", "Sideways"),
        ("dataset: \"digits\",", ""),
        ("Stem(", "Conv("),
        ("    ],\n)", "    ],\n"),
    ] {
        let found = message(from, to);
        assert!(
            found.starts_with("model file `mine.ron`, line "),
            "{to}: {found}"
        );
    }
}

#[test]
fn statistics_must_fit_the_activations() {
    let mut network = Network::random(&Extents::small(), 2);
    let images = network.images(10);
    let model = network.model().unwrap();
    let right = model.evaluate(&images).unwrap().statistics();
    let message = |spoil: &dyn Fn(&mut Vec<he_models::ActivationStatistics>)| {
        let mut statistics = right.clone();
        spoil(&mut statistics);
        model
            .clone()
            .with_statistics(statistics)
            .unwrap_err()
            .to_string()
    };
    assert!(message(&|s| s.truncate(4)).contains("activations is 4 entries, expected 5"));
    assert!(
        message(&|s| s.swap(0, 1))
            .contains("activations[0].name is `block0.act2`, expected `block0.act1`")
    );
    assert!(
        message(&|s| s[4].declared.truncate(2))
            .contains("activations[4].declared is 2 values, expected 3")
    );
    assert!(
        message(&|s| s[4].second_moment[0] = 0.0)
            .contains("activations[4].second_moment is 0, expected")
    );
    assert!(
        message(&|s| s[1].declared[1] = f64::INFINITY)
            .contains("activations[1].declared is inf, expected")
    );
    assert!(
        message(&|s| s[1].second_moment[1] = 1e9)
            .contains("second_moment[1] is 1000000000, expected at most")
    );
}

#[test]
fn models_load_from_a_folder_as_from_memory() {
    let folder = tempfile::tempdir().unwrap();
    let network = Network::random(&Extents::small(), 4);
    let path = folder.path().join("mine.ron");

    let missing = Model::load(&path).unwrap_err();
    assert!(
        matches!(&missing, ModelError::Read { path: found, .. } if *found == path),
        "{missing}"
    );
    fs::write(&path, network.spec.to_ron().unwrap()).unwrap();
    let weights = folder.path().join("mine.safetensors");
    let missing = Model::load(&path).unwrap_err();
    assert!(
        matches!(&missing, ModelError::Read { path: found, .. } if *found == weights),
        "{missing}"
    );

    fs::write(&weights, network.weights()).unwrap();
    let model = Model::load(&path).unwrap();
    let in_memory = Model::from_parts(&network.spec.to_ron().unwrap(), &network.weights()).unwrap();
    assert_eq!(model.layers(), in_memory.layers());
    assert_eq!(model.checksum(), in_memory.checksum());
    let opened = Model::open(path.to_str().unwrap()).unwrap();
    assert_eq!(model.checksum_hex(), opened.checksum_hex());
}

#[test]
fn checksum_depends_on_what_inference_depends_on() {
    let mut network = Network::random(&Extents::small(), 4);
    let first = network.model().unwrap().checksum();
    network.spec.provenance.origin = Some("elsewhere".into());
    assert_eq!(network.model().unwrap().checksum(), first);

    let images = network.images(2);
    let model = network.model().unwrap();
    let statistics = model.evaluate(&images).unwrap().statistics();
    assert_ne!(model.with_statistics(statistics).unwrap().checksum(), first);
    network.spec.input.mean[0] += 1e-9;
    assert_ne!(network.model().unwrap().checksum(), first);
    network.spec.input.mean[0] -= 1e-9;
    network.tensors.get_mut("fc.bias").unwrap().bytes[0] ^= 1;
    assert_ne!(network.model().unwrap().checksum(), first);
}
