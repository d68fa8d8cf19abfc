//! What can be wrong between client and server.

use std::path::PathBuf;

use ckks_scheme::serial::SerialError;
use ckks_scheme::{EvalError, KeyError, ParamError};
use datasets::DataError;
use he_layers::LayerError;
use thiserror::Error;

/// Something that one side cannot do, or that is not what the other side should have sent.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// A file that cannot be written, or that is not what it should be.
    #[error(transparent)]
    Serial(#[from] SerialError),
    /// A file of ciphertexts for something else.
    #[error("{path:?}: {what} is {found}, expected {expected}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// In the file.
        found: String,
        /// In this run.
        expected: String,
    },
    /// A ciphertext that is not at the level or scale of its tensor.
    #[error("{path:?}: {source}")]
    Ciphertext {
        /// The file.
        path: PathBuf,
        /// What differs.
        source: Box<LayerError>,
    },
    /// A checkpoint of another run.
    #[error(
        "{path:?}: is the checkpoint of another run: its {what} is {found}, expected {expected} (take another folder, or remove this one)"
    )]
    OtherRun {
        /// The folder or file.
        path: PathBuf,
        /// What differs.
        what: String,
        /// In the checkpoint.
        found: String,
        /// In this run.
        expected: String,
    },
    /// Another process writes its checkpoints there.
    #[error("{path:?}: another process uses this checkpoint, expected a folder of one's own")]
    CheckpointBusy {
        /// The folder of the checkpoint.
        path: PathBuf,
    },
    /// A file of a checkpoint that is not as it was written.
    #[error("checkpoint: {source} (without the file {path:?} what it holds is done anew)")]
    Damaged {
        /// The file of a group or of the run.
        path: PathBuf,
        /// What is wrong.
        source: Box<ExchangeError>,
    },
    /// A checkpoint that cannot be written.
    #[error(
        "checkpoint: {source} (what was written to {dir:?} before is whole: the same command goes on from there)"
    )]
    CheckpointWrite {
        /// The folder of the checkpoint.
        dir: PathBuf,
        /// What the system says.
        source: SerialError,
    },
    /// Evaluation keys that do not serve the plan.
    #[error("the evaluation keys are not those of this plan: {source}")]
    EvaluationKeys {
        /// The first one that is missing.
        source: KeyError,
    },
    /// Keys would take the place of others.
    #[error(
        "{path:?}: is there already, expected a folder without a secret key (what is encrypted under an old key is lost without it)"
    )]
    KeyThere {
        /// The secret key's file.
        path: PathBuf,
    },
    /// Noise that hides the errors of logits hides the logits too.
    #[error(
        "sharing {results} results with {bits} bits of security takes noise of deviation {deviation:.3e} in logits that have a deviation of {logit_std:.3e}; {}",
        if *most_bits >= 0.0 { format!("at most {most_bits:.0} bits are possible (`--share-bits`)") }
        else { "no number of bits is possible, share the classes alone".to_owned() }
    )]
    Flooding {
        /// Results to be shared.
        results: u64,
        /// Security asked for.
        bits: f64,
        /// Deviation of the noise.
        deviation: f64,
        /// Deviation of the logits over images and classes.
        logit_std: f64,
        /// Most bits whose noise is no larger than the logits, rounded down.
        most_bits: f64,
    },
    /// In memory that a number of images asks for.
    #[error("{images} images: their logits do not fit into memory")]
    Images {
        /// The images.
        images: usize,
    },
    /// In a layer, or in memory.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// In memory.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// In key generation.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Parameters that cannot be built.
    #[error(transparent)]
    Params(#[from] ParamError),
    /// In the images.
    #[error(transparent)]
    Data(#[from] DataError),
}

impl ExchangeError {
    /// Whether a file, a key or the data are at fault.
    pub fn is_bad_input(&self) -> bool {
        match self {
            Self::Serial(error) => !error.out_of_memory(),
            Self::Content { .. }
            | Self::Ciphertext { .. }
            | Self::EvaluationKeys { .. }
            | Self::KeyThere { .. }
            | Self::OtherRun { .. }
            | Self::CheckpointBusy { .. }
            | Self::Damaged { .. }
            | Self::CheckpointWrite { .. }
            | Self::Data(_) => true,
            Self::Params(error) => !error.out_of_memory() && !self.is_not_feasible(),
            Self::Flooding { .. }
            | Self::Images { .. }
            | Self::Layer(_)
            | Self::Eval(_)
            | Self::Key(_) => false,
        }
    }

    /// Whether the memory does not suffice, or what is asked for is not secure.
    pub fn is_not_feasible(&self) -> bool {
        match self {
            Self::Flooding { .. } | Self::Images { .. } => true,
            Self::Serial(error) => error.out_of_memory(),
            Self::Key(error) => error.out_of_memory(),
            Self::Params(error) => {
                matches!(error, ParamError::Insecure { .. }) || error.out_of_memory()
            }
            Self::Eval(source) | Self::Layer(LayerError::Eval { source, .. }) => {
                source.out_of_memory()
            }
            Self::Layer(LayerError::Encode(error)) => error.out_of_memory(),
            Self::Layer(_)
            | Self::Content { .. }
            | Self::Ciphertext { .. }
            | Self::EvaluationKeys { .. }
            | Self::KeyThere { .. }
            | Self::OtherRun { .. }
            | Self::CheckpointBusy { .. }
            | Self::Damaged { .. }
            | Self::CheckpointWrite { .. }
            | Self::Data(_) => false,
        }
    }
}
