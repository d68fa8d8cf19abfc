//! Checkpoints: a run that is killed goes on from where it was, with the same result.
//!
//! | in the folder | content |
//! |---|---|
//! | `client/` (0700) | the secret key (0600), without a seed; removed when the run is done |
//! | `server/run` | what is run: network, plan, images, key; a run that differs in any of them is refused |
//! | `server/evaluation.keys` | the switching keys, without a seed |
//! | `server/group-K.state` | what group K (from 0) holds between two steps |
//! | `server/group-K.logits` | the encrypted logits of group K |
//! | `server/head.state` | the encrypted weights of a softmax head between two steps of its training |
//! | `server/lock` | locked by the process that writes here |
//!
//! With a seed all keys are made again from it, and nothing secret is stored. Files appear under their names only when they are
//! whole and on the disk, in the format of [`ckks_scheme::serial`] with its checksums. The state is written when a stage of the
//! network is done, and within a stage when the last one was written a minute ago and longer than twenty times what that took:
//! at any moment a kill loses no more than the stage that was running. A head's weights are written after every step of its training.

mod groups;
mod head;
mod manifest;

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ckks_scheme::serial::{CiphertextReader, CiphertextWriter, SerialError};
use ckks_scheme::{Ciphertext, KeyId, Parameters};
use he_layers::PreparedProgram;
use serde::{Deserialize, Serialize};

use crate::decisions::Decisions;
use crate::exchange::ExchangeError;
use crate::exchange::sealed::{of, value};
pub(crate) use groups::{Begun, Group, GroupRun};
pub(crate) use head::{HeadFile, HeadProgress};
use manifest::Manifest;

/// The client's folder.
const CLIENT: &str = "client";
/// The server's folder.
const SERVER: &str = "server";
const SECRET: &str = "secret.key";
const RUN: &str = "run";
const KEYS: &str = "evaluation.keys";
const LOCK: &str = "lock";

/// Within a stage nothing is written before so much time has passed, and before so many times what the last writing took.
const LEAST_PAUSE: Duration = Duration::from_secs(60);
const LEAST_PAUSES: u32 = 20;

/// What the checkpoints of a process cost, and what an earlier one has spared it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CheckpointReport {
    /// States and logits written.
    pub writes: usize,
    /// Size of all of them in bytes.
    pub bytes: u64,
    /// Time to write them; a part of the inference's.
    pub seconds: f64,
    /// Groups of images that an earlier process had finished.
    pub groups_found: usize,
    /// Steps that an earlier process had done of a group that it had not finished.
    pub steps_found: usize,
    /// Steps of a head's training that an earlier process had done.
    #[serde(default)]
    pub head_steps_found: usize,
}

impl fmt::Display for CheckpointReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "checkpoints: {} written, {:.1} MB, {:.1} s of the inference",
            self.writes,
            self.bytes as f64 / 1e6,
            self.seconds
        )?;
        if self.groups_found + self.steps_found > 0 {
            let (groups, steps) = (self.groups_found, self.steps_found);
            write!(
                f,
                "; taken over: {groups} finished groups, {steps} steps of another"
            )?;
        }
        if self.head_steps_found > 0 {
            let steps = self.head_steps_found;
            write!(f, "; taken over: {steps} steps of the head's training")?;
        }
        Ok(())
    }
}

/// The folder of a run's checkpoints.
#[derive(Debug)]
pub struct Checkpoint {
    dir: PathBuf,
    manifest: Manifest,
    /// Whether the manifest comes from an earlier process.
    is_old: bool,
    report: CheckpointReport,
    last: Instant,
    took: Duration,
    _lock: File,
}

