//! The structure that `ARCHITECTURE.md` promises: who may name whom, and where `unsafe` and SIMD live.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What the code of a crate may name, and what its tests, examples and benches may name besides.
struct Rule {
    name: &'static str,
    code: &'static [&'static str],
    tests: &'static [&'static str],
}

const fn rule(
    name: &'static str,
    code: &'static [&'static str],
    tests: &'static [&'static str],
) -> Rule {
    Rule { name, code, tests }
}

/// From the bottom up. `bench-suite` may name everybody, and nobody may name it.
const RULES: [Rule; 8] = [
    rule("ckks-math", &[], &[]),
    rule("ckks-scheme", &["ckks-math"], &[]),
    rule("he-layers", &["ckks-scheme"], &[]),
    rule("datasets", &[], &[]),
    rule("he-models", &["he-layers"], &["datasets"]),
    rule(
        "he-training",
        &["ckks-scheme", "he-layers"],
        &["he-models", "datasets"],
    ),
    rule(
        "pipeline",
        &[
            "he-models",
            "he-training",
            "he-layers",
            "ckks-scheme",
            "datasets",
        ],
        &[],
    ),
    rule(
        "bench-suite",
        &[
            "ckks-math",
            "ckks-scheme",
            "he-layers",
            "he-training",
            "he-models",
            "pipeline",
            "datasets",
        ],
        &[],
    ),
];

/// The one crate with `unsafe` and SIMD, its modules that may have them, and the test that watches memory being freed.
const UNSAFE_CRATE: &str = "ckks-math";
const UNSAFE_PARTS: [&str; 3] = ["src/kernel", "src/pool", "tests/wiped"];

/// Written so that this file does not contain the words that it looks for.
const UNSAFE: &str = concat!("un", "safe");
const ARCH: &str = concat!("ar", "ch::x86");

fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(workspace_root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn name(value: &Value) -> &str {
    value["name"].as_str().unwrap()
}

/// `crate -> dependency` for all that break a rule; crates of the workspace only.
fn forbidden_edges(packages: &[Value]) -> Vec<String> {
    let ours: BTreeSet<_> = packages.iter().map(name).collect();
    let mut forbidden = Vec::new();
    for package in packages {
        let rule = RULES.iter().find(|rule| rule.name == name(package));
        let rule = rule.unwrap_or_else(|| {
            panic!(
                "{} has no rule: add one here and to ARCHITECTURE.md",
                name(package)
            )
        });
        for dependency in package["dependencies"].as_array().unwrap() {
            let to = name(dependency);
            let in_tests = dependency["kind"] == "dev";
            let allowed = rule.code.contains(&to)
                || in_tests && (rule.tests.contains(&to) || to == rule.name);
            if ours.contains(to) && !allowed {
                forbidden.push(format!(
                    "{} -> {to}{}",
                    rule.name,
                    if in_tests { " (in tests)" } else { "" }
                ));
            }
        }
    }
    forbidden
}

/// All Rust sources of a package, with their paths inside it.
fn sources(package: &Value) -> Vec<(String, String)> {
    let root = Path::new(package["manifest_path"].as_str().unwrap())
        .parent()
        .unwrap()
        .to_owned();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inside = path
                    .strip_prefix(&root)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                found.push((inside, fs::read_to_string(path).unwrap()));
            }
        }
    }
    found
}

/// Whether code, comments aside, has this as a word of its own.
fn has_word(source: &str, word: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    source
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .any(|code| {
            code.match_indices(word).any(|(at, _)| {
                !code[..at].ends_with(part_of_name)
                    && !code[at + word.len()..].starts_with(part_of_name)
            })
        })
}

#[test]
fn imports_never_go_up() {
    let packages = packages();
    assert_eq!(forbidden_edges(&packages), Vec::<String>::new());
    let members: BTreeSet<_> = packages.iter().map(name).collect();
    assert_eq!(
        members,
        RULES.iter().map(|rule| rule.name).collect(),
        "rules and crates are the same"
    );
}

