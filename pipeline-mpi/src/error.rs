//! Why a rank stops.

use std::io;
use std::path::PathBuf;

use pipeline::datasets::DataError;
use pipeline::exchange::ExchangeError;
use pipeline::he_layers::LayerError;
use pipeline::he_models::ModelError;
use pipeline::inference::InferenceError;
use pipeline::planner::PlanError;
use pipeline::text_file::TextFileError;

/// An error of a rank: one sentence with the thing, what was found, and what was expected.
#[derive(Debug, thiserror::Error)]
pub enum RankError {
    #[error("MPI: {0}, expected 2 or more: the first is the client, the others are servers (`mpirun -n 3`)", ranks(*.found))]
    Ranks { found: i32 },
    #[error("MPI: it cannot be started")]
    Mpi,
    #[error("another rank sent something else than {0}; all ranks must run the same program")]
    Words(&'static str),
    #[error("another rank: {0}")]
    Link(#[from] io::Error),
    #[error("machine file {}: kernel is {found}, expected {expected}, which this run takes", path.display())]
    MachineKernel {
        path: PathBuf,
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
    #[error("{}: cannot be written: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("standard output: cannot be written, what is missing is lost: {0}")]
    Stdout(io::Error),
    #[error("threads: cannot be started: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Plan(Box<PlanError>),
    #[error(transparent)]
    TextFile(#[from] TextFileError),
    #[error(transparent)]
    Layer(Box<LayerError>),
    #[error(transparent)]
    Exchange(Box<ExchangeError>),
    #[error(transparent)]
    Inference(Box<InferenceError>),
}

impl From<PlanError> for RankError {
    fn from(error: PlanError) -> Self {
        Self::Plan(Box::new(error))
    }
}

impl From<LayerError> for RankError {
    fn from(error: LayerError) -> Self {
        Self::Layer(Box::new(error))
    }
}

impl From<ExchangeError> for RankError {
    fn from(error: ExchangeError) -> Self {
        Self::Exchange(Box::new(error))
    }
}

impl From<InferenceError> for RankError {
    fn from(error: InferenceError) -> Self {
        Self::Inference(Box::new(error))
    }
}

impl RankError {
    /// 1 internal, 2 usage, 3 bad input, 4 not feasible.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Ranks { .. } => 2,
            Self::Data(_) | Self::Model(_) | Self::TextFile(_) | Self::MachineKernel { .. } => 3,
            Self::ImagesLeft { .. } | Self::Write { .. } | Self::Stdout(_) => 3,
            Self::Plan(error) if error.is_bad_input() => 3,
            Self::Plan(_) => 4,
            Self::Exchange(error) if error.is_bad_input() => 3,
            Self::Exchange(error) if error.is_not_feasible() => 4,
            Self::Inference(error) if error.is_bad_input() => 3,
            Self::Inference(error) if error.out_of_memory() => 4,
            Self::Mpi | Self::Words(_) | Self::Link(_) | Self::Threads(_) => 1,
            Self::Layer(_) | Self::Exchange(_) | Self::Inference(_) => 1,
        }
    }
}

fn ranks(found: i32) -> String {
    match found {
        1 => "1 rank".to_owned(),
        _ => format!("{found} ranks"),
    }
}
