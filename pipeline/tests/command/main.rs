//! The command as a person meets it: exit codes, streams, files. Here what the tests of all commands share.
#![allow(clippy::unwrap_used)]

mod checkpoint;
mod eval;
mod faults;
#[cfg(feature = "download")]
mod fetch_data;
mod import;
mod infer;
mod plan;
mod precision;
mod sides;
mod sweep;
mod train;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

fn polyphase(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_polyphase"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> &str {
    str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    str::from_utf8(&output.stderr).unwrap()
}

/// The command fails with this code, an empty standard output and one sentence that says all of these.
fn assert_fails(args: &[&str], code: i32, says: &[&str]) {
    let output = polyphase(args);
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
    assert_eq!(stdout(&output), "", "{args:?}");
    assert!(error.starts_with("error: "), "{args:?}: {error}");
    if code != 2 {
        assert_eq!(error.lines().count(), 1, "{args:?}: {error}");
    }
    for part in says {
        assert!(error.contains(part), "{args:?}: {part:?} is not in {error}");
    }
}

/// A folder with a CIFAR-10 and a CIFAR-100 test set of so many images.
fn data(images: usize) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (file, labels) in [
        ("cifar-10-batches-bin/test_batch.bin", 1),
        ("cifar-100-binary/test.bin", 2),
    ] {
        let record = |i: usize| {
            let pixels = (0..3072).map(move |at| (128 + 60 * ((i + at % 32) % 2) + at / 64) as u8);
            std::iter::repeat_n((i % 10) as u8, labels).chain(pixels)
        };
        let path = dir.path().join(file);
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(path, (0..images).flat_map(record).collect::<Vec<_>>()).unwrap();
    }
    dir
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