#[test]
fn forbidden_imports_are_noticed() {
    let package = |name: &str, dependencies: &[(&str, Option<&str>)]| {
        let dependencies = dependencies
            .iter()
            .map(|(name, kind)| serde_json::json!({"name": name, "kind": kind}));
        serde_json::json!({"name": name, "dependencies": dependencies.collect::<Vec<_>>()})
    };
    let found = forbidden_edges(&[
        package(
            "ckks-math",
            &[
                ("rand", None),
                ("ckks-scheme", None),
                ("ckks-math", Some("dev")),
            ],
        ),
        package(
            "ckks-scheme",
            &[("ckks-math", None), ("bench-suite", Some("dev"))],
        ),
        package(
            "he-layers",
            &[
                ("ckks-scheme", None),
                ("ckks-math", Some("dev")),
                ("ckks-math", Some("build")),
            ],
        ),
        package("he-models", &[("datasets", Some("dev"))]),
        package("bench-suite", &[("pipeline", None)]),
        package("pipeline", &[]),
    ]);
    assert_eq!(
        found,
        [
            "ckks-math -> ckks-scheme",
            "ckks-scheme -> bench-suite (in tests)",
            "he-layers -> ckks-math (in tests)",
            "he-layers -> ckks-math"
        ]
    );
}

#[test]
fn bench_suite_is_not_published() {
    let packages = packages();
    let package = packages
        .iter()
        .find(|package| name(package) == "bench-suite")
        .unwrap();
    assert_eq!(package["publish"], serde_json::json!([]));
}

#[test]
fn libraries_and_programs_forbid_what_only_the_kernels_need() {
    for package in packages()
        .iter()
        .filter(|package| name(package) != UNSAFE_CRATE)
    {
        for target in package["targets"].as_array().unwrap() {
            let kinds = target["kind"].as_array().unwrap();
            if kinds.iter().any(|kind| kind == "lib" || kind == "bin") {
                let path = target["src_path"].as_str().unwrap();
                let attribute = format!("#![forbid({UNSAFE}_code)]");
                assert!(
                    fs::read_to_string(path).unwrap().contains(&attribute),
                    "{path}: expected {attribute}"
                );
            }
        }
    }
}

#[test]
fn unsafe_and_simd_live_in_the_kernels_alone() {
    let of_part = |path: &str| {
        let rest = UNSAFE_PARTS.iter().find_map(|part| path.strip_prefix(part));
        rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    };
    for package in &packages() {
        for (path, source) in sources(package) {
            if name(package) == UNSAFE_CRATE && of_part(&path) {
                continue;
            }
            assert!(
                !has_word(&source, UNSAFE),
                "{}/{path}: found `{UNSAFE}`",
                name(package)
            );
            assert!(
                !source.contains(ARCH),
                "{}/{path}: found `{ARCH}..`",
                name(package)
            );
        }
    }
}

#[test]
fn words_are_told_from_comments_and_names() {
    for source in [
        "un\u{73}afe { f() }",
        "a(un\u{73}afe{0})",
        "x // no\n un\u{73}afe impl Send for X {}",
    ] {
        assert!(has_word(source, UNSAFE), "{source}");
    }
    for source in [
        "// un\u{73}afe",
        "#![forbid(un\u{73}afe_code)]",
        "let not_un\u{73}afe = 1; /// un\u{73}afe",
    ] {
        assert!(!has_word(source, UNSAFE), "{source}");
    }
}

#[test]
fn modules_are_named_after_their_files() {
    for package in &packages() {
        for (path, _) in sources(package) {
            assert!(
                !path.ends_with("/mod.rs"),
                "{}/{path}: expected the module's own name",
                name(package)
            );
        }
    }
}

