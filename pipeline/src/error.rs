//! Why a command fails, and with which exit code.

use std::io;
use std::path::PathBuf;

use datasets::DataError;
#[cfg(feature = "download")]
use datasets::download::DownloadError;
use he_models::ModelError;

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
    #[error("{}: cannot be written: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("standard output: cannot be written: {0}")]
    Stdout(io::Error),
    #[error("threads: cannot be started: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    #[error("report: cannot be made into JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl CliError {
    /// 1 internal, 3 bad input, 130 interrupted. (2, usage, is clap's.)
    pub fn exit_code(&self) -> u8 {
        match self {
            #[cfg(feature = "download")]
            Self::Download(DownloadError::Interrupted { .. }) => 130,
            #[cfg(feature = "download")]
            Self::Download(_) => 3,
            Self::Data(_) | Self::Model(_) | Self::DataForModel { .. } | Self::Write { .. } => 3,
            Self::Stdout(_) | Self::Threads(_) | Self::Json(_) => 1,
        }
    }
}
