//! Readers as functions of a file's bytes: the entry points of fuzzing, and what the corpus is replayed by.

use std::fs;

use he_models::{ImportOptions, Model, ModelSpec, import};
use tempfile::TempDir;

/// Whether the bytes were read.
pub type Target = fn(&[u8]) -> bool;

/// All of them, by the name of the folder that their inputs are in.
pub const TARGETS: [(&str, Target); 4] = [
    ("model_file", fuzz_model_file),
    ("weights", fuzz_weights),
    ("onnx", fuzz_onnx),
    ("reference_weights", fuzz_reference_weights),
];

const TINY: &str = include_str!("../../checkpoints/tiny/tiny.ron");
const TINY_WEIGHTS: &[u8] = include_bytes!("../../checkpoints/tiny/tiny.safetensors");

/// The tiny network without the checksum of its weights.
fn unchecked() -> String {
    let lines = TINY.lines().filter(|line| !line.contains("sha256: \""));
    lines.map(|line| format!("{line}\n")).collect()
}

/// What the corpus begins with, by target and name.
#[allow(dead_code, reason = "the fuzzer reads them from the corpus")]
pub fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    macro_rules! file {
        ($name:literal) => {
            include_bytes!(concat!("../onnx/", $name)).to_vec()
        };
    }
    let onnx = |name, bytes| ("onnx", name, bytes);
    vec![
        ("model_file", "tiny", unchecked().into_bytes()),
        ("weights", "tiny", TINY_WEIGHTS.to_vec()),
        onnx("concat", file!("concat.torchscript.onnx")),
        onnx("concat_dynamo", file!("concat.dynamo.onnx")),
        onnx("depthwise", file!("depthwise.torchscript.onnx")),
        onnx("lenet", file!("lenet.torchscript.onnx")),
        onnx("odd", file!("odd.torchscript.onnx")),
        onnx("residual", file!("residual.torchscript.onnx")),
        (
            "reference_weights",
            "reference",
            file!("reference.weights.safetensors"),
        ),
    ]
}

/// A model that was read is written as the same one, and can be lowered or says why not.
fn check(model: &Model) {
    let text = model.spec().to_ron().unwrap();
    assert_eq!(&ModelSpec::parse(&text, "again").unwrap(), model.spec());
    let _ = model.lower();
}

pub fn fuzz_model_file(bytes: &[u8]) -> bool {
    let model = str::from_utf8(bytes).map(|text| Model::from_parts(text, TINY_WEIGHTS));
    let Ok(Ok(model)) = model else {
        return false;
    };
    check(&model);
    true
}

pub fn fuzz_weights(bytes: &[u8]) -> bool {
    let model = Model::from_parts(&unchecked(), bytes);
    model.iter().for_each(check);
    model.is_ok()
}

thread_local! {
    static DIR: TempDir = tempfile::tempdir().unwrap();
}

/// Imports a file of this name.
fn import_as(name: &str, bytes: &[u8]) -> bool {
    let path = DIR.with(|dir| dir.path().join(name));
    fs::write(&path, bytes).unwrap();
    let imported = import(&path, &ImportOptions::default());
    imported.iter().for_each(|imported| check(imported.model()));
    imported.is_ok()
}

pub fn fuzz_onnx(bytes: &[u8]) -> bool {
    import_as("net.onnx", bytes)
}

pub fn fuzz_reference_weights(bytes: &[u8]) -> bool {
    import_as("net.safetensors", bytes)
}
