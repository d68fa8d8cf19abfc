//! What once hung, took all memory, wrapped around, reached the terminal or was lost.

use super::*;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A copy of the tiny network, its model file and its weights changed, without the checksum of the weights.
fn tiny(edit: impl Fn(String) -> String, weights: impl Fn(&mut Vec<u8>)) -> (TempDir, PathBuf) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../he-models/checkpoints/tiny");
    let dir = tempfile::tempdir().unwrap();
    let ron = fs::read_to_string(from.join("tiny.ron")).unwrap();
    let unchecked = |line: &&str| !line.contains("sha256: \"");
    let ron: Vec<_> = ron.lines().filter(unchecked).collect();
    let file = dir.path().join("tiny.ron");
    fs::write(&file, edit(ron.join("\n"))).unwrap();
    let mut bytes = fs::read(from.join("tiny.safetensors")).unwrap();
    weights(&mut bytes);
    fs::write(dir.path().join("tiny.safetensors"), bytes).unwrap();
    (dir, file)
}

#[test]
fn more_threads_than_help_are_not_started() {
    let start = Instant::now();
    let args = ["eval", "--model", "tiny", "--batch", "1", "--threads"];
    for threads in ["4000", "18446744073709551615"] {
        let output = polyphase(&[&args[..], &[threads]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let says = format!(" threads instead of {threads}: more do not help on ");
        assert!(stderr(&output).contains(&says), "{}", stderr(&output));
    }
    assert!(start.elapsed() < Duration::from_secs(20));
    let output = polyphase(&[&args[..], &["1"]].concat());
    assert!(!stderr(&output).contains("instead"), "{}", stderr(&output));
}

#[test]
fn numbers_near_the_end_of_the_range_do_not_wrap() {
    let most = usize::MAX.to_string();
    let half = (usize::MAX / 2 + 1).to_string();
    let tiny = ["plan", "--model", "tiny"];
    for args in [
        ["--threads", &most],
        ["--threads", &half],
        ["--batch", &most],
        ["--batch", &half],
    ] {
        assert_fails(&[&tiny[..], &args].concat(), 4, &["is not enough for"]);
    }
    // With memory for everything, on paper: every number of the plan is one.
    for args in [["--threads", &half], ["--batch", &half]] {
        let memory = ["--memory-gib", "1e30", "--json", "-"];
        let output = polyphase(&[&tiny[..], &args, &memory].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
        let errors = &plan["forecast"]["errors"];
        assert!(errors["total"].as_f64().unwrap() > 0.0, "{errors}");
        let peak = plan["forecast"]["predicted_peak_bytes"].as_u64().unwrap();
        assert!(peak > 1 << 60, "{peak}");
    }
}

#[test]
fn a_batch_whose_logits_no_memory_holds_is_refused() {
    let batch = ["--batch", "4000000000000000", "--memory-gib", "1e30"];
    let args = [&["infer", "--model", "tiny"], &batch[..]].concat();
    let output = polyphase(&args);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    let says = "error: 4000000000000000 images: their logits do not fit into memory";
    assert_eq!(stderr(&output).lines().last(), Some(says));
    assert!(!stderr(&output).contains("keys: "), "{}", stderr(&output));
}

#[cfg(unix)]
#[test]
fn files_that_claim_to_be_huge_are_refused_at_once() {
    let dir = data(1);
    let start = Instant::now();
    let file = dir.path().join("cifar-10-batches-bin/test_batch.bin");
    // A whole number of records of 3073 bytes, so that nothing but its size is wrong.
    const SIZE: u64 = 61_000_000_000 / 3073 * 3073;
    let sparse = |path: &Path| {
        let file = fs::File::create(path).unwrap();
        file.set_len(SIZE).unwrap();
    };
    sparse(&file);
    let says = ["test_batch.bin", &format!("found {SIZE} bytes; expected 1")];
    assert_fails(&["eval", "--data", text(dir.path())], 3, &says);
    let plan = dir.path().join("plan.ron");
    sparse(&plan);
    let args = ["plan", "--model", "tiny", "--plan", text(&plan)];
    assert_fails(&args, 3, &["larger than 16777216 bytes"]);
    assert_fails(&["infer", "--model", text(&plan)], 3, &["plan.ron"]);
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn numbers_far_from_one_are_short() {
    let longest = |output: &Output| {
        let lines = stdout(output).lines().chain(stderr(output).lines());
        lines.map(|line| line.chars().count()).max().unwrap()
    };
    let args = ["plan", "--model", "tiny", "--max-logit-error", "1e-300"];
    let output = polyphase(&args);
    assert_eq!(output.status.code(), Some(4));
    assert!(longest(&output) < 200, "{}", stderr(&output));
    assert!(stderr(&output).contains("1e-300"), "{}", stderr(&output));
    let first = |ron: String, field: &str, value: &str| {
        let (before, after) = ron.split_once(field).unwrap();
        let (old, rest) = after.split_once(',').unwrap();
        assert!(old.parse::<f64>().is_ok(), "{old}");
        format!("{before}{field}{value},{rest}")
    };
    let declared = |ron| first(ron, "declared: [", "1e-300");
    let moment = |ron| first(ron, "second_moment: [", "1e-300");
    for (edit, code) in [
        (&declared as &dyn Fn(String) -> String, 3),
        (&|ron| moment(declared(ron)), 3),
        (&|ron| first(declared(ron), "second_moment: [", "0.0"), 0),
    ] {
        let (_dir, file) = tiny(edit, |_| ());
        let output = polyphase(&["eval", "--model", text(&file)]);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(longest(&output) < 200, "{}", stderr(&output));
    }
}

#[test]
fn control_characters_of_names_do_not_reach_the_terminal() {
    let escape = "\u{1b}[2J\u{9b}31m\u{202e}";
    let clean = |output: &Output| {
        let all = [stdout(output), stderr(output)].concat();
        let acts = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!all.contains(acts), "{all:?}");
        assert!(
            all.contains("\\u{1b}[2J") || all.contains("\\u{9b}31m"),
            "{all}"
        );
    };
    let output = polyphase(&["infer", "--model", &format!("{escape}.ron")]);
    assert_eq!(output.status.code(), Some(3));
    clean(&output);
    let output = polyphase(&["infer", "--model", escape]);
    clean(&output);
    let output = polyphase(&["plan", "--model", "tiny", "--plan", escape]);
    clean(&output);
    // A folder of images whose name is the data set's.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(format!("{escape}.npy"));
    fs::write(&file, "none").unwrap();
    clean(&polyphase(&[
        "eval",
        "--model",
        "tiny",
        "--data",
        text(&file),
    ]));
}

#[test]
fn weights_whose_values_overflow_are_refused_by_the_plan() {
    // Of all tensors, or of one.
    for (tensor, reason) in [
        ("", "a weight of"),
        ("stem.weight", "a weight of"),
        ("fc.weight", "a weight of"),
        ("fc.bias", "values up to 3.000e38 need"),
    ] {
        let huge = |bytes: &mut Vec<u8>| {
            let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            let tensors: Value = serde_json::from_slice(&bytes[8..header]).unwrap();
            let tensors = tensors.as_object().unwrap().iter();
            let wanted = tensors.filter(|(name, _)| name.starts_with(tensor));
            let places = wanted.filter_map(|(_, tensor)| tensor["data_offsets"].as_array());
            let places: Vec<[usize; 2]> = places
                .map(|place| [0, 1].map(|i| header + place[i].as_u64().unwrap() as usize))
                .collect();
            assert!(!places.is_empty());
            for [from, to] in places {
                for value in bytes[from..to].chunks_exact_mut(4) {
                    value.copy_from_slice(&3e38f32.to_le_bytes());
                }
            }
        };
        let (_dir, file) = tiny(|ron| ron, huge);
        for command in ["plan", "infer"] {
            let output = polyphase(&[command, "--model", text(&file)]);
            let (code, error) = (output.status.code(), stderr(&output));
            assert_eq!(code, Some(4), "{tensor}: {error}{}", stdout(&output));
            // Nothing before: no plan, no keys.
            assert!(error.starts_with("error: "), "{tensor}: {error}");
            assert!(error.contains(reason), "{tensor}: {error}");
        }
    }
}

#[cfg(unix)]
#[test]
fn output_that_nobody_takes_is_an_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_polyphase"))
        .args(["plan", "--model", "tiny", "--json", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut error = String::new();
    let mut stream = child.stderr.take().unwrap();
    stream.read_to_string(&mut error).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3), "{error}");
    assert!(
        error.starts_with("error: standard output: cannot be written"),
        "{error}"
    );
    // A disk that is full.
    if Path::new("/dev/full").exists() {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_polyphase"))
            .args(["plan", "--model", "tiny"])
            .stdout(full)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    }
}

#[cfg(unix)]
#[test]
fn a_run_that_is_told_to_terminate_ends_as_one_that_is_interrupted() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_polyphase"))
        .args(["eval", "--model", "tiny", "--batch", "100000000"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let kill = ["-TERM", &child.id().to_string()];
    assert!(Command::new("kill").args(kill).status().unwrap().success());
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(
        lines
            .by_ref()
            .any(|line| line.unwrap() == "error: interrupted")
    );
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn exact_logits_come_with_a_word_of_warning() {
    let args = ["infer", "--model", "tiny", "--batch", "1", "--json", "-"];
    let says = "exact decryptions, for the key's owner alone";
    let output = polyphase(&[&args[..], &["--logits"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains(says), "{}", stderr(&output));
    assert!(!stderr(&polyphase(&args)).contains(says));
}

#[cfg(unix)]
#[test]
fn a_plan_in_a_pipe_is_refused_and_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("plan.ron");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let args = ["plan", "--model", "tiny", "--plan", text(&pipe)];
    assert_fails(&args, 3, &["it is no regular file"]);
}
