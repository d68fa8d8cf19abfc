//! What is kept of a group of images: its state between two steps, or its logits.

use std::path::PathBuf;
use std::time::Instant;

use ckks_scheme::serial::SerialError;
use ckks_scheme::{Ciphertext, KeyId, Parameters};
use he_layers::{EncryptedTensor, MeanError, PreparedProgram, RunState};
use serde::{Deserialize, Serialize};

use super::{Checkpoint, damaged, removed};
use crate::exchange::ExchangeError;
use crate::exchange::sealed::{of, value};
use crate::executor::{Execution, Executor};
use crate::progress::Progress;
use crate::report::StageReport;

const FORMAT: u32 = 2;
const PREFIX: &str = "group-";
const STATE: &str = ".state";
const LOGITS: &str = ".logits";

/// Whether a file of this name is one of a group.
pub(super) fn is_file_name(name: &str) -> bool {
    let number = name.strip_prefix(PREFIX).and_then(|rest| {
        rest.strip_suffix(STATE)
            .or_else(|| rest.strip_suffix(LOGITS))
    });
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// What a group's run gave.
#[derive(Debug)]
pub(crate) struct GroupRun {
    pub logits: EncryptedTensor,
    pub stages: Vec<StageReport>,
    /// Wall time in seconds, of all processes that had a part in it.
    pub seconds: f64,
}

/// A group that is to be brought to its end.
pub(crate) enum Begun<'a> {
    /// There is nothing left to do.
    Done(GroupRun),
    /// From where it is, with the seconds that it has taken so far.
    UnderWay(Execution<'a>, f64),
}

impl<'a> Begun<'a> {
    /// At its beginning.
    pub fn at(execution: Execution<'a>) -> Self {
        Self::UnderWay(execution, 0.0)
    }
}

/// The metadata of a file: this as a line of JSON, and [mean errors](MeanError), 16 bytes each, after it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: u32,
    /// [`super::manifest::Manifest::id`]
    run: String,
    /// Number of the group.
    group: usize,
    /// Steps that are done.
    done: usize,
    /// What the stages have taken so far.
    stages: Vec<StageReport>,
    /// Seconds of the inference so far.
    seconds: f64,
}

/// A group of a run and its files.
pub(crate) struct Group<'a> {
    checkpoint: &'a mut Checkpoint,
    params: &'a Parameters,
    key: KeyId,
    program: &'a PreparedProgram,
    number: usize,
    run: String,
}

type Ciphertexts = Box<dyn Iterator<Item = Result<Ciphertext, ExchangeError>>>;

impl<'a> Group<'a> {
    pub(super) fn new(
        checkpoint: &'a mut Checkpoint,
        params: &'a Parameters,
        key: KeyId,
        program: &'a PreparedProgram,
        number: usize,
    ) -> Self {
        let run = checkpoint.manifest.id();
        Self {
            checkpoint,
            params,
            key,
            program,
            number,
            run,
        }
    }

