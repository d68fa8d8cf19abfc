//! The corpus of the fuzzing, replayed: `tests/corpus/TARGET/` holds inputs of each target.

use crate::targets::TARGETS;
use std::fs;
use std::path::Path;

#[test]
fn corpus_is_replayed() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    for (name, target) in TARGETS {
        let mut files: Vec<_> = fs::read_dir(corpus.join(name))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        assert!(!files.is_empty(), "{name}: no inputs");
        for file in files {
            // Names the input if the target panics.
            println!("{file:?}");
            target(&fs::read(&file).unwrap());
        }
    }
}