/// What holds a secret key or makes one, and the files that may name it: keys, encryption and decryption of the scheme, the
/// client of the layers, and the client of the pipeline. A server is built from the other files.
const SECRET_WORDS: [&str; 5] = [
    "SecretKey",
    "SecretEncryptor",
    "Decryptor",
    "KeyGenerator",
    "Client",
];
const SECRET_FILES: [(&str, &[&str]); 4] = [
    (
        "ckks-scheme",
        &[
            "src/lib.rs",
            "src/keys.rs",
            "src/keygen",
            "src/secret.rs",
            "src/encrypt.rs",
            "src/decrypt",
            "src/bootstrap/measure.rs",
            "src/known_answers.rs",
            "src/serial/secret.rs",
            // The kind of file that a server refuses.
            "src/serial/folder.rs",
            "src/serial/frame.rs",
        ],
    ),
    (
        "he-layers",
        &["src/lib.rs", "src/client.rs", "src/conformance.rs"],
    ),
    (
        "he-training",
        &["src/lib.rs", "src/client.rs", "src/block/client.rs"],
    ),
    (
        "pipeline",
        &[
            "src/client",
            "src/inference",
            // Both sides in one process; the server's is in the folder of this name.
            "src/training.rs",
            "src/cli/commands/keygen.rs",
        ],
    ),
];
/// Files of commands that are the client's, or both sides' in one process.
const CLIENT_COMMANDS: [&str; 4] = ["encrypt", "decrypt", "precision", "infer"];

fn is_of(path: &str, part: &str) -> bool {
    let rest = path.strip_prefix(part.strip_suffix(".rs").unwrap_or(part));
    rest.is_some_and(|rest| rest == ".rs" || !part.ends_with(".rs") && rest.starts_with('/'))
}

/// Files of a crate's code that name what they must not.
fn names_of_secrets(files: &[(String, String)], allowed: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, source) in files {
        let code = path.starts_with("src/") && !allowed.iter().any(|part| is_of(path, part));
        let words = SECRET_WORDS
            .iter()
            .filter(|word| code && has_word(source, word));
        found.extend(words.map(|word| format!("{path}: {word}")));
    }
    found
}

#[test]
fn nothing_that_a_server_can_reach_names_a_secret_key() {
    let packages = packages();
    for (package, files) in SECRET_FILES {
        let package = packages.iter().find(|p| name(p) == package).unwrap();
        let commands = CLIENT_COMMANDS.map(|command| format!("src/cli/commands/{command}.rs"));
        let allowed: Vec<&str> = files
            .iter()
            .copied()
            .chain(commands.iter().map(String::as_str))
            .collect();
        let sources = sources(package);
        assert_eq!(names_of_secrets(&sources, &allowed), Vec::<String>::new());
        // The list has no file that needs none of the words, or is not there.
        for part in files {
            let named = sources.iter().any(|(path, source)| {
                is_of(path, part) && SECRET_WORDS.iter().any(|word| has_word(source, word))
            });
            assert!(named, "{}: {part}", name(package));
        }
    }
    // The server's own files are there, and are looked at.
    let pipeline = packages.iter().find(|p| name(p) == "pipeline").unwrap();
    let sources = sources(pipeline);
    for part in [
        "src/server.rs",
        "src/executor.rs",
        "src/exchange.rs",
        "src/training/server.rs",
        "src/cli/commands/run.rs",
    ] {
        let (_, source) = sources.iter().find(|(path, _)| path == part).unwrap();
        for module in ["client", "inference"] {
            let names = [format!("crate::{module}"), format!("pipeline::{module}")];
            assert!(!names.iter().any(|name| source.contains(name)), "{part}");
        }
    }
}

#[test]
fn names_of_secrets_are_noticed() {
    let file = |path: &str, source: &str| (path.to_owned(), source.to_owned());
    let files = [
        file("src/server.rs", "use a::SecretKey;"),
        file("src/server/deep.rs", "struct S { d: Decryptor<'static> }"),
        file("src/client.rs", "use a::SecretKey;"),
        file("src/client/deep.rs", "use a::SecretKey;"),
        file("src/clients.rs", "fn f(c: &Client) {}"),
        file("src/codec.rs", "// a SecretKey\nstruct ClientCodec;"),
        file("tests/it.rs", "use a::SecretKey;"),
    ];
    assert_eq!(
        names_of_secrets(&files, &["src/client"]),
        [
            "src/server.rs: SecretKey",
            "src/server/deep.rs: Decryptor",
            "src/clients.rs: Client"
        ]
    );
}
