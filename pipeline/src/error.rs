//! Why a command fails, and with which exit code.

use std::io;
use std::path::PathBuf;

use ckks_scheme::ParamError;
use datasets::DataError;
#[cfg(feature = "download")]
use datasets::download::DownloadError;
use he_models::ModelError;
use pipeline::inference::InferenceError;
use pipeline::planner::PlanError;

/// An error of a command: one sentence with the thing, what was found, and what was expected.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error(transparent)]
    Data(#[from] DataError),
    #[cfg(feature = "download")]
    #[error(transparent)]
    Download(#[from] DownloadError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("data for model `{model}`: found {dataset} with {found}; expected {expected}")]
    DataForModel {
        model: String,
        dataset: String,
        found: String,
        expected: String,
    },
    #[error("{dataset}: {left} images left after the first {offset}, expected at least {count}")]
    ImagesLeft {
        dataset: String,
        left: usize,
        offset: usize,
        count: usize,
    },
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Inference(#[from] InferenceError),
    #[error("plan file {}: {reason}", path.display())]
    PlanFile { path: PathBuf, reason: String },
    #[error("{}: cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: cannot be written: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("standard output: cannot be written: {0}")]
    Stdout(io::Error),
    #[error("threads: cannot be started: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    #[error("report: cannot be made into JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("plan: cannot be made into RON: {0}")]
    Ron(#[from] ron::Error),
}

impl CliError {
    /// 1 internal, 3 bad input, 4 not feasible, 130 interrupted; 2, usage, is clap's.
    pub fn exit_code(&self) -> u8 {
        match self {
            #[cfg(feature = "download")]
            Self::Download(DownloadError::Interrupted { .. }) => 130,
            #[cfg(feature = "download")]
            Self::Download(_) => 3,
            Self::Data(_) | Self::Model(_) => 3,
            Self::DataForModel { .. } | Self::ImagesLeft { .. } => 3,
            Self::Read { .. } | Self::Write { .. } | Self::PlanFile { .. } => 3,
            Self::Plan(PlanError::Foreign { .. } | PlanError::Images(_)) => 3,
            // A kernel that this processor does not have is not feasible either.
            Self::Plan(PlanError::Params(ParamError::Insecure { .. } | ParamError::Math(_))) => 4,
            Self::Plan(PlanError::Params(_)) => 3,
            Self::Plan(_) => 4,
            Self::Inference(InferenceError::Data(_)) => 3,
            Self::Inference(error) if error.out_of_memory() => 4,
            Self::Inference(_) => 1,
            Self::Stdout(_) | Self::Threads(_) | Self::Json(_) | Self::Ron(_) => 1,
        }
    }
}
