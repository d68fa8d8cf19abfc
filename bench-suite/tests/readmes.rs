//! What the crates' READMEs promise a reader: dependencies that are all that their examples name.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Crates that others depend on.
const CRATES: [&str; 7] = [
    "ckks-math",
    "ckks-scheme",
    "datasets",
    "he-layers",
    "he-models",
    "he-training",
    "pipeline",
];

/// The blocks of code of a text, with what stands behind their opening fence.
fn blocks(text: &str) -> Vec<(&str, &str)> {
    let fenced = text.split("```").skip(1).step_by(2);
    fenced.filter_map(|block| block.split_once('\n')).collect()
}

/// Crates that Rust code imports from, the standard library aside.
fn imported(code: &str) -> BTreeSet<String> {
    let paths = code
        .lines()
        .filter_map(|line| line.trim().strip_prefix("use "));
    let roots = paths.filter_map(|path| path.split("::").next());
    roots
        .filter(|root| *root != "std")
        .map(str::to_owned)
        .collect()
}

/// Names of the dependencies in a part of a `Cargo.toml`, as code writes them.
fn dependencies(toml: &str) -> BTreeSet<String> {
    let lines = toml.lines().filter_map(|line| line.split_once(" = "));
    lines
        .map(|(name, _)| name.trim().replace('-', "_"))
        .collect()
}

#[test]
fn examples_name_the_dependencies_that_their_readme_lists() {
    for name in CRATES {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let text = fs::read_to_string(root.join(name).join("README.md")).unwrap();
        let blocks = blocks(&text);
        let toml = blocks
            .iter()
            .find(|(language, code)| *language == "toml" && code.starts_with("[dependencies]\n"));
        let listed = dependencies(toml.unwrap_or_else(|| panic!("{name}: no dependencies")).1);
        assert!(
            listed.contains(&name.replace('-', "_")),
            "{name}: {listed:?}"
        );
        let rust = blocks
            .iter()
            .filter(|(language, _)| ["", "rust", "no_run"].contains(language));
        let named: BTreeSet<String> = rust.clone().flat_map(|(_, code)| imported(code)).collect();
        assert!(
            named.is_subset(&listed),
            "{name}: names {named:?}, lists {listed:?}"
        );
        // The first can be copied as it is.
        let (_, first) = rust
            .clone()
            .next()
            .unwrap_or_else(|| panic!("{name}: no example"));
        assert!(
            first.contains("\nfn main() -> Result") && !first.contains("\n# "),
            "{name}: {first}"
        );
    }
}
