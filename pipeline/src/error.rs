//! Why a command fails, and with which exit code.

use std::io;
use std::path::PathBuf;

use ckks_scheme::{BootstrapError, ParamError, PolyError};
use datasets::DataError;
#[cfg(feature = "download")]
use datasets::download::DownloadError;
use he_layers::LayerError;
use he_models::ModelError;
use pipeline::exchange::ExchangeError;
use pipeline::inference::InferenceError;
use pipeline::planner::PlanError;
use pipeline::text_file::TextFileError;
use pipeline::training::TrainError;
use pipeline::units::{flag_up, gb, gb_up};

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
    #[error("{dataset}: {left} images left after the first {offset}, expected at least {count}")]
    ImagesLeft {
        dataset: String,
        left: usize,
        offset: usize,
        count: usize,
    },
    #[error(
        "model {model}: its checksum is {}, expected the network {spec} that the keys are for, {}",
        short(found),
        short(expected)
    )]
    OtherModel {
        model: String,
        found: String,
        spec: String,
        expected: String,
    },
    #[error("machine file {}: kernel is {found}, expected {expected}, which this run takes", path.display())]
    MachineKernel {
        path: PathBuf,
        found: String,
        expected: String,
    },
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Layer(#[from] LayerError),
    #[error(transparent)]
    Inference(Box<InferenceError>),
    #[error(transparent)]
    Exchange(Box<ExchangeError>),
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    #[error(
        "memory of {:.2} GB is not enough for bootstrapping with preset {preset} on {threads} threads: {:.2} GB are needed (`--memory-gib {:.2}`), on one thread {:.2} GB",
        gb(*memory), gb_up(*needed), flag_up(*needed), gb_up(*least)
    )]
    PrecisionMemory {
        preset: &'static str,
        threads: usize,
        memory: u64,
        needed: u64,
        least: u64,
    },
    #[error(transparent)]
    Train(Box<TrainError>),
    #[error(
        "{data}: all {images} images leave a range that the network declares, expected at least one of its own images that does not"
    )]
    OwnImages { data: String, images: usize },
    #[error(transparent)]
    TextFile(#[from] TextFileError),
    #[error("{}: cannot be written: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("passphrase file {}: {reason}", path.display())]
    Passphrase { path: PathBuf, reason: String },
    #[error("standard output: cannot be written, what is missing is lost: {0}")]
    Stdout(io::Error),
    #[error("threads: cannot be started: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    #[error("report: cannot be made into JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("report: cannot be made into CSV: {0}")]
    Csv(#[from] csv::Error),
}

impl From<InferenceError> for CliError {
    fn from(error: InferenceError) -> Self {
        Self::Inference(Box::new(error))
    }
}

impl From<ExchangeError> for CliError {
    fn from(error: ExchangeError) -> Self {
        Self::Exchange(Box::new(error))
    }
}

impl From<TrainError> for CliError {
    fn from(error: TrainError) -> Self {
        if let TrainError::Plan(error) = error {
            return Self::Plan(error);
        }
        if let TrainError::Inference(error) = error {
            return Self::Inference(error);
        }
        if let TrainError::Bootstrap(error) = error {
            return Self::Bootstrap(error);
        }
        Self::Train(Box::new(error))
    }
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
            Self::ImagesLeft { .. } | Self::Write { .. } | Self::TextFile(_) => 3,
            Self::OtherModel { .. } | Self::MachineKernel { .. } => 3,
            Self::Plan(error) if error.is_bad_input() => 3,
            Self::Plan(_) => 4,
            Self::Inference(error) if error.is_bad_input() => 3,
            Self::Inference(error) if error.out_of_memory() => 4,
            Self::Inference(_) => 1,
            Self::Exchange(error) if error.is_bad_input() => 3,
            Self::Exchange(error) if error.is_not_feasible() => 4,
            Self::Exchange(_) => 1,
            Self::PrecisionMemory { .. } => 4,
            Self::OwnImages { .. } => 3,
            Self::Train(error) if error.is_bad_input() => 3,
            Self::Train(error) if error.is_not_feasible() => 4,
            Self::Train(_) => 1,
            Self::Bootstrap(error) => bootstrap_exit_code(error),
            Self::Stdout(_) | Self::Passphrase { .. } => 3,
            Self::Layer(_) | Self::Threads(_) | Self::Json(_) | Self::Csv(_) => 1,
        }
    }
}

/// The beginning of a checksum.
fn short(checksum: &str) -> &str {
    match checksum.get(..12) {
        Some(beginning) => beginning,
        None if checksum.is_empty() => "none",
        None => checksum,
    }
}

/// 4 for too little memory and a kernel that this processor does not have; presets cannot fail otherwise.
fn bootstrap_exit_code(error: &BootstrapError) -> u8 {
    let mut not_feasible = false;
    if let BootstrapError::Param(error) = error {
        not_feasible = matches!(error, ParamError::Arithmetic(_));
    } else if let BootstrapError::Key(error) = error {
        not_feasible = error.out_of_memory();
    } else if let BootstrapError::Eval(error) | BootstrapError::Poly(PolyError::Eval(error)) = error
    {
        not_feasible = error.out_of_memory();
    }
    if not_feasible { 4 } else { 1 }
}