    /// What an earlier process has left of the group, if anything.
    ///
    /// # Errors
    /// [`ExchangeError::Damaged`] for files that are not as they were written.
    pub fn find<'e>(
        &mut self,
        executor: &'e Executor<'e>,
        progress: &dyn Progress,
    ) -> Result<Option<Begun<'e>>, ExchangeError> {
        let number = self.number + 1;
        if let Some(done) = self.find_done()? {
            progress.note(&format!("checkpoint: group {number} is finished"));
            return Ok(Some(Begun::Done(done)));
        }
        let path = self.path(STATE);
        let Some((head, state, ciphertexts)) = self.read(STATE)? else {
            return Ok(None);
        };
        let (done, steps) = (state.done, self.program.steps());
        let resumed = executor.resume(&state, head.stages, ciphertexts);
        let execution = resumed.map_err(|e| damaged(path, e))?;
        self.checkpoint.report.steps_found += done;
        let words = format!("checkpoint: group {number} goes on after step {done} of {steps}");
        progress.note(&words);
        Ok(Some(Begun::UnderWay(execution, head.seconds)))
    }

    /// The logits that an earlier process has left of the group, if it had finished it.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn find_done(&mut self) -> Result<Option<GroupRun>, ExchangeError> {
        let done = self.find_logits()?;
        self.checkpoint.report.groups_found += usize::from(done.is_some());
        Ok(done)
    }

    fn find_logits(&self) -> Result<Option<GroupRun>, ExchangeError> {
        let Some((head, _, ciphertexts)) = self.read(LOGITS)? else {
            return Ok(None);
        };
        let path = self.path(LOGITS);
        let logits = ciphertexts.collect::<Result<_, _>>();
        let logits = logits
            .and_then(|logits| Ok(EncryptedTensor::new(self.program.output().clone(), logits)?));
        Ok(Some(GroupRun {
            logits: logits.map_err(|e| damaged(path, e))?,
            stages: head.stages,
            seconds: head.seconds,
        }))
    }

    /// Writes the state of a run after a step, if it is time for that, and says whether it was; `seconds` are those of the run
    /// so far.
    pub fn after_step(
        &mut self,
        execution: &Execution<'_>,
        seconds: f64,
    ) -> Result<bool, ExchangeError> {
        let run = execution.inner();
        // After the last step there are the logits.
        if run.is_done() || !self.checkpoint.is_due(execution.is_between_stages()) {
            return Ok(false);
        }
        let ciphertexts: Vec<&Ciphertext> = run.ciphertexts().collect();
        let stages = execution.stages().to_vec();
        self.write(STATE, &run.state(), (stages, seconds), &ciphertexts)?;
        Ok(true)
    }

    /// Writes the logits. The state is not needed any more.
    pub fn finish(&mut self, run: &GroupRun) -> Result<(), ExchangeError> {
        let ciphertexts: Vec<&Ciphertext> = run.logits.ciphertexts().iter().collect();
        let state = RunState {
            done: self.program.steps(),
            corrections: Vec::new(),
        };
        let took = (run.stages.clone(), run.seconds);
        self.write(LOGITS, &state, took, &ciphertexts)?;
        Ok(removed(&self.path(STATE))?)
    }

    fn path(&self, suffix: &str) -> PathBuf {
        let name = format!("{PREFIX}{}{suffix}", self.number);
        self.checkpoint.path(&name)
    }

    fn write(
        &mut self,
        suffix: &str,
        state: &RunState,
        (stages, seconds): (Vec<StageReport>, f64),
        ciphertexts: &[&Ciphertext],
    ) -> Result<(), ExchangeError> {
        let begun = Instant::now();
        let head = Head {
            format: FORMAT,
            run: self.run.clone(),
            group: self.number,
            done: state.done,
            stages,
            seconds,
        };
        let mut metadata = serde_json::to_vec(&head).expect("numbers and words are JSON");
        metadata.push(b'\n');
        metadata.extend(state.corrections.iter().flat_map(|c| c.to_le_bytes()));
        let path = self.path(suffix);
        let (params, key) = (self.params, self.key);
        self.checkpoint
            .write(&path, (params, key), &metadata, ciphertexts)?;
        self.checkpoint.written(&path, begun);
        Ok(())
    }

    /// The head of a file, if it is there, and its ciphertexts, which are still to be read.
    fn read(&self, suffix: &str) -> Result<Option<(Head, RunState, Ciphertexts)>, ExchangeError> {
        let path = self.path(suffix);
        let Some(reader) = super::opened(&path, self.params, self.key)? else {
            return Ok(None);
        };
        let parsed = self.parse(reader.metadata());
        let (head, state) = parsed.map_err(|e| damaged(path.clone(), of(&path, e).into()))?;
        let ciphertexts = super::of_two_parts(reader, &path);
        Ok(Some((head, state, Box::new(ciphertexts))))
    }

    fn parse(&self, metadata: &[u8]) -> Result<(Head, RunState), SerialError> {
        let what = "the description of its ciphertexts";
        let expected = "one of this run and group";
        let end = metadata.iter().position(|&byte| byte == b'\n');
        let (line, rest) = metadata.split_at(end.unwrap_or(metadata.len()));
        let head: Option<Head> = serde_json::from_slice(line).ok();
        let head = head.ok_or_else(|| value(what, "not understood", expected))?;
        if head.format != FORMAT {
            let what = "the format of its description";
            return Err(value(what, head.format, FORMAT.to_string()));
        }
        if head.run != self.run || head.group != self.number {
            return Err(value(what, "one of another run or group", expected));
        }
        let corrections = rest.get(1..).unwrap_or_default();
        let (numbers, left) = corrections.as_chunks::<16>();
        if !left.is_empty() || !head.seconds.is_finite() {
            return Err(value(what, "cut off", expected));
        }
        let state = RunState {
            done: head.done,
            corrections: numbers
                .iter()
                .map(|b| MeanError::from_le_bytes(*b))
                .collect(),
        };
        Ok((head, state))
    }
}
