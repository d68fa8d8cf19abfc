//! Networks from PyTorch, in the files of both of its exporters, against the logits that PyTorch gives.

use std::path::{Path, PathBuf};

use he_models::{
    ImportOptions, Imported, Model, ModelError, import,
    spec::{OpSpec, ReluApproximation},
};
use proptest::prelude::*;
use safetensors::SafeTensors;

/// As `generate.py` normalises.
const MEAN: f64 = 0.45;
const STD: f64 = 0.25;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx")
}

fn options() -> ImportOptions {
    ImportOptions {
        mean: vec![MEAN],
        std: vec![STD],
        ..ImportOptions::default()
    }
}

fn tensor(name: &str, tensor: &str) -> Vec<f64> {
    let bytes = std::fs::read(folder().join(format!("{name}.safetensors"))).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let data = file.tensor(tensor).unwrap().data().to_vec();
    let values = data.chunks_exact(8);
    values
        .map(|b| f64::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

fn imported(file: &str) -> Imported {
    import(folder().join(file), &options()).unwrap()
}

/// The file's bytes with every `from` replaced, imported from a folder of its own.
fn spoilt(file: &str, from: &[u8], to: &[u8]) -> Result<Imported, ModelError> {
    assert_eq!(from.len(), to.len());
    let mut bytes = std::fs::read(folder().join(file)).unwrap();
    let mut found = 0;
    for i in 0..bytes.len() - from.len() {
        if bytes[i..].starts_with(from) {
            bytes[i..i + to.len()].copy_from_slice(to);
            found += 1;
        }
    }
    assert!(found > 0);
    import_bytes(&bytes)
}

fn import_bytes(bytes: &[u8]) -> Result<Imported, ModelError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("net.onnx");
    std::fs::write(&path, bytes).unwrap();
    import(&path, &options())
}

#[test]
fn kat_networks_of_both_exporters_give_the_logits_of_pytorch() {
    for name in ["lenet", "residual", "concat", "depthwise", "odd"] {
        let (images, expected) = (tensor(name, "images"), tensor(name, "logits"));
        for exporter in ["dynamo", "torchscript"] {
            let file = format!("{name}.{exporter}.onnx");
            let found = imported(&file).model().logits(&images).unwrap();
            assert_eq!(found.len(), expected.len(), "{file}");
            for (a, b) in found.iter().zip(&expected) {
                assert!((a - b).abs() < 1e-5, "{file}: {a} against {b}");
            }
        }
    }
}

#[test]
fn kat_networks_with_the_names_of_the_reference_work_give_the_logits_of_pytorch() {
    let options = ImportOptions {
        shape: Some((3, 8, 8)),
        relu: Some(ReluApproximation::Refresh { harmonics: 31 }),
        ..options()
    };
    let imported = import(folder().join("reference.weights.safetensors"), &options).unwrap();
    let images = tensor("reference", "images");
    let found = imported.model().evaluate(&images).unwrap();
    let expected = tensor("reference", "logits");
    assert_eq!(found.logits.len(), expected.len());
    for (a, b) in found.logits.iter().zip(&expected) {
        assert!((a - b).abs() < 1e-9, "{a} against {b}");
    }
    // Every ReLU is a refresh in the encrypted run. Such ranges may be narrow.
    for (record, declared) in found.activations.iter().zip(found.statistics()) {
        for (largest, range) in record.max_abs.iter().zip(&declared.declared) {
            assert!(
                (1.2 * largest..1.202 * largest).contains(range),
                "{largest} {range}"
            );
        }
    }
    let imported = imported.with_statistics(found.statistics()).unwrap();
    let program = imported.model().lower().unwrap().program;
    assert_eq!(program.refresh_functions().len(), 1);
    let plain = he_layers::PlainTensor::new(3, imported.model().input_shape(), images).unwrap();
    for (a, b) in program
        .forward_plain(&plain)
        .unwrap()
        .data
        .iter()
        .zip(&expected)
    {
        assert!((a - b).abs() < 0.05, "{a} against {b}");
    }
    for (a, b) in program
        .forward_exact(&plain)
        .unwrap()
        .data
        .iter()
        .zip(&expected)
    {
        assert!((a - b).abs() < 1e-9, "{a} against {b}");
    }
}

/// The fixture of the reference work's names, with metadata.
fn with_metadata(pairs: &[(&str, &str)]) -> (tempfile::TempDir, std::path::PathBuf) {
    let bytes = std::fs::read(folder().join("reference.weights.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let pairs = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string()));
    let bytes = safetensors::serialize(tensors.iter(), Some(pairs.collect())).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("net.safetensors");
    std::fs::write(&file, bytes).unwrap();
    (dir, file)
}

#[test]
fn normalisation_in_the_metadata_is_taken_over_unless_given() {
    let said = [
        ("mean", "0.4914,0.4822, 0.4465"),
        ("std", "0.2023,0.1994,0.2010"),
        ("dataset", "CIFAR-10"),
    ];
    let (_dir, file) = with_metadata(&said);
    let spec = |options: &ImportOptions| import(&file, options).unwrap().model().spec().clone();
    let taken = spec(&ImportOptions {
        shape: Some((3, 8, 8)),
        ..ImportOptions::default()
    });
    assert_eq!(taken.input.mean, [0.4914, 0.4822, 0.4465]);
    assert_eq!(taken.input.std, [0.2023, 0.1994, 0.2010]);
    assert_eq!(taken.dataset, "CIFAR-10");
    let given = spec(&ImportOptions {
        shape: Some((3, 8, 8)),
        mean: vec![0.5],
        dataset: "mine".into(),
        ..ImportOptions::default()
    });
    assert_eq!(
        (given.input.mean, given.dataset),
        (vec![0.5; 3], "mine".to_owned())
    );
    assert_eq!(given.input.std, taken.input.std);

    let (_dir, file) = with_metadata(&[("mean", "grey")]);
    let error = import(&file, &ImportOptions::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("mean is grey, expected numbers separated by commas"),
        "{error}"
    );
}

#[test]
fn both_exporters_give_one_topology() {
    for name in ["lenet", "concat", "depthwise", "odd"] {
        let operations = |exporter: &str| {
            let imported = imported(&format!("{name}.{exporter}.onnx"));
            let nodes = imported.model().spec().nodes.iter();
            let kind = |op: &OpSpec| {
                format!("{op:?}")
                    .split([' ', '{'])
                    .next()
                    .map(str::to_owned)
            };
            nodes
                .map(|node| (node.inputs.len(), kind(&node.op)))
                .collect::<Vec<_>>()
        };
        assert_eq!(operations("dynamo"), operations("torchscript"), "{name}");
    }
}

#[test]
fn quadratics_however_written_become_one_activation_and_names_are_those_of_the_modules() {
    for exporter in ["dynamo", "torchscript"] {
        let imported = imported(&format!("lenet.{exporter}.onnx"));
        let nodes = &imported.model().spec().nodes;
        let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        let expected = [
            "conv1",
            "act1",
            "pool",
            "conv2",
            "act2",
            "pool_2",
            "fc1",
            "quadratic",
            "fc2",
        ];
        assert_eq!(names, expected, "{exporter}");
        for node in nodes
            .iter()
            .filter(|node| ["act1", "act2", "quadratic"].contains(&&*node.name))
        {
            assert!(matches!(node.op, OpSpec::Quadratic { .. }), "{}", node.name);
        }
        assert!(matches!(&nodes[0].op, OpSpec::Conv2d { weight, .. } if weight == "conv1.weight"));
    }
}

#[test]
fn imported_networks_with_ranges_are_written_read_and_lowered() {
    let relu = ReluApproximation::Polynomial { degree: 31 };
    for (name, lowered_is_exact) in [
        ("lenet", true),
        ("concat", true),
        ("odd", true),
        ("depthwise", true),
        ("residual", false),
    ] {
        let images = tensor(name, "images");
        let options = ImportOptions {
            relu: Some(relu.clone()),
            ..options()
        };
        let imported = import(folder().join(format!("{name}.dynamo.onnx")), &options).unwrap();
        assert!(matches!(
            imported.model().lower(),
            Err(ModelError::NoStatistics { .. })
        ));
        let statistics = imported.model().evaluate(&images).unwrap().statistics();
        let imported = imported.with_statistics(statistics).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mine.ron");
        let written = imported.write(&path).unwrap();
        let read = Model::load(&path).unwrap();
        assert_eq!(read.spec(), written.spec());
        assert_eq!(read.checksum(), written.checksum());
        let mut files: Vec<_> = std::fs::read_dir(&dir)
            .unwrap()
            .map(|f| f.unwrap().file_name())
            .collect();
        files.sort();
        assert_eq!(files, ["mine.ron", "mine.safetensors"]);

        let expected = read.logits(&images).unwrap();
        let lowered = read.lower().unwrap();
        let count = images.len() / lowered.input.volume();
        let plain = he_layers::PlainTensor::new(count, lowered.input, images).unwrap();
        let found = lowered.program.forward_plain(&plain).unwrap().data;
        // Degree 31 on one and a half times the range: the error of a ReLU is near 1.5/31 of the range.
        let bound = if lowered_is_exact { 1e-9 } else { 0.3 };
        for (a, b) in found.iter().zip(&expected) {
            assert!((a - b).abs() < bound, "{name}: {a} against {b}");
        }
        // With the ReLUs that polynomials stand for, the program is the network exactly.
        assert_eq!(lowered.program.approximates(), !lowered_is_exact, "{name}");
        let exact = lowered.program.forward_exact(&plain).unwrap().data;
        for (a, b) in exact.iter().zip(&expected) {
            assert!((a - b).abs() < 1e-9, "{name}: {a} against {b}");
        }
    }
}

#[test]
fn an_unknown_operator_is_refused_by_its_name_and_node() {
    let error = spoilt("residual.torchscript.onnx", b"\"\x04Relu", b"\"\x04Selu").unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("ONNX node `/Relu`: operator Selu is not supported; supported: Add, "),
        "{text}"
    );
}

#[test]
fn what_a_file_and_the_options_say_of_the_shape_must_agree() {
    let wanted = |shape| {
        let options = ImportOptions {
            shape: Some(shape),
            ..options()
        };
        import(folder().join("lenet.dynamo.onnx"), &options)
    };
    assert!(wanted((1, 12, 12)).is_ok());
    let error = wanted((1, 28, 28)).unwrap_err().to_string();
    assert!(
        error.ends_with("input `x` has shape ? x 1 x 12 x 12, the shape given is (1, 28, 28)"),
        "{error}"
    );
}

#[test]
fn damaged_files_are_errors() {
    let bytes = std::fs::read(folder().join("lenet.torchscript.onnx")).unwrap();
    for end in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        let error = import_bytes(&bytes[..end]).unwrap_err();
        assert!(
            matches!(error, ModelError::OnnxFormat { .. }),
            "{end}: {error}"
        );
    }
    let error = import("nowhere.onnx", &options()).unwrap_err();
    assert!(matches!(error, ModelError::Read { .. }));
    let error = import("net.pt", &options()).unwrap_err().to_string();
    assert_eq!(
        error,
        "cannot read `net.pt`: it is of another kind, expected a .onnx or .safetensors file"
    );
}

#[test]
fn tensors_outside_the_file_must_lie_in_its_folder() {
    let error = spoilt(
        "odd.dynamo.onnx",
        b"odd.dynamo.onnx.data",
        b"../../etc/passwd.txt",
    )
    .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("its file is `../../etc/passwd.txt`, expected a file in the same folder"),
        "{text}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn prop_random_damage_never_panics(which in 0usize..3, at: prop::sample::Index, value: u8, more: u8) {
        let file = ["odd.torchscript.onnx", "residual.dynamo.onnx", "concat.torchscript.onnx"][which];
        let mut bytes = std::fs::read(folder().join(file)).unwrap();
        let at = at.index(bytes.len() - 1);
        (bytes[at], bytes[at + 1]) = (value, more);
        if let Ok(imported) = import_bytes(&bytes) {
            let model = imported.model();
            if model.image_len() < 10_000 {
                model.evaluate(&vec![0.5; model.image_len()]).unwrap();
            }
        }
    }
}
