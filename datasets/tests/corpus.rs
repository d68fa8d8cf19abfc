//! The corpus of the fuzzing, replayed: `tests/corpus/TARGET/` holds inputs of each target.
#![allow(clippy::unwrap_used)]

#[path = "support/targets.rs"]
mod targets;

use std::fs;
use std::path::{Path, PathBuf};

use targets::{TARGETS, fixture, seeds};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

#[test]
fn corpus_is_replayed() {
    for (name, target) in TARGETS {
        let files = fs::read_dir(corpus().join(name)).unwrap();
        let mut files: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{name}: no inputs");
        for file in files {
            // Names the input if the target panics.
            println!("{file:?}");
            target(&fs::read(&file).unwrap());
        }
    }
}

#[test]
fn seeds_are_read() {
    for (name, file) in seeds() {
        let (_, target) = TARGETS.iter().find(|(target, _)| *target == name).unwrap();
        assert!(target(&fs::read(fixture(file)).unwrap()), "{file}");
    }
}

#[test]
#[ignore = "writes the seeds into the corpus"]
fn write_corpus() {
    for (name, file) in seeds() {
        let folder = corpus().join(name);
        fs::create_dir_all(&folder).unwrap();
        let to = folder.join(Path::new(file).file_name().unwrap());
        fs::copy(fixture(file), to).unwrap();
    }
}
