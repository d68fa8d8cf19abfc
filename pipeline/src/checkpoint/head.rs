//! What is kept of a head that is being trained: its weights between two steps.

use std::path::PathBuf;
use std::time::Instant;

use ckks_scheme::serial::SerialError;
use ckks_scheme::{Ciphertext, KeyId, Parameters};
use serde::{Deserialize, Serialize};

use super::{Checkpoint, damaged, removed};
use crate::exchange::ExchangeError;
use crate::exchange::sealed::{of, value};

const FORMAT: u32 = 1;
/// More than any training has. A file that claims more is refused, and sums with those of this process do not overflow.
const MOST_REFRESHES: usize = 1 << 30;
/// Name of the file.
pub(super) const STATE: &str = "head.state";

/// The metadata of the file, as JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    format: u32,
    /// [`super::manifest::Manifest::id`]
    run: String,
    /// What is minimised, and all settings.
    settings: String,
    progress: HeadProgress,
}

/// How far a head is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeadProgress {
    /// Steps that are done.
    pub done: usize,
    /// Ciphertexts refreshed in these steps.
    pub refreshes: usize,
    /// Seconds of these steps, of all processes that had a part in them.
    pub seconds: f64,
}

/// The file of a head of a run.
pub(crate) struct HeadFile<'a> {
    checkpoint: &'a mut Checkpoint,
    params: &'a Parameters,
    key: KeyId,
    run: String,
    settings: String,
}

impl<'a> HeadFile<'a> {
    /// `settings`: all that the head depends on besides what the run does.
    pub(super) fn new(
        checkpoint: &'a mut Checkpoint,
        params: &'a Parameters,
        key: KeyId,
        settings: String,
    ) -> Self {
        let run = checkpoint.manifest.id();
        Self {
            checkpoint,
            params,
            key,
            run,
            settings,
        }
    }

    fn path(&self) -> PathBuf {
        self.checkpoint.path(STATE)
    }

    /// What an earlier process has left, if anything: how far it came, and the weights.
    ///
    /// # Errors
    /// [`ExchangeError::Damaged`] for a file that is not as it was written, or of another run; [`ExchangeError::OtherRun`] for one of other
    /// settings.
    pub fn find(&mut self) -> Result<Option<(HeadProgress, Vec<Ciphertext>)>, ExchangeError> {
        let path = self.path();
        let Some(reader) = super::opened(&path, self.params, self.key)? else {
            return Ok(None);
        };
        let description = Description::parse(reader.metadata(), &self.run);
        let description = description.map_err(|e| damaged(path.clone(), of(&path, e).into()))?;
        if description.settings != self.settings {
            return Err(ExchangeError::OtherRun {
                path,
                what: "settings of the training".to_owned(),
                found: super::shortened(&description.settings),
                expected: super::shortened(&self.settings),
            });
        }
        let weights = super::of_two_parts(reader, &path).collect::<Result<_, _>>();
        let weights = weights.map_err(|e| damaged(path, e))?;
        self.checkpoint.report.head_steps_found += description.progress.done;
        Ok(Some((description.progress, weights)))
    }

    /// Says that what was found is no state of this head.
    pub fn refused(&self, found: impl ToString) -> ExchangeError {
        let path = self.path();
        let expected = "a state of this training";
        let error = value("its weights", found, expected);
        damaged(path.clone(), of(&path, error).into())
    }

    /// Writes the weights after a step, whole or not at all.
    ///
    /// # Errors
    /// [`ExchangeError::CheckpointWrite`].
    pub fn after_step(
        &mut self,
        progress: HeadProgress,
        weights: &[Ciphertext],
    ) -> Result<(), ExchangeError> {
        let begun = Instant::now();
        let description = Description {
            format: FORMAT,
            run: self.run.clone(),
            settings: self.settings.clone(),
            progress,
        };
        let metadata = serde_json::to_vec(&description).expect("numbers and words are JSON");
        let path = self.path();
        let weights: Vec<&Ciphertext> = weights.iter().collect();
        let (params, key) = (self.params, self.key);
        self.checkpoint
            .write(&path, (params, key), &metadata, &weights)?;
        self.checkpoint.written(&path, begun);
        Ok(())
    }

    /// Removes the file, when the head has served.
    ///
    /// # Errors
    /// [`ExchangeError::Serial`].
    pub fn remove(self) -> Result<(), ExchangeError> {
        Ok(removed(&self.path())?)
    }
}

impl Description {
    /// Reads that of a state of a run.
    fn parse(metadata: &[u8], run: &str) -> Result<Self, SerialError> {
        let what = "the description of its weights";
        let expected = "one of this run";
        let description: Option<Self> = serde_json::from_slice(metadata).ok();
        let description = description.ok_or_else(|| value(what, "not understood", expected))?;
        if description.format != FORMAT {
            let what = "the format of its description";
            return Err(value(what, description.format, FORMAT.to_string()));
        }
        if description.run != run {
            return Err(value(what, "one of another run", expected));
        }
        let HeadProgress {
            seconds, refreshes, ..
        } = description.progress;
        if !(seconds >= 0.0 && seconds.is_finite()) {
            return Err(value(what, "without a time", expected));
        }
        if refreshes > MOST_REFRESHES {
            let what = "the number of refreshes";
            return Err(value(what, refreshes, format!("at most {MOST_REFRESHES}")));
        }
        Ok(description)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RUN: &str = "a run";

    fn of(refreshes: usize) -> Vec<u8> {
        let description = Description {
            format: FORMAT,
            run: RUN.to_owned(),
            settings: "rate 1, momentum 0.9".to_owned(),
            progress: HeadProgress {
                done: 3,
                refreshes,
                seconds: 1.5,
            },
        };
        serde_json::to_vec(&description).unwrap()
    }

    #[test]
    fn more_refreshes_than_there_can_be_are_refused() {
        assert!(Description::parse(&of(MOST_REFRESHES), RUN).is_ok());
        let error = Description::parse(&of(MOST_REFRESHES + 1), RUN)
            .err()
            .unwrap();
        assert!(error.to_string().contains("number of refreshes"), "{error}");
    }

    proptest! {
        /// Bytes of the file are replaced, dropped or put in: an error, or the description of a state that can be gone on from.
        #[test]
        fn prop_descriptions_of_any_bytes_are_refused_or_of_the_run(
            edits in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..3, any::<u8>()), 0..4),
        ) {
            let mut bytes = of(7);
            for (at, kind, byte) in edits {
                let at = at.index(bytes.len());
                match kind {
                    0 => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    _ => {
                        bytes.remove(at);
                    }
                }
            }
            if let Ok(read) = Description::parse(&bytes, RUN) {
                prop_assert_eq!((read.format, read.run.as_str()), (FORMAT, RUN));
                prop_assert!(read.progress.seconds >= 0.0 && read.progress.refreshes <= MOST_REFRESHES);
            }
        }
    }
}
