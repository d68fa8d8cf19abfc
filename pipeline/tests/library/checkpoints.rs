//! Runs that go on from a checkpoint, on a small ring without security.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use he_layers::Packing;
use he_models::Model;
use pipeline::checkpoint::{Checkpoint, CheckpointReport};
use pipeline::exchange::ExchangeError;
use pipeline::inference::{self, Batch, InferenceError, Options, Watch};
use pipeline::progress::{Progress, Silent, Unit};
use pipeline::report::InferReport;
use tempfile::TempDir;

use crate::sides::{Folder, IMAGES, images, planned, refused};
use crate::unequal::planned_with_last;

/// An inference of the tiny network in two groups.
struct Inference {
    seed: Option<u64>,
    first: usize,
    packing: Packing,
    has_last: bool,
}

/// From a seed.
const SEEDED: Inference = Inference {
    seed: Some(5),
    first: 0,
    packing: Packing::Real,
    has_last: false,
};
/// With keys of its own.
const UNSEEDED: Inference = Inference {
    seed: None,
    ..SEEDED
};

impl Inference {
    fn run(
        &self,
        dir: Option<&Path>,
        progress: &dyn Progress,
    ) -> Result<(InferReport, Option<Checkpoint>), Box<InferenceError>> {
        let model = Model::bundled("tiny").unwrap();
        let data = images();
        let batch = Batch {
            data: &data,
            first: self.first,
            images: IMAGES,
        };
        let options = Options {
            seed: self.seed,
            logits: true,
            ..Options::default()
        };
        let checkpoint = dir.map(Checkpoint::open).transpose();
        let mut checkpoint = checkpoint.map_err(InferenceError::from)?;
        let planned = match self.has_last {
            true => planned_with_last(&model),
            false => planned(&model, self.packing),
        };
        let watch = Watch {
            checkpoint: checkpoint.as_mut(),
            ..Watch::default()
        };
        let report = inference::infer_watched(&model, planned, batch, options, watch, progress)?;
        Ok((report, checkpoint))
    }

    fn logits(&self, dir: Option<&Path>) -> (Vec<f64>, Option<CheckpointReport>) {
        let (report, _) = self.run(dir, &Silent).unwrap();
        (logits(&report), report.checkpoint)
    }
}

fn logits(report: &InferReport) -> Vec<f64> {
    let records = report.logits.iter().flatten();
    records.flat_map(|l| l.encrypted.clone().unwrap()).collect()
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// Copies a folder whenever the run tells anything: what a kill at that moment would leave.
struct Kills {
    dir: PathBuf,
    copies: Mutex<Vec<TempDir>>,
}

impl Kills {
    fn of(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            copies: Mutex::default(),
        }
    }

    fn keep(&self) {
        let to = tempfile::tempdir().unwrap();
        copy(&self.dir, to.path());
        self.copies.lock().unwrap().push(to);
    }
}

impl Progress for Kills {
    fn begin(&self, _: &str, _: Option<u64>, _: Unit) {
        self.keep();
    }
    fn stage(&self, _: &str) {
        self.keep();
    }
    fn advance(&self, _: u64) {}
    fn finish(&self) {
        self.keep();
    }
    fn note(&self, _: &str) {}
}