impl Checkpoint {
    /// Opens a folder, which is made if need be, and locks it.
    ///
    /// # Errors
    /// [`ExchangeError::Serial`] for a folder that cannot be used or a damaged description of the run;
    /// [`ExchangeError::CheckpointBusy`].
    pub fn open(dir: &Path) -> Result<Self, ExchangeError> {
        let server = dir.join(SERVER);
        fs::create_dir_all(&server).map_err(doing("making the folder", &server))?;
        let path = server.join(LOCK);
        let lock = File::create(&path).map_err(doing("opening", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let path = dir.to_owned();
                return Err(ExchangeError::CheckpointBusy { path });
            }
            Err(TryLockError::Error(error)) => return Err(doing("locking", &path)(error).into()),
        }
        let path = server.join(RUN);
        let is_old = path
            .try_exists()
            .map_err(doing("looking for the file", &path))?;
        let manifest = match is_old {
            true => Manifest::load(&path)?,
            false => Manifest::default(),
        };
        Ok(Self {
            dir: dir.to_owned(),
            manifest,
            is_old,
            report: CheckpointReport::default(),
            last: Instant::now(),
            took: Duration::ZERO,
            _lock: lock,
        })
    }

    /// The folder that [`Self::open`] was given.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether an earlier process has begun this run.
    pub fn is_begun(&self) -> bool {
        self.is_old
    }

    /// The plan of a run that was begun. It is obeyed, whatever would be planned today.
    ///
    /// # Errors
    /// [`ExchangeError::Serial`] for what is no plan.
    pub fn decisions(&self) -> Result<Option<Decisions>, ExchangeError> {
        let file = self.path(RUN);
        self.manifest.decisions().map_err(|e| of(&file, e).into())
    }

    /// Notes one thing that the run depends on, or compares it with what was noted when the run was begun.
    ///
    /// # Errors
    /// [`ExchangeError::OtherRun`].
    pub fn check(&mut self, what: &'static str, value: impl ToString) -> Result<(), ExchangeError> {
        let value = value.to_string();
        if !self.is_old {
            self.manifest.note(what, value);
            return Ok(());
        }
        let found = self.manifest.noted(what);
        if found == Some(&value) {
            return Ok(());
        }
        Err(ExchangeError::OtherRun {
            path: self.dir.clone(),
            what: what.to_owned(),
            found: found.map_or_else(|| "missing".to_owned(), |found| shortened(found)),
            expected: shortened(&value),
        })
    }

    /// Compares plan and key too. A run that was not begun is described now: from here on it is begun.
    ///
    /// # Errors
    /// As [`Self::check`]; [`ExchangeError::Serial`].
    pub(crate) fn begin(&mut self, decisions: &Decisions, key: KeyId) -> Result<(), ExchangeError> {
        self.check("key", key)?;
        self.check("plan", manifest::plan_id(decisions))?;
        if !self.is_old {
            // Without a description nobody can tell what they belong to.
            self.files()?.iter().try_for_each(|file| removed(file))?;
            self.manifest.set_decisions(decisions);
            self.manifest.save(&self.path(RUN))?;
        }
        self.last = Instant::now();
        Ok(())
    }

