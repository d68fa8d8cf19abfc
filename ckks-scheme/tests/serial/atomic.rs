//! A file is the old one or the new one, whatever happens to who writes it.

use crate::fixture::{Fixture, params};
use ckks_scheme::serial::{AtomicFile, SerialError};
use ckks_scheme::{EvaluationKeys, KeyGenerator, KeyRequest};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::tempdir;

const TARGET: &str = "POLYPHASE_TEST_TARGET";

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
    names.collect()
}

/// Keys of several sizes.
fn keys(version: u64) -> EvaluationKeys {
    let params = params();
    let mut rng = ChaCha20Rng::seed_from_u64(version);
    let keygen = KeyGenerator::new(&params);
    let secret = keygen.secret_key(&mut rng).unwrap();
    let mut request = KeyRequest::new();
    (1..=5 * (version as i64 + 1)).for_each(|steps| request.rotation(steps, params.max_level()));
    keygen.evaluation_keys(&secret, &request, &mut rng).unwrap()
}

/// Writes keys into the target without end; run by the test below, in a process of its own.
#[test]
#[ignore = "the child of another test"]
fn child_writes_for_ever() {
    let target = PathBuf::from(std::env::var_os(TARGET).unwrap());
    let versions = [keys(0), keys(1), keys(2)];
    println!("started");
    loop {
        for keys in &versions {
            keys.save(&params(), &target).unwrap();
        }
    }
}

#[test]
fn killed_writer_leaves_the_old_file_or_the_new_one() {
    let dir = tempdir().unwrap();
    let target = dir.path().join("evaluation.keys");
    let whole: Vec<_> = (0..3)
        .map(|v| Fixture::stream(|out| keys(v).write_to(&params(), out)))
        .collect();
    keys(0).save(&params(), &target).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let (mut seen, mut left_over) = (HashSet::new(), 0);
    for _ in 0..40 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "atomic::child_writes_for_ever", "--ignored"])
            .args(["--nocapture", "--test-threads=1"])
            .env(TARGET, &target)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // From its first word on it writes.
        let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("started") {
            line.clear();
            assert!(std::io::BufRead::read_line(&mut output, &mut line).unwrap() > 0);
        }
        std::thread::sleep(Duration::from_micros(rng.random_range(0..20_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        let found = fs::read(&target).unwrap();
        let version = whole.iter().position(|bytes| *bytes == found);
        seen.insert(version.expect("one of the files, and all of it"));
        EvaluationKeys::load(&params(), &target).unwrap();
        left_over += names(dir.path()).len() - 1;
    }
    // The kills hit what they should, and who writes next cleans up.
    assert!(seen.len() > 1 && left_over > 0, "{seen:?} {left_over}");
    keys(0).save(&params(), &target).unwrap();
    assert_eq!(names(dir.path()), ["evaluation.keys"]);
}

#[test]
fn nothing_appears_before_it_is_whole() {
    let dir = tempdir().unwrap();
    let target = dir.path().join("file");
    fs::write(&target, "old").unwrap();
    let mut file = AtomicFile::create(&target).unwrap();
    file.write_all(b"new").unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"old");
    drop(file);
    assert_eq!(names(dir.path()), ["file"]);
    let mut file = AtomicFile::create(&target).unwrap();
    file.write_all(b"new").unwrap();
    file.commit().unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"new");
    assert_eq!(names(dir.path()), ["file"]);
}

#[test]
fn two_writers_do_not_disturb_each_other() {
    let dir = tempdir().unwrap();
    let target = dir.path().join("file");
    let start = |text: &str| {
        let mut file = AtomicFile::create(&target).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    };
    let (first, second) = (start("first"), start("second"));
    second.commit().unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"second");
    first.commit().unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"first");
    std::thread::scope(|scope| {
        for i in 0..4 {
            let start = &start;
            scope.spawn(move || (0..50).for_each(|_| start(&i.to_string()).commit().unwrap()));
        }
    });
    assert_eq!(names(dir.path()), ["file"]);
}

#[test]
fn only_left_overs_of_the_same_file_are_removed() {
    let dir = tempdir().unwrap();
    let (theirs, ours) = (".file.tar.aB3.part", ".file.aB3.part");
    for name in [theirs, ours, ".other.aB3.part", "file.part"] {
        fs::write(dir.path().join(name), "x").unwrap();
    }
    let target = dir.path().join("file");
    AtomicFile::create(&target).unwrap().commit().unwrap();
    let mut left = names(dir.path());
    left.sort();
    assert_eq!(left, [theirs, ".other.aB3.part", "file", "file.part"]);
}

#[test]
fn impossible_targets_are_named() {
    let dir = tempdir().unwrap();
    for path in [
        dir.path().join("none/file"),
        dir.path().to_owned(),
        PathBuf::from("/"),
    ] {
        let error = AtomicFile::create(&path).unwrap_err();
        assert!(matches!(error, SerialError::File { .. }));
        assert!(
            error.to_string().starts_with(&format!("{path:?}: ")),
            "{error}"
        );
    }
}

#[cfg(unix)]
#[test]
fn a_device_or_a_pipe_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let link = dir.path().join("link");
    std::os::unix::fs::symlink("/dev/null", &link).unwrap();
    for target in [pipe, link] {
        let error = AtomicFile::create(&target).unwrap_err();
        let words = error.to_string();
        assert!(words.ends_with("it is a device or a pipe"), "{words}");
    }
    // Nothing beside them, and both are what they were.
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}