#[test]
fn a_run_that_is_killed_anywhere_gives_the_same_logits_to_the_last_bit() {
    let (whole, none) = SEEDED.logits(None);
    assert_eq!(none, None);
    let dir = tempfile::tempdir().unwrap();
    let kills = Kills::of(dir.path());
    let (report, checkpoint) = SEEDED.run(Some(dir.path()), &kills).unwrap();
    assert_eq!(logits(&report), whole);
    let written = report.checkpoint.unwrap();
    // Three states and the logits, for both groups.
    assert_eq!((written.writes, written.groups_found), (8, 0));
    assert!(written.bytes > 0 && written.seconds > 0.0);
    assert!(!dir.path().join("client").exists());
    checkpoint.unwrap().remove().unwrap();
    assert!(!dir.path().exists());

    let copies = kills.copies.into_inner().unwrap();
    let mut taken_over = Vec::new();
    let stages = |report: &InferReport| -> Vec<String> {
        let stages = report.stages.iter();
        stages.map(|stage| stage.name.clone()).collect()
    };
    for copy in &copies {
        let (again, _) = SEEDED.run(Some(copy.path()), &Silent).unwrap();
        assert_eq!(logits(&again), whole);
        assert_eq!(stages(&again), stages(&report));
        let report = again.checkpoint.unwrap();
        taken_over.push((report.groups_found, report.steps_found));
    }
    assert!(taken_over.is_sorted(), "{taken_over:?}");
    taken_over.dedup();
    // From nothing at all over every stage of both groups to the logits of both.
    assert!(taken_over.len() >= 8, "{taken_over:?}");
    assert_eq!(taken_over[0], (0, 0));
    assert_eq!(taken_over.last(), Some(&(2, 0)));
}

#[test]
fn a_last_group_of_a_layout_of_its_own_goes_on_too() {
    let inference = Inference {
        has_last: true,
        ..SEEDED
    };
    let dir = stopped(&inference);
    let (found, report) = inference.logits(Some(dir.path()));
    assert_eq!(found, inference.logits(None).0);
    let report = report.unwrap();
    assert_eq!(report.groups_found, 1);
    assert!(report.steps_found > 0);
}

#[test]
fn without_a_seed_the_secret_key_is_kept_for_its_owner() {
    let dir = tempfile::tempdir().unwrap();
    let kills = Kills::of(dir.path());
    let (report, checkpoint) = UNSEEDED.run(Some(dir.path()), &kills).unwrap();
    let whole = logits(&report);
    let (client, secret) = (
        dir.path().join("client"),
        dir.path().join("client/secret.key"),
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&client), mode(&secret)), (0o700, 0o600));
    }
    // What the server side holds is nothing secret.
    ckks_scheme::serial::refuse_secrets(&dir.path().join("server")).unwrap();
    let copies = kills.copies.into_inner().unwrap();
    let begun = copies.iter().filter(|copy| {
        // Copies are readable by others, which a secret key must not be.
        #[cfg(unix)]
        if let Ok(file) = fs::metadata(copy.path().join("client/secret.key")) {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(file.permissions().mode() & 0o077, 0);
        }
        copy.path().join("server/group-0.logits").exists()
    });
    for copy in begun {
        let (found, _) = UNSEEDED.logits(Some(copy.path()));
        // The first group is what it was; others may have been encrypted anew.
        let classes = whole.len() / IMAGES;
        assert_eq!(found[..4 * classes], whole[..4 * classes]);
        let pairs = found.iter().zip(&whole);
        let off = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(off < 0.05, "{off}");
    }
    checkpoint.unwrap().remove().unwrap();
    assert!(!client.exists() && !secret.exists());
}

/// A folder as a kill in the middle of the second group leaves it.
fn stopped(inference: &Inference) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let kills = Kills::of(dir.path());
    inference.run(Some(dir.path()), &kills).unwrap();
    let copies = kills.copies.into_inner().unwrap();
    let state = |copy: &&TempDir| copy.path().join("server/group-1.state").exists();
    let found = copies.iter().find(state).unwrap();
    let to = tempfile::tempdir().unwrap();
    copy(found.path(), to.path());
    to
}

fn refuses(inference: &Inference, dir: &Path, says: &[&str]) {
    let error = inference.run(Some(dir), &Silent).err().unwrap();
    let words = error.to_string();
    for part in says {
        assert!(words.contains(part), "{part:?} is not in {words}");
    }
    assert!(error.is_bad_input(), "{words}");
}

