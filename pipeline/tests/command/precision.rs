//! `polyphase precision`.

use super::*;
use serde_json::Value;
use std::io::{BufRead, BufReader};

#[test]
fn help_lists_the_presets_and_what_the_figures_mean() {
    let output = polyphase(&["precision", "--help"]);
    assert_eq!(output.status.code(), Some(0));
    for part in [
        "Examples:\n  polyphase precision",
        "n16:",
        "n15:",
        "[default: n16]",
        "[default: 20]",
        "-log2",
    ] {
        assert!(
            stdout(&output).contains(part),
            "{part}: {}",
            stdout(&output)
        );
    }
}

#[test]
fn arguments_that_make_no_sense_are_usage_errors() {
    let fails = |args: &[&str], says: &[&str]| {
        assert_fails(&[&["precision"], args].concat(), 2, says);
    };
    fails(&["--preset", "n99"], &["'n99'", "n16", "n16-fast", "n15"]);
    fails(
        &["--ciphertexts", "0"],
        &["--ciphertexts <K>", "expected a whole number from 1 on"],
    );
    fails(&["--threads", "0"], &["expected a whole number from 1 on"]);
    fails(
        &["--memory-gib", "-1"],
        &["expected a number of GiB above 0"],
    );
    fails(&["--seed", "x"], &["--seed <S>"]);
    assert_fails(
        &["precision", "--json", "no/such/folder/report.json"],
        3,
        &["no/such/folder/report.json", "its folder is not there"],
    );
}

#[test]
fn a_seed_is_said_before_the_work() {
    let args = "precision --preset n15 --ciphertexts 1 --seed 3";
    let mut child = Command::new(env!("CARGO_BIN_EXE_polyphase"))
        .args(args.split(' '))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    lines.read_line(&mut first).unwrap();
    // The rest takes seconds, and is for another test.
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(first.contains("reproducible, not secure"), "{first}");
}

#[test]
#[ignore = "slow: refreshes at N = 2^15"]
fn refreshes_of_a_preset_are_measured() {
    let args = "precision --preset n15 --ciphertexts 2 --threads 2 --json - --seed 3";
    let output = polyphase(&args.split(' ').collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |key: &str| report[key].as_f64().unwrap();
    assert_eq!((number("log_n"), number("security_bits")), (15.0, 128.0));
    assert_eq!((number("slots"), number("ciphertexts")), (16384.0, 2.0));
    assert!(number("failure_log2") < -128.0);
    assert!(number("mean_bits") > number("min_bits"));
    assert!(number("min_bits") > number("predicted_min_bits"));
    assert_eq!(number("range_violations"), 0.0);
    assert!(number("peak_rss_bytes") > number("key_bytes"));
    let stages = report["seconds_by_stage"].as_object().unwrap();
    let sum: f64 = stages.values().map(|s| s.as_f64().unwrap()).sum();
    assert!(sum > 0.0 && number("seconds") > 0.0);
    // A line for each stage of the work, and nothing else on standard output.
    assert!(stderr(&output).contains("bootstrapping: keys and matrices"));
    assert!(stderr(&output).contains("reproducible, not secure"));
}

#[test]
#[ignore = "slow: matrices at N = 2^15"]
fn too_little_memory_says_what_would_do() {
    let args = "precision --preset n15 --ciphertexts 2 --threads 2 --memory-gib 1.5";
    let says = ["memory of 1.61 GB is not enough", "preset n15 on 2 threads"];
    assert_fails(&args.split(' ').collect::<Vec<_>>(), 4, &says);
}
