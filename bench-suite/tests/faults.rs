//! The faults that `faults/faults.py` puts back still have their places in the code.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

/// The value of a key of a fault. These lists quote texts of code by three apostrophes and all else by quotation marks.
fn value<'a>(fault: &'a str, key: &str) -> &'a str {
    let found = || {
        let (_, rest) = fault.split_once(&format!("\n{key} = "))?;
        let quote = if rest.starts_with("'''") { "'''" } else { "\"" };
        let inner = rest.strip_prefix(quote)?;
        let (inner, _) = inner
            .strip_prefix('\n')
            .unwrap_or(inner)
            .split_once(quote)?;
        Some(inner)
    };
    found().unwrap_or_else(|| panic!("no `{key}` in {fault}"))
}

/// Whether a Rust file of a folder names a function that begins so.
fn has_function(dir: &Path, name: &str) -> bool {
    fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return has_function(&path, name);
        }
        let is_code = path.extension().is_some_and(|end| end == "rs");
        is_code
            && fs::read_to_string(path)
                .unwrap()
                .contains(&format!("fn {name}"))
    })
}

#[test]
fn faults_have_their_places_and_their_tests() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.parent().unwrap();
    let mut count = 0;
    for entry in fs::read_dir(here.join("faults")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "toml") {
            continue;
        }
        let list = fs::read_to_string(path).unwrap();
        for fault in list.split("[[fault]]").skip(1) {
            let id = value(fault, "id");
            let (file, text) = (value(fault, "file"), value(fault, "text"));
            let code = fs::read_to_string(root.join(file)).unwrap();
            assert_eq!(code.matches(text).count(), 1, "{id}: its text in {file}");
            assert_ne!(text, value(fault, "with"), "{id}");
            let test: Vec<&str> = value(fault, "test").split(' ').collect();
            let (package, name) = (test[1], test[test.len() - 1]);
            let folders = ["src", "tests"].map(|folder| root.join(package).join(folder));
            let found = folders
                .iter()
                .any(|dir| dir.is_dir() && has_function(dir, name));
            assert!(found, "{id}: no test {name} in {package}");
            count += 1;
        }
    }
    assert!(count > 70, "{count} faults");
}
