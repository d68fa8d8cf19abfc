//! `--checkpoint`: processes that are killed, and those that go on.

use super::*;
use serde_json::Value;
use std::process::Child;
use std::time::{Duration, Instant};

const INFER: [&str; 15] = [
    "infer",
    "--model",
    "tiny",
    "--batch",
    "20",
    "--pin",
    "grid=16x32",
    "--pin",
    "packing=real",
    "--seed",
    "3",
    "--logits",
    "--json",
    "-",
    "--checkpoint",
];

fn args(dir: &Path) -> Vec<&str> {
    [&INFER[..], &[text(dir)]].concat()
}

fn started(args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_polyphase"))
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The logits of the report.
fn logits(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    report["logits"].clone()
}

/// Numbers from 0 to 1 that look random, the same in every run of the test.
fn random() -> impl Iterator<Item = f64> {
    let mut state = 88_172_645_463_325_252_u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    })
}

#[test]
fn ten_kills_at_random_moments_change_no_bit_of_the_logits() {
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("kept");
    let start = Instant::now();
    let whole = logits(&polyphase(&args(&kept)));
    let seconds = start.elapsed().as_secs_f64();
    assert!(!kept.exists());
    let (mut kills, mut wait) = (0, random());
    let mut finished = 0;
    while kills < 10 {
        let mut child = started(&args(&kept));
        // Beyond the end of what is left, too: then there was nothing to kill.
        let pause = 1.1 * seconds * wait.next().unwrap();
        std::thread::sleep(Duration::from_secs_f64(pause));
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            kills += 1;
            child.wait().unwrap();
        } else {
            finished += 1;
            assert_eq!(logits(&child.wait_with_output().unwrap()), whole);
        }
        assert!(finished < 20, "{kills} kills");
    }
    assert_eq!(logits(&polyphase(&args(&kept))), whole);
    assert!(!kept.exists());
}

#[cfg(unix)]
#[test]
fn a_signal_says_how_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("kept");
    let child = started(&args(&kept));
    let state = kept.join("server/group-0.state");
    let start = Instant::now();
    while !state.exists() {
        assert!(start.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(1));
    }
    let pid = child.id().to_string();
    let killed = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(killed.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    let last = stderr(&output).lines().last().unwrap();
    let says = "error: interrupted; the same command goes on from the checkpoint in ";
    assert!(last.starts_with(says), "{last}");
    let output = polyphase(&args(&kept));
    assert!(
        stderr(&output).contains("checkpoint: group 1 "),
        "{}",
        stderr(&output)
    );
    logits(&output);
    // The same command says so where anything differs.
    let child = started(&args(&kept));
    while !state.exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut child = child;
    child.kill().unwrap();
    child.wait().unwrap();
    for (at, other, says) in [
        (10, "4", "seed is 3, expected 4"),
        (4, "21", "number of images is 20, expected 21"),
        (8, "packing=complex", "planning is "),
    ] {
        let mut args = args(&kept);
        args[at] = other;
        let output = polyphase(&args);
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        let last = stderr(&output).lines().last().unwrap();
        assert!(
            last.contains("is the checkpoint of another run: its "),
            "{last}"
        );
        assert!(last.contains(says), "{last}");
    }
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("kept");
    let args = args(&kept).join("' '");
    // A limit on files stands in for a disk that is full; the signal that goes with it is ignored.
    let polyphase = env!("CARGO_BIN_EXE_polyphase");
    let script = format!("trap '' XFSZ; ulimit -f 64; exec '{polyphase}' '{args}'");
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{error}");
    let last = error.lines().last().unwrap();
    for part in [
        "error: checkpoint: ",
        "group-0.",
        "writing",
        "goes on from there",
    ] {
        assert!(last.contains(part), "{part:?} is not in {last}");
    }
    assert_eq!(stdout(&output), "");
    // With room again it goes on.
    let args: Vec<&str> = args.split("' '").collect();
    logits(&super::polyphase(&args));
}