    /// One group of a run that is begun.
    pub(crate) fn group<'a>(
        &'a mut self,
        params: &'a Parameters,
        key: KeyId,
        program: &'a PreparedProgram,
        number: usize,
    ) -> Group<'a> {
        Group::new(self, params, key, program, number)
    }

    /// The head that a run trains; `settings`: all that it depends on besides what the run does.
    pub(crate) fn head<'a>(
        &'a mut self,
        params: &'a Parameters,
        key: KeyId,
        settings: String,
    ) -> HeadFile<'a> {
        HeadFile::new(self, params, key, settings)
    }

    /// What it has cost so far.
    pub fn report(&self) -> CheckpointReport {
        self.report
    }

    /// Removes all that was stored, the secret key first, when the run's result is where it should be.
    ///
    /// # Errors
    /// [`ExchangeError::Serial`].
    pub fn remove(self) -> Result<(), ExchangeError> {
        let of_server = [RUN, KEYS].map(|name| self.path(name));
        let files = [self.secret_file()].into_iter().chain(of_server);
        let files = files.chain(self.files()?).chain([self.path(LOCK)]);
        files.into_iter().try_for_each(|file| removed(&file))?;
        // Whatever else is in a folder is not ours, and keeps it.
        for dir in [self.client_dir(), self.server_dir(), self.dir] {
            let _ = fs::remove_dir(dir);
        }
        Ok(())
    }

    /// The folder for what is secret.
    pub(crate) fn client_dir(&self) -> PathBuf {
        self.dir.join(CLIENT)
    }

    /// The file for the secret key.
    pub(crate) fn secret_file(&self) -> PathBuf {
        self.client_dir().join(SECRET)
    }

    fn server_dir(&self) -> PathBuf {
        self.dir.join(SERVER)
    }

    /// The file for the switching keys.
    pub(crate) fn keys_file(&self) -> PathBuf {
        self.path(KEYS)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.server_dir().join(name)
    }

    /// The states, of groups and of a head, and logits that are there.
    fn files(&self) -> Result<Vec<PathBuf>, ExchangeError> {
        let dir = self.server_dir();
        let failed = doing("reading the folder", &dir);
        let mut files = Vec::new();
        for entry in fs::read_dir(&dir).map_err(&failed)? {
            let path = entry.map_err(&failed)?.path();
            let name = path.file_name().unwrap_or_default();
            if name == head::STATE || groups::is_file_name(&name.to_string_lossy()) {
                files.push(path);
            }
        }
        Ok(files)
    }

    /// Whether the state is to be written now.
    fn is_due(&self, is_between_stages: bool) -> bool {
        let pause = LEAST_PAUSE.max(LEAST_PAUSES * self.took);
        is_between_stages || self.last.elapsed() >= pause
    }

    /// Writes ciphertexts to a file, whole or not at all.
    fn write(
        &self,
        path: &Path,
        (params, key): (&Parameters, KeyId),
        metadata: &[u8],
        ciphertexts: &[&Ciphertext],
    ) -> Result<(), ExchangeError> {
        let count = ciphertexts.len() as u64;
        let file = CiphertextWriter::create(path, params, key, metadata, count);
        let written = file.and_then(|mut file| {
            ciphertexts.iter().try_for_each(|ct| file.push(ct))?;
            file.commit()
        });
        written.map_err(|source| ExchangeError::CheckpointWrite {
            dir: self.dir.clone(),
            source: if matches!(source, SerialError::File { .. }) {
                source
            } else {
                of(path, source)
            },
        })
    }

    /// Notes what writing a file took.
    fn written(&mut self, path: &Path, begun: Instant) {
        self.took = begun.elapsed();
        self.last = Instant::now();
        self.report.writes += 1;
        self.report.bytes += fs::metadata(path).map_or(0, |found| found.len());
        self.report.seconds += self.took.as_secs_f64();
    }
}

type Reader = CiphertextReader<io::BufReader<File>>;

/// Opens a file of ciphertexts, if it is there.
fn opened(path: &Path, params: &Parameters, key: KeyId) -> Result<Option<Reader>, ExchangeError> {
    let exists = path.try_exists();
    if !exists.map_err(doing("looking for the file", path))? {
        return Ok(None);
    }
    let reader = CiphertextReader::open(path, params, key);
    Ok(Some(
        reader.map_err(|e| damaged(path.to_owned(), e.into()))?,
    ))
}

/// The ciphertexts of a file; one of another number of polynomials is an error.
fn of_two_parts(
    reader: Reader,
    path: &Path,
) -> impl Iterator<Item = Result<Ciphertext, ExchangeError>> + use<> {
    let path = path.to_owned();
    reader.map(move |ct| {
        let ct = ct?;
        match ct.parts() {
            2 => Ok(ct),
            found => {
                let what = "the number of polynomials of a ciphertext";
                Err(of(&path, value(what, found, "2")).into())
            }
        }
    })
}

/// Memory that ran out is nothing that a file is to blame for.
fn damaged(path: PathBuf, source: ExchangeError) -> ExchangeError {
    if source.is_not_feasible() {
        return source;
    }
    ExchangeError::Damaged {
        path,
        source: Box::new(source),
    }
}

/// Removes a file, if it is there.
fn removed(file: &Path) -> Result<(), SerialError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(doing("removing", file)(error))
        }
        _ => Ok(()),
    }
}

/// A noted value for a sentence: what a file says can be anything.
fn shortened(value: &str) -> String {
    const LETTERS: usize = 48;
    let mut letters = value.chars().filter(|c| !c.is_control());
    let mut short: String = letters.by_ref().take(LETTERS).collect();
    if letters.next().is_some() {
        short.push('…');
    }
    short
}

fn doing<'a>(what: &'static str, path: &'a Path) -> impl Fn(io::Error) -> SerialError + 'a {
    move |source| of(path, SerialError::Io { what, source })
}
