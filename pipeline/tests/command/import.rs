//! `polyphase import` and `polyphase ranges`.

use super::*;
use he_models::Model;
use serde_json::Value;

fn onnx(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../he-models/tests/onnx");
    format!("{folder}/{name}")
}

/// A `.npy` file of grey images of 12 x 12 bytes, none above `brightest`.
fn images(path: &Path, count: usize, brightest: u8) {
    let header =
        format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({count}, 1, 12, 12), }}");
    let header = format!("{header:<117}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    bytes.extend((0..count * 144).map(|i| (i * i % (usize::from(brightest) + 1)) as u8));
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_network_from_pytorch_is_imported_evaluated_and_measured_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    images(&path("dark.npy"), 20, 100);
    images(&path("bright.npy"), 30, 255);
    let (file, net) = (onnx("lenet.dynamo.onnx"), path("net.ron"));
    let (dark, bright) = (path("dark.npy"), path("bright.npy"));
    let args = [
        "import",
        &file,
        "--out",
        text(&net),
        "--mean",
        "0.45",
        "--std",
        "0.25",
        "--json",
        "-",
    ];
    let output = polyphase(&[&args[..], &["--data", text(&dark), "--name", "mine"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("ranges of mine on "),
        "{}",
        stderr(&output)
    );
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["images"], &report["model"]),
        (&20.into(), &"mine".into())
    );
    assert_eq!(report["accuracy"], Value::Null);
    let layers = report["max_input_by_layer"].as_array().unwrap();
    let names: Vec<&str> = layers
        .iter()
        .map(|layer| layer["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["act1", "act2", "quadratic"]);
    for layer in layers {
        let (largest, declared) = (
            layer["max_abs"].as_f64().unwrap(),
            layer["declared"].as_f64().unwrap(),
        );
        assert!((declared / largest - 2.0).abs() < 1e-2, "{layer}");
    }

    let eval = |data: &Path| {
        let output = polyphase(&[
            "eval",
            "--model",
            text(&net),
            "--data",
            text(data),
            "--json",
            "-",
        ]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["images_out_of_range"].as_u64().unwrap()
    };
    assert_eq!(eval(&dark), 0);
    let before = Model::load(&net).unwrap();
    let output = polyphase(&[
        "ranges",
        "--model",
        text(&net),
        "--data",
        text(&bright),
        "--batch",
        "25",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("quadratic"), "{}", stdout(&output));
    let after = Model::load(&net).unwrap();
    assert_ne!(before.spec().activations, after.spec().activations);
    let statistics = after.spec().provenance.statistics.as_deref().unwrap();
    assert!(statistics.starts_with("25 images of "), "{statistics}");
    assert_eq!(eval(&bright), 0);

    // A copy in another folder takes its weights along.
    fs::create_dir(path("there")).unwrap();
    let copy = path("there").join("copy.ron");
    let output = polyphase(&[
        "ranges",
        "--model",
        text(&net),
        "--data",
        text(&dark),
        "--out",
        text(&copy),
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(
        Model::load(&copy).unwrap().spec().activations,
        before.spec().activations
    );
}

#[test]
fn what_cannot_be_imported_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    images(&path("images.npy"), 3, 255);
    let (data, net, file) = (
        path("images.npy"),
        path("net.ron"),
        onnx("lenet.dynamo.onnx"),
    );
    let import = |file: &str, rest: &[&str], code: i32, says: &[&str]| {
        let args = ["import", file, "--data", text(&data), "--out", text(&net)];
        assert_fails(&[&args[..], rest].concat(), code, says);
        assert!(!net.exists() && !path("net.safetensors").exists());
    };
    import("no/such.onnx", &[], 3, &["no/such.onnx"]);
    import(
        &file,
        &["--shape", "1x28x28"],
        3,
        &["the shape given is (1, 28, 28)"],
    );
    import(&file, &["--shape", "28"], 2, &["such as 3x32x32"]);
    import(
        &file,
        &["--relu", "exact"],
        2,
        &["expected polynomial=DEGREE"],
    );
    import(&file, &["--classes", "a,b"], 3, &["2x1x1", "one a class"]);
    import(
        &file,
        &["--batch", "4"],
        3,
        &["3 images left after the first 0, expected at least 4"],
    );
    // Images of another size.
    import(&onnx("odd.dynamo.onnx"), &[], 3, &["images.npy"]);

    let bytes = fs::read(onnx("residual.torchscript.onnx")).unwrap();
    let relu = bytes.windows(6).position(|w| w == b"\"\x04Relu").unwrap();
    let spoilt = [&bytes[..relu + 2], b"Selu", &bytes[relu + 6..]].concat();
    fs::write(path("selu.onnx"), spoilt).unwrap();
    import(
        text(&path("selu.onnx")),
        &[],
        3,
        &["ONNX node `/Relu`: operator Selu is not supported"],
    );
}