#[test]
fn checkpoints_of_other_runs_are_refused() {
    let dir = stopped(&SEEDED);
    let other = |inference: Inference, what: &str| {
        let says = ["is the checkpoint of another run: its ", what];
        refuses(&inference, dir.path(), &says);
    };
    other(
        Inference {
            seed: Some(6),
            ..SEEDED
        },
        "seed is 5, expected 6",
    );
    other(UNSEEDED, "seed is 5, expected none");
    other(Inference { first: 1, ..SEEDED }, "images is ");
    let packing = Packing::Complex;
    other(Inference { packing, ..SEEDED }, "plan is ");

    // A file of another run, or of another group, under the right name.
    let server = dir.path().join("server");
    let theirs = stopped(&UNSEEDED);
    let (state, logits) = (server.join("group-1.state"), server.join("group-0.logits"));
    let (ours, done) = (fs::read(&state).unwrap(), fs::read(&logits).unwrap());
    fs::copy(theirs.path().join("server/group-1.state"), &state).unwrap();
    refuses(
        &SEEDED,
        dir.path(),
        &["group-1.state", "belongs to the secret key"],
    );
    fs::write(&state, &ours).unwrap();
    fs::write(&logits, &ours).unwrap();
    refuses(
        &SEEDED,
        dir.path(),
        &["group-0.logits", "another run or group"],
    );
    fs::write(&logits, done).unwrap();

    let lock = Checkpoint::open(dir.path()).unwrap();
    refuses(
        &SEEDED,
        dir.path(),
        &["another process uses this checkpoint"],
    );
    drop(lock);
    assert_eq!(SEEDED.logits(Some(dir.path())).0, SEEDED.logits(None).0);
}

#[test]
fn damaged_checkpoints_are_refused() {
    let dir = stopped(&SEEDED);
    let server = dir.path().join("server");
    for name in ["run", "group-0.logits", "group-1.state"] {
        let path = server.join(name);
        let whole = fs::read(&path).unwrap();
        let middle = whole.len() / 2;
        for at in [0, 100, middle, whole.len() - 40] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            refuses(&SEEDED, dir.path(), &[name]);
        }
        for length in [0, 50, middle, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            refuses(&SEEDED, dir.path(), &[name]);
        }
        fs::write(&path, [&whole[..], &[0]].concat()).unwrap();
        refuses(&SEEDED, dir.path(), &[name]);
        fs::write(&path, &whole).unwrap();
    }
    // The way out that the sentence names.
    let state = server.join("group-1.state");
    fs::write(&state, b"nothing").unwrap();
    refuses(&SEEDED, dir.path(), &["without the file", "is done anew"]);
    fs::remove_file(&state).unwrap();
    assert_eq!(SEEDED.logits(Some(dir.path())).0, SEEDED.logits(None).0);
}

#[test]
fn a_server_goes_on_with_a_file_of_images() {
    let folder = Folder::new(Packing::Real, 1);
    let images = folder.encrypt(3);
    let whole = fs::read(folder.run(&images)).unwrap();
    let (server, out) = (folder.server(), folder.path("kept.out"));
    let dir = tempfile::tempdir().unwrap();
    let kills = Kills::of(dir.path());
    let run = |images: &Path, dir: &Path, progress: &dyn Progress| {
        let mut checkpoint = Checkpoint::open(dir)?;
        server.run_file_kept(images, &out, Some(&mut checkpoint), progress)?;
        Ok::<_, ExchangeError>(checkpoint)
    };
    let checkpoint = run(&images, dir.path(), &kills).unwrap();
    assert_eq!(fs::read(&out).unwrap(), whole);
    assert!(!dir.path().join("client").exists());
    checkpoint.remove().unwrap();
    let copies = kills.copies.into_inner().unwrap();
    for copy in &copies {
        fs::remove_file(&out).unwrap();
        run(&images, copy.path(), &Silent).unwrap();
        assert_eq!(fs::read(&out).unwrap(), whole);
    }
    let other = folder.encrypt(4);
    let middle = &copies[copies.len() / 2];
    refused(
        run(&other, middle.path(), &Silent),
        "is the checkpoint of another run: its file of images is ",
    );
}
